from dataclasses import replace

import pytest

from bpg.evaluation.bootstrap import Difference, Score
from bpg.evaluation.comparison import System
from bpg.report.answer import answer, own_answer
from bpg.report.claims import Claim
from bpg.report.ranking import LINES, Ranked, featured


def claim(low, high, *, claimed=3.0, measure="miou"):
    found = Difference((low + high) / 2, low, high, 0.5)
    return Claim(System("scribble"), System("bpg"), claimed, measure, found)


def ranked(variant, miou, to_masks=None):
    scores = {kind: Score(miou, miou - 1, miou + 1) for kind in ("raw", "crf")}
    differences = {} if to_masks is None else dict.fromkeys(("raw", "crf"), to_masks)
    return Ranked(1, variant, "bpg", scores, {}, differences)


@pytest.mark.parametrize(
    ("low", "high", "kind"), [(1, 5, "holds"), (-1, 5, "open"), (-5, -1, "fails")]
)
def test_a_claims_verdict_is_by_its_interval(setting, low, high, kind):
    (line,) = answer([claim(low, high)], [], setting)
    assert line.kind == kind
    assert line.what.endswith(", mIoU")
    assert line.numbers.endswith("; paper +3.0")
    assert "-" not in line.numbers


def test_what_was_not_run_or_the_paper_did_not_measure(setting):
    missing = replace(claim(1, 2), found=None)
    (line,) = answer([missing, claim(1, 2, measure="boundary_iou")], [], setting)
    assert line.what.endswith("Boundary IoU")
    assert line.numbers == "+1.50 (+1.00 to +2.00)"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(-4.0, -0.1, "not reached"), (-4.0, 0.2, "interval contains 0"), (0.1, 2.0, "reached")],
)
def test_how_far_the_best_row_from_strokes_is_from_masks(setting, low, high, verdict):
    rows = [
        ranked("mask", 67),
        ranked("bpg", 60, Difference(-7.0, -9.0, -5.0, 1.0)),
        ranked("bpg_gatedcrf", 64, Difference(-3.0, low, high, 1.0)),
    ]
    lines = answer([], rows, setting)
    assert [line.verdict for line in lines] == [verdict, verdict]
    assert f"{setting.label('bpg_gatedcrf')}, the best of 2, against" in lines[0].what
    assert "with CRF" in lines[1].what
    assert answer([], [ranked("bpg", 60)], setting) == []


def test_a_users_answer_is_every_variants_score(setting):
    (line,) = own_answer([ranked("bpg", 60.0)], setting)
    assert line.numbers == "mIoU 60.0 (59.0 to 61.0); with CRF 60.0 (59.0 to 61.0)"


def test_few_variants_are_featured_and_the_papers_among_them():
    names = ["mask", "a", "bpg", "b", "prn", "c", "brn", "scribble", "d"]
    rows = [ranked(name, 70 - place) for place, name in enumerate(names)]
    assert featured(rows) == ["mask", "scribble", "prn", "brn", "bpg", "a"]
    assert len(featured(rows)) == LINES
    assert featured(rows[:4]) == names[:4]
