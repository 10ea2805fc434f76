import numpy as np
import pytest

from bpg.report.differences import MEASURES, Difference, System, compared, differences

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
    gains = [(a.variant, b.variant, b.kind, round(b.paper - a.paper, 1)) for a, b in compared()]
    assert gains == [
        ("scribble", "prn", "raw", 1.5),
        ("scribble", "brn", "raw", 2.5),
        ("scribble", "bpg", "raw", 3.3),
        ("bpg", "bpg", "crf", 2.8),
        ("bpg", "bpg_all_channels", "raw", -2.4),
    ]


def test_differences_are_measured_pair_by_pair_and_measure_by_measure():
    runs = {
        "scribble": [counts(0.5, boundary_rate=0.5)],
        "brn": [counts(0.6, seed=1, boundary_rate=0.4)],
    }
    found = {(one.label, one.measure): one for one in differences(runs)}
    assert len(found) == 5 * len(MEASURES)
    gain = found["DeepLab-v2 [scri] → +BRN", "miou"]
    assert gain.value == pytest.approx(10, abs=1)
    assert gain.low < gain.value < gain.high
    assert gain.std is None
    assert (gain.paper, gain.verdict) == (pytest.approx(2.5), "shows, larger, in this training")
    loss = found["DeepLab-v2 [scri] → +BRN", "boundary_iou"]
    assert loss.value == pytest.approx(-10, abs=1)
    assert (loss.paper, loss.verdict) == (None, "the opposite shows, in this training")
    missing = found["DeepLab-v2 [scri] → BPG", "miou"]
    assert (missing.value, missing.low, missing.verdict) == (None, None, "not run")


def test_raw_and_crf_of_one_variant_are_told_apart():
    better = counts(0.5)
    better[:, 1] = counts(0.7)[:, 1]
    found = {(one.label, one.measure): one for one in differences({"bpg": [better]})}
    assert found["BPG → BPG + CRF", "miou"].value == pytest.approx(20, abs=1.5)


def test_several_seeds_have_a_deviation():
    runs = {"scribble": [counts(0.5, 1), counts(0.5, 2)], "prn": [counts(0.5, 3), counts(0.6, 4)]}
    (gain,) = (o for o in differences(runs) if (o.second.variant, o.measure) == ("prn", "miou"))
    assert gain.value == pytest.approx(5, abs=1)
    assert gain.std == pytest.approx(10 / 2**0.5, abs=1)
    assert gain.low < -40 < 50 < gain.high  # two seeds say little: t is 12.7
    assert gain.verdict == "does not show"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.1, 4.0, "shows"),
        (0.1, 2.0, "shows, smaller"),
        (3.4, 4.0, "shows, larger"),
        (-0.1, 2.0, "does not show"),
        (-2.0, -0.1, "the opposite shows"),
    ],
)
def test_the_verdict_goes_by_the_papers_sign(low, high, verdict):
    worse, better = System("scribble", "raw", 69.9), System("bpg", "raw", 73.2)
    found = {"value": (low + high) / 2, "low": low, "high": high}
    turned = {"value": -found["value"], "low": -high, "high": -low}
    up = Difference(worse, better, "miou", std=0.5, **found)
    down = Difference(better, worse, "miou", std=0.5, **turned)
    assert up.verdict == down.verdict == verdict
    assert Difference(worse, better, "miou", **found).verdict == f"{verdict}, in this training"
