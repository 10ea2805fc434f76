"""On a user's own images: what was run, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from bpg.report.columns import markdown, write_table
from bpg.report.own import FILES, class_table, left_out, own_summary, results_table
from bpg.report.ranking import rank
from bpg.report.runs import read_runs

IMAGES, CLASSES = 6, 3
MIOU = {"bpg": 53.0, "scribble": 51.0}


def counts(percent):
    """Counts of images in which of each class's 1000 pixels so many percent are hit, no others."""
    result = np.zeros((IMAGES, 2, 2, 3, CLASSES), np.int32)
    result[..., 1, :] = 1000
    result[..., 0, :] = result[..., 2, :] = round(10 * percent)
    return result


@pytest.fixture
def own(setting):
    return replace(setting, dataset="folder", own=True, truth="held-out strokes")


@pytest.fixture
def made(runs_folder, write_run, own):
    """Return both tables of the given variants."""

    def make(*variants, absent=(), setting=own):
        for name in variants:
            write_run(name, 0, MIOU[name], absent=absent)
        runs = read_runs(runs_folder, list(variants), [0])
        ranked = rank(runs, {name: [counts(MIOU[name])] for name in variants})
        return [results_table(ranked, runs, setting), class_table(runs, setting)]

    return make


def shown(table):
    return [table.header, *(tuple(cell.text for cell in row) for row in table.rows)]


def test_a_single_run_has_its_number_and_its_interval(made):
    assert shown(made("bpg")[0]) == [
        ("trained", "mIoU", "95 % interval", "with CRF", "95 % interval"),
        ("BPG", "53.0", "53.0 to 53.0", "58.0", "53.0 to 53.0"),
    ]


def test_several_runs_have_their_differences(made):
    header, *rows = shown(made("bpg", "scribble")[0])
    assert header[5:] == ("mIoU − BPG's", "95 % interval", "excludes 0?")
    assert [row[0] for row in rows] == ["BPG", "DeepLab-v2 [scri]"]
    assert rows[0][5:] == ("", "", "")
    assert rows[1][5:] == ("-2.00", "-2.00 to -2.00", "yes, lower")


def test_boundaries_are_there_if_there_are_masks(made, own):
    table = made("bpg", setting=replace(own, truth="masks"))[0]
    assert shown(table)[0][-1] == "Boundary IoU"
    assert shown(table)[1][-1] == "43.0"
    assert "on masks" in table.title


def test_classes_are_there_raw_and_with_crf_and_without_those_that_nothing_scores(made):
    table = made("bpg", absent=["stripes"])[1]
    assert shown(table) == [
        ("trained", "background", "spots", "stripes", "mean"),
        ("BPG", "52.0", "53.0", "–", "53.0"),
        ("BPG + CRF", "57.0", "58.0", "–", "58.0"),
    ]
    assert table.notes == ("–: no stroke to score on (stripes); the mean is over the others.",)
    assert table.records[0]["iou_stripes"] == "absent"
    assert made("bpg")[1].notes == ()


def test_the_summary_has_both_and_nothing_of_the_paper(made, own):
    text = own_summary(made("bpg", "scribble"), own)
    assert text.startswith("# Results on your images\n\nYours: data set folder (400 training")
    assert "held-out strokes, which alone are scored on" in text
    assert text.count("\n## ") == 2
    assert text.count("| BPG ") == 3  # of these, one with CRF
    assert "draw_next/draw_next.csv" in text
    for foreign in ("paper", "claim", "not run", "n/a", "Ours"):
        assert foreign not in text
    assert "\n\n\n" not in text


def test_what_is_left_out_has_a_file_that_says_so(made, tmp_path):
    tables = made("bpg")
    rest = left_out(tables)
    assert sorted([table.name for table in (*tables, *rest)]) == sorted(FILES)
    for table in rest:
        assert "Not made for images of your own" in markdown(table)
        write_table(tmp_path, table)
        assert (tmp_path / f"{table.name}.csv").is_file()
