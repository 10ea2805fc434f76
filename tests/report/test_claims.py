import numpy as np
import pytest

from bpg.evaluation.bootstrap import Difference
from bpg.evaluation.comparison import MEASURES, System
from bpg.report.claims import Claim, check_claims, claim_notes, claims_table, pairs
from bpg.report.columns import markdown, write_table

CLASSES, IMAGES = 3, 30


def counts(rate, seed=0, *, boundary_rate=None):
    """Counts of images in which `rate` of each class's 1000 pixels are hit, and nothing else is."""
    rng = np.random.default_rng(seed)
    result = np.zeros((IMAGES, 2, 2, 3, CLASSES), np.int32)
    result[..., 1, :] = 1000
    for measure, hit_rate in enumerate((rate, boundary_rate or rate)):
        hits = rng.binomial(1000, hit_rate, (IMAGES, 2, CLASSES))
        result[:, :, measure, 0] = result[:, :, measure, 2] = hits
    return result


def test_the_pairs_are_those_of_the_paper():
    gains = [(a.variant, b.variant, b.kind, round(claimed, 1)) for a, b, claimed in pairs()]
    assert gains == [
        ("scribble", "prn", "raw", 1.5),
        ("scribble", "brn", "raw", 2.5),
        ("scribble", "bpg", "raw", 3.3),
        ("bpg", "bpg", "crf", 2.8),
        ("bpg", "bpg_all_channels", "raw", -2.4),
    ]


def found(runs):
    return {(one.second.variant, one.second.kind, one.measure): one for one in check_claims(runs)}


def test_claims_are_checked_pair_by_pair_and_measure_by_measure():
    claims = found(
        {
            "scribble": [counts(0.5, boundary_rate=0.5)],
            "brn": [counts(0.6, seed=1, boundary_rate=0.4)],
        }
    )
    assert len(claims) == 5 * len(MEASURES)
    gain = claims["brn", "raw", "miou"]
    assert gain.found.value == pytest.approx(10, abs=1)
    assert gain.found.low < gain.found.value < gain.found.high
    assert gain.found.std is None
    assert (gain.printed, gain.verdict) == (pytest.approx(2.5), "confirmed, larger (one seed)")
    loss = claims["brn", "raw", "boundary_iou"]
    assert loss.found.value == pytest.approx(-10, abs=1)
    assert (loss.printed, loss.verdict) == (None, "contradicted (one seed)")
    missing = claims["bpg", "raw", "miou"]
    assert (missing.found, missing.verdict) == (None, "not run")


def test_raw_and_crf_of_one_variant_are_told_apart():
    better = counts(0.5)
    better[:, 1] = counts(0.7)[:, 1]
    claims = found({"bpg": [better]})
    assert claims["bpg", "crf", "miou"].found.value == pytest.approx(20, abs=1.5)


def test_several_seeds_have_a_deviation():
    runs = {"scribble": [counts(0.5, 1), counts(0.5, 2)], "prn": [counts(0.5, 3), counts(0.6, 4)]}
    gain = found(runs)["prn", "raw", "miou"]
    assert gain.found.value == pytest.approx(5, abs=1)
    assert gain.found.std == pytest.approx(10 / 2**0.5, abs=1)
    assert gain.found.low < -40 < 50 < gain.found.high  # two seeds say little: t is 12.7
    assert gain.verdict == "not confirmed"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.1, 4.0, "confirmed"),
        (0.1, 2.0, "confirmed, smaller"),
        (3.4, 4.0, "confirmed, larger"),
        (-0.1, 2.0, "not confirmed"),
        (-2.0, -0.1, "contradicted"),
    ],
)
def test_the_verdict_goes_by_the_papers_sign(low, high, verdict):
    worse, better = System("scribble"), System("bpg")
    value = (low + high) / 2
    up, down = Difference(value, low, high, 0.5), Difference(-value, -high, -low, 0.5)
    assert Claim(worse, better, 3.3, "miou", up).verdict == verdict
    assert Claim(better, worse, -3.3, "miou", down).verdict == verdict
    one_seed = Difference(value, low, high, None)
    assert Claim(worse, better, 3.3, "miou", one_seed).verdict == f"{verdict} (one seed)"
    # Without a printed number there is nothing to be smaller or larger than.
    side = verdict.partition(",")[0]
    assert Claim(worse, better, 3.3, "boundary_iou", up).verdict == side


GAIN = Claim(System("scribble"), System("bpg"), 3.3, "miou", Difference(1.24, -0.12, 2.61, 0.36))
EDGE = Claim(
    System("scribble"), System("bpg"), 3.3, "boundary_iou", Difference(2.0, 1.0, 3.0, None)
)
MISSING = Claim(System("scribble"), System("prn"), 1.5, "miou")


def test_a_claim_stands_with_our_interval_and_the_papers_number(setting, tmp_path):
    table = claims_table([GAIN, EDGE, MISSING], setting)
    pair = "DeepLab-v2 [scri] → BPG"
    assert [[cell.text for cell in row] for row in table.rows] == [
        [pair, "mIoU", "+1.24 ± 0.36", "-0.12 to +2.61", "+3.3", "not confirmed"],
        [pair, "Boundary IoU", "+2.00", "+1.00 to +3.00", "n/a", "confirmed (one seed)"],
        ["DeepLab-v2 [scri] → +PRN", "mIoU", "not run", "", "+1.5", "not run"],
    ]
    record = table.records[0]
    assert (record["difference"], record["difference_std"]) == ("1.24", "0.36")
    assert (record["low"], record["high"], record["paper"]) == ("-0.12", "2.61", "3.3")
    write_table(tmp_path, table)
    assert (tmp_path / "claims.csv").is_file()
    assert "Commit, versions and hardware" in markdown(table)


def test_notes_say_what_the_tables_differences_are_worth(setting):
    assert claim_notes([GAIN, EDGE, MISSING], ["bpg", "prn"], setting) == (
        "DeepLab-v2 [scri] → BPG: +1.24, 95 % interval -0.12 to +2.61; paper +3.3: not confirmed.",
    )
    assert claim_notes([GAIN], ["prn"], setting) == ()
