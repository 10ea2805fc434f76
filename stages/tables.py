"""Gather all runs into the small text results that git keeps."""

from bpg.files import write_json
from bpg.report.runs import class_iou_rows, gather_curves, read_runs, summarise, write_rows
from bpg.report.tables import write_table
from stages.layout import RESULTS, RUNS
from stages.parameters import Parameters
from stages.setting import make_tables
from stages.stage import run_stage


def tables(parameters: Parameters) -> None:
    """Write `results/{metrics.json,table1-3.{csv,md},per_class_iou.csv,curves.csv}`."""
    switches = parameters.switches
    runs = read_runs(RUNS, switches.variants.all, switches.seeds)
    write_json(RESULTS / "metrics.json", summarise(runs))
    for table in make_tables(parameters, runs):
        write_table(RESULTS, table)
    write_rows(RESULTS / "per_class_iou.csv", ["variant", "class", "iou"], class_iou_rows(runs))
    curves = gather_curves(RUNS, switches.variants.all, switches.seeds)
    write_rows(RESULTS / "curves.csv", list(curves[0]), curves)


if __name__ == "__main__":
    run_stage("tables", tables)
