import csv
import dataclasses

import numpy as np
import pytest

from bpg.evaluation.bootstrap import paired_bootstrap
from bpg.report.columns import write_table
from bpg.report.gains import MEASURED, gains_table, measure_gains, pairs

CLASSES, IMAGES = 3, 20


def counts(raw, crf, boundary):
    """Of each class's 1000 pixels so many percent are hit, no others."""
    result = np.zeros((IMAGES, 2, 2, 3, CLASSES), np.int32)
    result[..., 1, :] = 1000
    for kind, (region, near) in enumerate(((raw, boundary), (crf, boundary))):
        for which, percent in enumerate((region, near)):
            result[:, kind, which, 0] = result[:, kind, which, 2] = 10 * percent
    return result


def test_every_pair_differs_in_one_thing(shipped):
    found = pairs(shipped, shipped)
    assert ("scribble", "fine_tuned", "schedule") in found
    assert ("bpg", "bpg_fine_tuned", "schedule") in found
    assert ("fine_tuned", "kernelcut", "loss") in found
    assert ("bpg_fine_tuned", "bpg_gatedcrf", "loss") in found
    assert ("fine_tuned", "scribblesup", "labels") in found
    assert ("kernelcut", "bpg_kernelcut", "PRN and BRN with its loss") in found
    assert ("scribble", "grabcut", "labels") in found
    assert ("scribble", "forest", "classifier") in found
    for first, second, what in found:
        one, other = shipped[first], shipped[second]
        differ = {
            "schedule": one.init_from != other.init_from,
            "loss": one.regularisers != other.regularisers,
            "labels": one.supervision != other.supervision,
            "classifier": one.classifier != other.classifier,
            "PRN and BRN with its loss": (one.prn, one.brn) != (other.prn, other.brn),
        }
        differ["schedule"] &= what != "labels"  # its rounds belong to the labels
        # PRN and BRN are there from a warm start of their own.
        differ["schedule"] &= not (one.init_from and what.startswith("PRN"))
        assert [name for name, differs in differ.items() if differs] == [what]


def test_every_peer_is_compared_with_the_control(shipped):
    compared = {second for first, second, _ in pairs(shipped, shipped) if first == "fine_tuned"}
    peers = {name for name, one in shipped.items() if one.init_from and not one.prn}
    assert compared == peers - {"fine_tuned"} | {"bpg_fine_tuned"}


def test_a_pair_of_which_one_was_not_run_is_left_out(shipped):
    assert pairs(["scribble", "kernelcut", "bpg_kernelcut"], shipped) == [
        ("kernelcut", "bpg_kernelcut", "PRN and BRN with its loss")
    ]
    assert pairs(["mask", "scribble", "bpg"], shipped) == []
    assert pairs(["mask", "grabcut", "forest"], shipped) == []


def test_the_gain_is_second_minus_first_in_each_measure(shipped):
    runs = {"fine_tuned": [counts(50, 60, 20)], "densecrf": [counts(53, 59, 27)]}
    (one,) = measure_gains(runs, shipped)
    assert (one.first, one.second) == ("fine_tuned", "densecrf")
    assert [d.value for d in one.differences] == pytest.approx([3, -1, 7])


def test_the_interval_is_the_paired_bootstraps_over_all_seeds(shipped):
    first = [counts(50, 60, 20), counts(51, 61, 22)]
    second = [counts(53, 60, 20), counts(55, 61, 22)]
    (one,) = measure_gains({"fine_tuned": first, "densecrf": second}, shipped)
    expected = paired_bootstrap(*(np.stack([c[:, 0, 0] for c in both]) for both in (first, second)))
    assert one.differences[0] == expected
    assert expected.low < 3.5 < expected.high


def test_the_table_has_a_row_a_pair_with_its_verdicts(setting, tmp_path, shipped):
    runs = {
        "scribble": [counts(52, 60, 20)],
        "fine_tuned": [counts(50, 60, 20)],
        "densecrf": [counts(53, 59, 20)],
    }
    setting = dataclasses.replace(setting, seeds=(0,))
    table = gains_table(measure_gains(runs, shipped), setting)
    texts = [[cell.text for cell in row] for row in table.rows]
    assert [row[1] for row in texts] == ["schedule", "loss"]
    assert texts[1][0] == "Fine-tuned → DenseCRF loss"
    assert texts[0][2] == "-2.00" and texts[0][4] == "yes, lower"
    assert texts[1][2] == "+3.00" and texts[1][4] == "yes, higher"
    assert texts[1][10] == "no"
    assert all(len(row) == len(table.header) == 2 + 3 * len(MEASURED) for row in texts)
    write_table(tmp_path, table)
    with (tmp_path / "gains.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["first"], r["second"], r["miou_raw_difference"]) for r in rows] == [
        ("scribble", "fine_tuned", "-2.00"),
        ("fine_tuned", "densecrf", "3.00"),
    ]


def test_without_a_pair_the_table_says_so(setting, tmp_path, shipped):
    table = gains_table(measure_gains({"bpg": [counts(50, 60, 20)]}, shipped), setting)
    assert "none" in table.rows[0][0].text
    write_table(tmp_path, table)
    assert (tmp_path / "gains.md").is_file()
