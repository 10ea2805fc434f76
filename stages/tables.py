"""Gather all runs into the small text results that git keeps."""

from bpg.files import whole_directory, write_json
from bpg.report.runs import (
    class_iou_rows,
    gather_curves,
    mean_curves,
    read_runs,
    summarise,
    write_rows,
)
from bpg.report.tables import write_table
from stages.layout import RESULTS, RUNS
from stages.parameters import Parameters
from stages.setting import make_tables
from stages.stage import run_stage


def tables(parameters: Parameters) -> None:
    """Write `results/{metrics.json,table1-3.{csv,md},class_iou,curves}`."""
    switches = parameters.switches
    runs = read_runs(RUNS, switches.variants.all, switches.seeds)
    write_json(RESULTS / "metrics.json", summarise(runs))
    for table in make_tables(parameters, runs):
        write_table(RESULTS, table)
    with whole_directory(RESULTS / "class_iou") as folder:
        for kind, suffix in (("raw", ""), ("crf", "_crf")):
            for variant, rows in class_iou_rows(runs, kind).items():
                write_rows(folder / f"{variant}{suffix}.csv", ["class", "iou"], rows)
    curves = mean_curves(gather_curves(RUNS, switches.variants.all, switches.seeds))
    with whole_directory(RESULTS / "curves") as folder:
        for variant, rows in curves.items():
            write_rows(folder / f"{variant}.csv", list(rows[0]), rows)


if __name__ == "__main__":
    run_stage("tables", tables)
