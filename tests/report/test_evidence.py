import pytest

from bpg.report.differences import Difference, System
from bpg.report.evidence import (
    RADII,
    boundary_table,
    cost_table,
    difference_notes,
    difference_table,
    trimap_rows,
)
from bpg.report.runs import read_runs
from bpg.report.tables import markdown, write_table

SCRIBBLE, BPG = System("scribble", "raw", 69.9), System("bpg", "raw", 73.2)
GAIN = Difference(SCRIBBLE, BPG, "miou", value=1.24, std=0.36, low=-0.12, high=2.61)
EDGE = Difference(SCRIBBLE, BPG, "boundary_iou", value=2.0, std=None, low=1.0, high=3.0)
MISSING = Difference(SCRIBBLE, System("prn", "raw", 71.4), "miou")


def cells(table):
    return [[cell.text for cell in row] for row in table.rows]


def test_a_difference_stands_with_its_interval_and_what_the_paper_claims(setting, tmp_path):
    table = difference_table([GAIN, EDGE, MISSING], setting)
    label = "DeepLab-v2 [scri] → BPG"
    assert cells(table) == [
        [label, "mIoU", "+1.24 ± 0.36", "-0.12 to +2.61", "+3.3", "does not show"],
        [label, "Boundary IoU", "+2.00", "+1.00 to +3.00", "n/a", "shows, in this training"],
        ["DeepLab-v2 [scri] → +PRN", "mIoU", "not run", "", "+1.5", "not run"],
    ]
    record = table.records[0]
    assert (record["difference"], record["difference_std"]) == ("1.24", "0.36")
    assert (record["low"], record["high"], record["paper"]) == ("-0.12", "2.61", "3.3")
    write_table(tmp_path, table)
    assert (tmp_path / "differences.csv").is_file()
    assert "Commit, versions and hardware" in markdown(table)


def test_notes_say_what_the_tables_differences_are_worth():
    assert difference_notes([GAIN, EDGE, MISSING], ["bpg", "prn"]) == (
        "DeepLab-v2 [scri] → BPG: +1.24, 95 % interval -0.12 to +2.61; paper +3.3: does not show.",
    )
    assert difference_notes([GAIN], ["prn"]) == ()


def test_boundaries_of_every_system_raw_and_with_crf(runs_folder, write_run, setting):
    write_run("bpg", 0, 60.0)
    write_run("bpg", 1, 62.0)
    runs = read_runs(runs_folder, ["bpg"], [0, 1])
    table = boundary_table(runs, setting)
    assert [row[0] for row in cells(table)] == ["BPG", "BPG + CRF"]
    assert len(table.header) == 2 + len(RADII)
    raw = [metrics["raw"] for metrics in runs["bpg"]]
    mean = sum(metrics["boundary_iou"] for metrics in raw) / 2
    assert cells(table)[0][1].startswith(f"{mean:.1f} ± ")
    at_3 = sum(metrics["trimap"][2] for metrics in raw) / 2
    assert float(table.records[0]["miou_within_3"]) == pytest.approx(at_3, abs=0.005)


def test_the_trimap_curve_starts_at_one_pixel_and_skips_what_is_not_there(runs_folder, write_run):
    write_run("bpg", 0, 60.0)
    runs = read_runs(runs_folder, ["bpg"], [0])
    runs["bpg"][0]["raw"]["trimap"] = [None, 50.0, 51.234] + [52.0] * 37
    rows = trimap_rows(runs, "raw")["bpg"]
    assert rows[:2] == [{"radius": 2, "miou": 50.0}, {"radius": 3, "miou": 51.23}]
    assert rows[-1]["radius"] == 40


def test_the_cost_stands_beside_the_baselines():
    base = {
        "variant": "scribble",
        "label": "DeepLab-v2 [scri]",
        "parameters": 299_564,
        "parameters_at_test": 299_564,
        "macs": 75_200_000,
        "peak_memory_bytes": 31 * 2**20,
        "step_seconds": 0.1234,
        "macs_ratio": 1.0,
        "memory_ratio": 1.0,
        "time_ratio": 1.0,
        "baseline": "scribble",
        "recipe": "tiny",
        "classes": 7,
        "crop": 97,
        "batch": 8,
        "device": "cpu",
        "hardware": "A processor, 2 cores",
        "torch": "2.15.0",
        "threads": 1,
        "precision": "fp32",
    }
    bpg = base | {"variant": "bpg", "label": "BPG", "macs_ratio": 1.714, "time_ratio": 2.1}
    table = cost_table([base, bpg])
    assert cells(table)[0][1:7] == ["299,564", "299,564", "0.0752", "× 1.00", "31", "× 1.00"]
    assert cells(table)[1][4] == "× 1.71"
    assert cells(table)[1][7:] == ["123", "× 2.10"]
    made = "8 crops of 97×97 pixels on A processor, 2 cores, fp32, 1 thread, torch 2.15.0."
    assert made in table.caption
