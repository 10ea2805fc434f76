import csv
import dataclasses

import numpy as np
import pytest

from bpg.evaluation.bootstrap import Difference, paired_bootstrap
from bpg.report.claims import check_claims
from bpg.report.columns import EXCLUDES_0, markdown, write_table
from bpg.report.ranking import rank, ranking_table
from bpg.report.runs import read_runs
from bpg.report.summary import summary

CLASSES, IMAGES = 3, 20
MIOU = {"scribble": 51.0, "kernelcut": 54.0, "bpg": 53.0, "treeenergy": 50.0}
BUDGETS = {"scribble": "16", "kernelcut": "8 + 8", "bpg": "16", "treeenergy": "8 + 8"}


def counts(raw, crf=None):
    """Counts of images in which of each class's 1000 pixels so many percent are hit, no others.

    `raw` and `crf` are one number for all images, or one for each: their mean is the mIoU.
    """
    result = np.zeros((IMAGES, 2, 2, 3, CLASSES), np.int32)
    result[..., 1, :] = 1000
    for kind, percent in enumerate((raw, raw if crf is None else crf)):
        hits = 10 * np.broadcast_to(percent, IMAGES)[:, None, None]
        result[:, kind, :, 0] = result[:, kind, :, 2] = hits
    return result


def alternating(middle, by):
    return [middle + by * (-1) ** image for image in range(IMAGES)]


@pytest.fixture
def runs(runs_folder, write_run):
    for variant, miou in MIOU.items():
        write_run(variant, 0, miou)
    return read_runs(runs_folder, list(MIOU), [0])


@pytest.fixture
def setting(setting):
    return dataclasses.replace(setting, budgets=BUDGETS)


COUNTS = {
    "scribble": [counts(51, 58)],
    "kernelcut": [counts(54, 57)],
    "bpg": [counts(53, 58)],
    "treeenergy": [counts(alternating(53, 20), 59)],
}


def cells(table):
    return [[cell.text for cell in row] for row in table.rows]


# Order and reference


def test_the_best_without_crf_stands_first(runs):
    ranked = rank(runs, COUNTS)
    assert [one.variant for one in ranked] == ["kernelcut", "bpg", "scribble", "treeenergy"]
    assert {one.reference for one in ranked} == {"bpg"}


def test_the_order_is_that_of_the_mean_over_the_seeds(runs_folder, write_run):
    for variant, mious in {"bpg": (60.0, 50.0), "scribble": (56.0, 55.0)}.items():
        for seed, miou in enumerate(mious):
            write_run(variant, seed, miou)
    runs = read_runs(runs_folder, ["bpg", "scribble"], [0, 1])
    found = rank(runs, {"bpg": [counts(60), counts(50)], "scribble": [counts(56), counts(55)]})
    assert [one.variant for one in found] == ["scribble", "bpg"]


@pytest.mark.parametrize(
    ("variants", "reference"),
    [
        (["scribble", "kernelcut", "bpg"], "bpg"),
        (["kernelcut", "treeenergy", "scribble"], "scribble"),
        (["treeenergy", "kernelcut"], "treeenergy"),
        (["kernelcut"], "kernelcut"),
    ],
)
def test_the_reference_is_bpg_then_the_baseline_then_the_first_row(runs, variants, reference):
    some = {name: runs[name] for name in variants}
    ranked = rank(some, {name: COUNTS[name] for name in variants})
    assert {one.reference for one in ranked} == {reference}
    assert [one.variant for one in ranked if not one.differences] == [reference]


# Differences and verdicts


def test_differences_are_to_the_reference_raw_and_with_crf(runs):
    found = {one.variant: one.differences for one in rank(runs, COUNTS)}
    assert found["bpg"] == {}
    raw = {name: kinds["raw"].value for name, kinds in found.items() if kinds}
    assert raw == pytest.approx({"scribble": -2.0, "kernelcut": 1.0, "treeenergy": 0.0})
    crf = {name: kinds["crf"].value for name, kinds in found.items() if kinds}
    assert crf == pytest.approx({"scribble": 0.0, "kernelcut": -1.0, "treeenergy": 1.0})
    both = (np.stack([one[:, 0, 0] for one in COUNTS[name]]) for name in ("bpg", "treeenergy"))
    assert found["treeenergy"]["raw"] == paired_bootstrap(*both)


def test_each_rows_distance_to_full_masks(runs, runs_folder, write_run, setting, tmp_path):
    """Where there is a row of full masks; it has none to itself."""
    assert not any(one.to_masks for one in rank(runs, COUNTS))
    write_run("mask", 0, 60.0)
    runs = read_runs(runs_folder, ["mask", "bpg", "kernelcut"], [0])
    kept = {name: COUNTS[name] for name in ("bpg", "kernelcut")} | {"mask": [counts(60, 59)]}
    ranked = rank(runs, kept)
    found = {one.variant: one.to_masks for one in ranked}
    assert found["mask"] == {}
    for name, values in {"bpg": [-7.0, -1.0], "kernelcut": [-6.0, -2.0]}.items():
        assert [found[name][kind].value for kind in ("raw", "crf")] == pytest.approx(values)
    setting = dataclasses.replace(setting, budgets=BUDGETS | {"mask": "16"})
    table = ranking_table(ranked, runs, setting)
    write_table(tmp_path, table)
    with (tmp_path / "ranking.csv").open(newline="") as file:
        rows = {row["variant"]: row for row in csv.DictReader(file)}
    assert rows["kernelcut"]["masks_raw_difference"] == "-6.00"
    assert rows["kernelcut"]["masks_crf_excludes_0"] == "yes, lower"
    assert rows["mask"]["masks_raw_difference"] == ""
    assert "mIoU − DeepLab-v2 [F]'s" in summary(check_claims(kept), ranked, runs, setting)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.1, 2.0, "yes, higher"),
        (-2.0, -0.1, "yes, lower"),
        (-0.1, 2.0, "no"),
        (-2.0, 0.1, "no"),
        (0.0, 2.0, "no"),
        (-2.0, 0.0, "no"),
    ],
)
def test_the_verdict_is_the_side_of_0_on_which_the_whole_interval_lies(low, high, expected):
    assert EXCLUDES_0[Difference((low + high) / 2, low, high, None).side] == expected


def test_verdicts_by_hand_made_counts(runs):
    """Equal images: the interval is one number. Images that alternate by 20 points: it is wide."""
    found = {
        (one.variant, kind): EXCLUDES_0[difference.side]
        for one in rank(runs, COUNTS)
        for kind, difference in one.differences.items()
    }
    assert found == {
        ("scribble", "raw"): "yes, lower",
        ("scribble", "crf"): "no",
        ("kernelcut", "raw"): "yes, higher",
        ("kernelcut", "crf"): "yes, lower",
        ("treeenergy", "raw"): "no",
        ("treeenergy", "crf"): "yes, higher",
    }


# The table


def test_the_table_of_one_seed(runs, setting):
    table = ranking_table(rank(runs, COUNTS), runs, setting)
    assert table.header[4] == "95 % interval"
    assert table.header[7] == "mIoU − BPG's"
    assert len(table.header) == 13
    found = cells(table)
    assert [row[:10] for row in found[:3]] == [
        [
            "1",
            "KernelCut",
            "8 + 8",
            "54.0",
            "54.0 to 54.0",
            "59.0",
            "44.0",
            "+1.00",
            "+1.00 to +1.00",
            "yes, higher",
        ],
        ["2", "BPG", "16", "53.0", "53.0 to 53.0", "58.0", "43.0", "", "", ""],
        [
            *("3", "DeepLab-v2 [scri]", "16", "51.0", "51.0 to 51.0", "56.0", "41.0"),
            *("-2.00", "-2.00 to -2.00", "yes, lower"),
        ],
    ]
    assert [row[10:] for row in found[:3]] == [
        ["-1.00", "-1.00 to -1.00", "yes, lower"],
        ["", "", ""],
        ["+0.00", "+0.00 to +0.00", "no"],
    ]
    assert found[3][:4] == ["4", "Tree energy", "8 + 8", "50.0"]
    assert found[3][7] == "+0.00"
    assert found[3][9] == "no"
    assert setting.intervals() in table.notes


def test_three_seeds_give_deviations_and_intervals_over_seeds(runs_folder, write_run, setting):
    mious = {"bpg": (52.0, 53.0, 54.0), "kernelcut": (54.0, 56.0, 58.0)}
    for variant, values in mious.items():
        for seed, miou in enumerate(values):
            write_run(variant, seed, miou)
    runs = read_runs(runs_folder, list(mious), [0, 1, 2])
    by_hand = {name: [counts(value) for value in values] for name, values in mious.items()}
    setting = dataclasses.replace(setting, seeds=(0, 1, 2))
    ranked = rank(runs, by_hand)
    table = ranking_table(ranked, runs, setting)
    first, second = cells(table)
    assert first[1:4] == ["KernelCut", "8 + 8", "56.0 ± 2.0"]
    assert first[5:7] == ["61.0 ± 2.0", "46.0 ± 2.0"]
    assert second[3] == "53.0 ± 1.0"
    # Gains of 2, 3 and 4 points; with no width from the images, t of two degrees is 4.303.
    assert first[7] == "+3.00 ± 1.00"
    reach = 4.302653 / 3**0.5
    # The scores, 54, 56 and 58, spread twice as far.
    assert first[4] == f"{56 - 2 * reach:.1f} to {56 + 2 * reach:.1f}"
    assert first[8:10] == [f"{3 - reach:+.2f} to {3 + reach:+.2f}", "yes, higher"]
    assert setting.intervals() in table.notes
    assert "seeds 0, 1, 2 (mean ± sample standard deviation)" in table.caption


def test_three_seeds_that_disagree_tell_nothing_apart(runs_folder, write_run):
    mious = {"bpg": (53.0, 53.0, 53.0), "kernelcut": (51.0, 56.0, 58.0)}
    for variant, values in mious.items():
        for seed, miou in enumerate(values):
            write_run(variant, seed, miou)
    runs = read_runs(runs_folder, list(mious), [0, 1, 2])
    best, _ = rank(runs, {name: [counts(v) for v in of] for name, of in mious.items()})
    assert (best.variant, EXCLUDES_0[best.differences["raw"].side]) == ("kernelcut", "no")


def test_the_csv_has_all_numbers_and_what_they_were_made_on(runs, setting, tmp_path):
    table = ranking_table(rank(runs, COUNTS), runs, setting)
    write_table(tmp_path, table)
    with (tmp_path / "ranking.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["place"] for row in rows] == ["1", "2", "3", "4"]
    assert {row["variant"]: row["epochs"] for row in rows} == BUDGETS
    best, own, *_ = rows
    assert {key: best[key] for key in best if key.startswith(("raw_", "crf_"))} == {
        **{
            "raw_difference": "1.00",
            "raw_low": "1.00",
            "raw_high": "1.00",
            "raw_excludes_0": "yes, higher",
        },
        **{f"crf_{end}": "-1.00" for end in ("difference", "low", "high")},
        "crf_excludes_0": "yes, lower",
    }
    assert {own[key] for key in own if key.startswith(("raw_", "crf_"))} == {""}
    assert (best["miou"], best["miou_crf"], best["boundary_iou"]) == ("54.00", "59.00", "44.00")
    assert {row["reference"] for row in rows} == {"bpg"}
    assert {(row["dataset"], row["recipe"], row["seeds"]) for row in rows} == {
        ("shapes", "tiny", "0")
    }


def test_a_boundary_iou_that_is_not_there_is_said_to_be_so(runs, setting):
    runs["kernelcut"][0]["raw"]["boundary_iou"] = None
    table = ranking_table(rank(runs, COUNTS), runs, setting)
    assert cells(table)[0][6] == "n/a"
    assert table.records[0]["boundary_iou"] == "n/a"


def test_the_markdown_is_one_aligned_table_even_of_one_row(runs, setting):
    for some in (runs, {"bpg": runs["bpg"]}):
        text = markdown(ranking_table(rank(some, COUNTS), some, setting))
        lines = [line for line in text.splitlines() if line[:1] == "|"]
        assert len(lines) == 2 + len(some)
        assert {len(line) for line in lines} == {len(lines[0])}
        # GitHub takes the second line for a heading's end only if every column has a dash.
        assert all("-" in part for part in lines[1].strip("|").split("|"))
