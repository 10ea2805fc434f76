"""Gather all runs into the small text results that are kept in git."""

from bpg.atomic import whole_directory, write_json, write_rows, write_text
from bpg.report.columns import write_markdown, write_table
from bpg.report.own import left_out, own_summary
from bpg.report.provenance import document, read_records
from bpg.report.runs import (
    class_iou_rows,
    gather_curves,
    mean_curves,
    read_runs,
    summarise,
    trimap_rows,
)
from bpg.report.summary import summary
from pipeline.params import Parameters
from pipeline.paths import COSTS, PROVENANCE, RESULTS, RUNS, models
from pipeline.run_stage import run_stage
from pipeline.tables import compare_runs, make_setting, make_tables
from pipeline.variants import networks


def tables(parameters: Parameters) -> None:
    """Write the metrics, the summary, all tables, the data of `dvc plots`, and the provenance."""
    switches = parameters.switches
    runs = read_runs(RUNS, switches.variants.all, switches.seeds)
    records = read_records(PROVENANCE, models(switches.variants.all, switches.seeds))
    trained = networks(switches.variants.all, parameters.variants)
    curves = mean_curves(gather_curves(RUNS, trained, switches.seeds))
    found = compare_runs(parameters, runs)
    made = make_tables(parameters, runs, found)
    # All input has been read: from here on, only the disk can fail.
    write_json(RESULTS / "metrics.json", summarise(runs))
    setting = make_setting(parameters)
    if setting.own:
        text = own_summary(made, setting)
        made += left_out(made)
    else:
        text = summary(found.claims, found.ranking, runs, setting)
    write_text(RESULTS / "summary.md", text)
    for table in made:
        if table.name == COSTS.stem:
            write_markdown(RESULTS, table)  # its numbers are the stage cost's
        else:
            write_table(RESULTS, table)
    for name, columns, rows_of in (
        ("class_iou", ["class", "iou"], class_iou_rows),
        ("trimap", ["radius", "miou"], trimap_rows),
    ):
        with whole_directory(RESULTS / name) as folder:
            for kind, suffix in (("raw", ""), ("crf", "_crf")):
                for variant, rows in rows_of(runs, kind).items():
                    write_rows(folder / f"{variant}{suffix}.csv", columns, rows)
    with whole_directory(RESULTS / "curves") as folder:
        for variant, rows in curves.items():
            write_rows(folder / f"{variant}.csv", list(rows[0]), rows)
    write_text(RESULTS / "provenance.json", document(records))


if __name__ == "__main__":
    run_stage("tables", tables)
