import csv
import dataclasses

import numpy as np
import pytest

from bpg.evaluation.bootstrap import paired_bootstrap
from bpg.report.gains import MEASURED, gains, gains_table, pairs
from bpg.report.tables import write_table
from bpg.variants import VARIANTS

CLASSES, IMAGES = 3, 20


def counts(raw, crf, boundary):
    """Of each class's 1000 pixels so many percent are hit, no others."""
    result = np.zeros((IMAGES, 2, 2, 3, CLASSES), np.int32)
    result[..., 1, :] = 1000
    for kind, (region, near) in enumerate(((raw, boundary), (crf, boundary))):
        for which, percent in enumerate((region, near)):
            result[:, kind, which, 0] = result[:, kind, which, 2] = 10 * percent
    return result


def test_every_pair_differs_in_one_thing():
    found = pairs(VARIANTS)
    assert ("scribble", "fine_tuned", "schedule") in found
    assert ("fine_tuned", "kernelcut", "loss") in found
    assert ("fine_tuned", "scribblesup", "labels") in found
    assert ("kernelcut", "bpg_kernelcut", "PRN and BRN with its loss") in found
    for first, second, what in found:
        one, other = VARIANTS[first], VARIANTS[second]
        differ = {
            "schedule": one.start != other.start,
            "loss": one.regularisers != other.regularisers,
            "labels": one.supervision != other.supervision,
            "PRN and BRN with its loss": (one.prn, one.brn) != (other.prn, other.brn),
        }
        differ["schedule"] &= what != "labels"  # its rounds belong to the labels
        assert [name for name, differs in differ.items() if differs] == [what]


def test_every_peer_is_compared_with_the_control():
    compared = {second for first, second, _ in pairs(VARIANTS) if first == "fine_tuned"}
    peers = {v.name for v in VARIANTS.values() if v.start and not v.prn and v.name != "fine_tuned"}
    assert compared == peers


def test_a_pair_of_which_one_was_not_run_is_left_out():
    assert pairs(["scribble", "kernelcut", "bpg_kernelcut"]) == [
        ("kernelcut", "bpg_kernelcut", "PRN and BRN with its loss")
    ]
    assert pairs(["mask", "scribble", "bpg"]) == []


def test_the_gain_is_second_minus_first_in_each_measure():
    runs = {"fine_tuned": [counts(50, 60, 20)], "densecrf": [counts(53, 59, 27)]}
    (one,) = gains(runs)
    assert (one.first, one.second) == ("fine_tuned", "densecrf")
    assert [d.value for d in one.differences] == pytest.approx([3, -1, 7])


def test_the_interval_is_the_paired_bootstraps_over_all_seeds():
    first = [counts(50, 60, 20), counts(51, 61, 22)]
    second = [counts(53, 60, 20), counts(55, 61, 22)]
    (one,) = gains({"fine_tuned": first, "densecrf": second})
    expected = paired_bootstrap(*(np.stack([c[:, 0, 0] for c in both]) for both in (first, second)))
    assert one.differences[0] == expected
    assert expected.low < 3.5 < expected.high


def test_the_table_has_a_row_a_pair_with_its_verdicts(setting, tmp_path):
    runs = {
        "scribble": [counts(52, 60, 20)],
        "fine_tuned": [counts(50, 60, 20)],
        "densecrf": [counts(53, 59, 20)],
    }
    setting = dataclasses.replace(setting, seeds=(0,))
    table = gains_table(gains(runs), setting)
    texts = [[cell.text for cell in row] for row in table.rows]
    assert [row[1] for row in texts] == ["schedule", "loss"]
    assert texts[1][0] == "Fine-tuned → DenseCRF loss"
    assert texts[0][2] == "-2.00" and texts[0][3].endswith("behind")
    assert texts[1][2] == "+3.00" and texts[1][3].endswith("ahead")
    assert texts[1][7].endswith("not told apart")
    assert all(len(row) == len(table.header) == 2 + 2 * len(MEASURED) for row in texts)
    write_table(tmp_path, table)
    with (tmp_path / "gains.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["first"], r["second"], r["miou_raw_difference"]) for r in rows] == [
        ("scribble", "fine_tuned", "-2.00"),
        ("fine_tuned", "densecrf", "3.00"),
    ]


def test_without_a_pair_the_table_says_so(setting, tmp_path):
    table = gains_table(gains({"bpg": [counts(50, 60, 20)]}), setting)
    assert "no such pair" in table.rows[0][0].text
    write_table(tmp_path, table)
    assert (tmp_path / "gains.md").is_file()
