import subprocess
import sys

import numpy as np
import pytest

from bpg.errors import BPGError
from bpg.evaluation import bootstrap
from bpg.evaluation.bootstrap import paired_bootstrap


def system(seed, skill, seeds=1, images=60, classes=4):
    """Counts of a made-up system: the same true pixels whatever `seed`, class 3 in few images."""
    truth = np.random.default_rng(99).integers(50, 500, (images, classes))
    truth[: images - images // 10, 3] = 0
    rng = np.random.default_rng(seed)
    counts = np.zeros((seeds, images, 3, classes), np.int32)
    for s in range(seeds):
        hits = rng.binomial(truth, skill)
        counts[s] = np.stack([hits, truth, hits + rng.binomial(truth.max(), 0.1, truth.shape)], 1)
    return counts


def miou(totals):
    """Mean over the classes that occur, written out."""
    found = [100 * hit / (t + p - hit) for hit, t, p in totals.T if t > 0]
    return sum(found) / len(found)


def difference(first, second, images, seeds):
    return np.mean([miou(second[s][images].sum(0)) - miou(first[s][images].sum(0)) for s in seeds])


def slow_interval(first, second, samples, seed, *, paired=True):
    """The percentile bootstrap over images, of the mean over the seeds."""
    seeds, images = first.shape[:2]
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(samples):
        chosen = rng.integers(images, size=images)
        if paired:
            drawn.append(difference(first, second, chosen, range(seeds)))
        else:
            other = rng.integers(images, size=images)
            drawn.append(miou(second[0][other].sum(0)) - miou(first[0][chosen].sum(0)))
    return np.quantile(drawn, [0.025, 0.975])


def test_the_value_is_the_mean_difference_over_seeds():
    first, second = system(0, 0.6, seeds=3), system(1, 0.7, seeds=3)
    result = paired_bootstrap(first, second, samples=200)
    each = [difference(first, second, slice(None), [s]) for s in range(3)]
    assert result.value == pytest.approx(np.mean(each), abs=1e-9)
    assert result.std == pytest.approx(np.std(each, ddof=1), abs=1e-9)
    assert result.low < result.value < result.high
    other = paired_bootstrap(second, first, samples=200)
    turned = [-result.value, -result.high, -result.low]
    assert [other.value, other.low, other.high] == pytest.approx(turned)


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_system_does_not_differ_from_itself(seeds):
    counts = system(0, 0.6, seeds=seeds)
    result = paired_bootstrap(counts, counts.copy(), samples=500)
    assert (result.value, result.low, result.high) == (0, 0, 0)
    assert result.std == (0 if seeds > 1 else None)


def test_one_image_has_an_interval_of_no_width():
    first, second = system(0, 0.6, images=1), system(1, 0.8, images=1)
    result = paired_bootstrap(first, second, samples=50)
    assert result.low == result.high == result.value > 5
    assert result.std is None


def test_the_interval_agrees_with_a_loop():
    first, second = system(2, 0.60), system(3, 0.62)
    fast = paired_bootstrap(first, second, samples=20_000)
    slow = slow_interval(first, second, 4_000, seed=5)
    # Either end is known to some 3 % of the width at 4,000 replicates.
    width = slow[1] - slow[0]
    assert [fast.low, fast.high] == pytest.approx(slow.tolist(), abs=0.08 * width)


def test_the_same_draws_give_the_same_interval(monkeypatch):
    """Number for number: the loop takes the weights that the function draws."""
    first, second = system(2, 0.60, images=20), system(3, 0.62, images=20)
    drawn = []
    draw = bootstrap._weights

    def record(random, size, number):
        drawn.append(draw(random, size, number))
        return drawn[-1]

    monkeypatch.setattr(bootstrap, "_weights", record)
    result = paired_bootstrap(first, second, samples=300, level=0.9)
    (images,) = drawn
    assert images.shape == (300, 20)
    assert (images.sum(1) == 20).all()
    expected = [
        difference(first, second, np.repeat(np.arange(20), i.astype(int)), [0]) for i in images
    ]
    low, high = np.quantile(expected, [0.05, 0.95])
    assert (result.low, result.high) == (pytest.approx(low), pytest.approx(high))


def test_where_the_seeds_agree_images_alone_make_the_interval():
    first, second = (np.repeat(system(seed, skill), 3, 0) for seed, skill in ((2, 0.6), (3, 0.62)))
    result = paired_bootstrap(first, second, samples=20_000)
    alone = paired_bootstrap(first[:1], second[:1], samples=20_000)
    assert result.std == pytest.approx(0, abs=1e-9)
    width = alone.high - alone.low
    assert [result.low, result.high] == pytest.approx([alone.low, alone.high], abs=0.05 * width)


def test_where_the_images_agree_seeds_alone_make_students_interval():
    # All images alike; the seeds' differences are 0, 0 and 30.
    first = np.tile(np.array([[40], [100], [40]]), (3, 10, 1, 1))
    second = first.copy()
    second[2] += [[30], [0], [30]]
    result = paired_bootstrap(first, second, samples=100)
    assert result.value == pytest.approx(10)
    assert result.std == pytest.approx(30 / 3**0.5)
    # From a printed table: t of 2 degrees of freedom at 97.5 %.
    reach = 4.3027 * (30 / 3**0.5) / 3**0.5
    assert [result.low, result.high] == pytest.approx([10 - reach, 10 + reach], abs=0.01)


@pytest.mark.parametrize(("seeds", "noise"), [(2, 3.0), (3, 3.0), (3, 0.5), (5, 1.0)])
def test_the_interval_holds_the_truth_as_often_as_it_says(seeds, noise):
    # One class; hits and truth only, so an image's IoU is its hits in %. True difference: 0.
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(300):
        images = rng.normal(0, 5, (1, 40)) + rng.normal(0, noise, (seeds, 1))
        hits = np.stack([np.full((seeds, 40), 500), 500 + np.round(10 * images)]).astype(int)
        first, second = np.stack([hits, np.full_like(hits, 1000), hits], -1)[..., None]
        result = paired_bootstrap(first, second, samples=200)
        held += result.low <= 0 <= result.high
    # Of 1,000 trials it was 88 to 95 % with two seeds, 94 to 96 % with more.
    assert (0.84 if seeds == 2 else 0.9) <= held / 300 <= 0.99


def test_drawing_the_same_images_for_both_narrows_the_interval():
    # The second system is better by the same little in every image, however hard the image is.
    first = system(4, 0.6)
    hard = np.random.default_rng(0).random(60) < 0.5
    first[0, hard, 0] //= 4
    second = first.copy()
    second[0, :, 0] += second[0, :, 1] // 20
    result = paired_bootstrap(first, second)
    apart = slow_interval(first, second, 500, seed=0, paired=False)
    assert 0 < result.low < result.high
    assert apart[0] < 0
    assert result.high - result.low < (apart[1] - apart[0]) / 5


def test_a_shift_by_construction():
    # Nothing but hits and misses of one class: IoU is hits / truth, 40 and 50 % in every image.
    first = np.tile(np.array([[40], [100], [40]]), (2, 30, 1, 1))
    second = np.tile(np.array([[50], [100], [50]]), (2, 30, 1, 1))
    result = paired_bootstrap(first, second, samples=100)
    assert [result.value, result.low, result.high] == pytest.approx([10, 10, 10])
    assert result.std == pytest.approx(0)


def test_seeds_are_paired():
    # All images alike, seeds far apart, the difference always 5 points: only if the seeds of one
    # system were set against others of the other could it be anything else.
    hits = np.array([20, 50, 80])[:, None, None, None]
    first = np.tile(np.array([[0], [100], [0]]), (3, 10, 1, 1)) + hits * [[1], [0], [1]]
    second = first + np.array([[5], [0], [5]])
    result = paired_bootstrap(first, second, samples=500)
    assert [result.value, result.low, result.high] == pytest.approx([5, 5, 5])


def test_a_rare_class_is_left_out_where_it_was_not_drawn():
    # Class 1 is in one of two images; where only the other is drawn, the mean is class 0's alone.
    first = np.array([[[[50, 50], [100, 100], [50, 50]], [[50, 0], [100, 0], [50, 0]]]])
    second = first + np.array([[10, 0], [0, 0], [10, 0]])
    result = paired_bootstrap(first, second, samples=1000)
    assert result.value == pytest.approx(5)
    assert (result.low, result.high) == (pytest.approx(5), pytest.approx(10))


def test_replicates_of_images_without_true_pixels_are_left_out():
    counts = np.zeros((1, 2, 3, 1), int)
    counts[0, 0] = [[50], [100], [50]]
    better = counts + np.array([[10], [0], [10]]) * (counts[..., 1:2, :] > 0)
    result = paired_bootstrap(counts, better, samples=1000)
    assert [result.value, result.low, result.high] == pytest.approx([10, 10, 10])


def test_equal_input_gives_equal_numbers_and_another_seed_others():
    first, second = system(6, 0.60, seeds=2), system(7, 0.62, seeds=2)
    result = paired_bootstrap(first, second, samples=300)
    assert paired_bootstrap(first, second, samples=300) == result
    other = paired_bootstrap(first, second, samples=300, seed=1)
    assert other.value == result.value
    assert (other.low, other.high) != (result.low, result.high)


def test_the_size_of_the_chunks_changes_nothing(monkeypatch):
    first, second = system(6, 0.60, seeds=2), system(7, 0.62, seeds=2)
    result = paired_bootstrap(first, second, samples=300)
    monkeypatch.setattr(bootstrap, "_CHUNK", 1000)
    assert paired_bootstrap(first, second, samples=300) == result


def test_the_number_of_threads_changes_nothing():
    code = (
        "import numpy as np; from bpg.evaluation.bootstrap import paired_bootstrap;"
        "r = np.random.default_rng(0); t = r.integers(1, 9000, (1, 500, 1, 21));"
        "h = r.integers(0, t, (2, 3, 500, 1, 21)); t = np.broadcast_to(t, (3, 500, 1, 21));"
        "c = [np.concatenate([x, t, x + 100], 2) for x in h];"
        "print(paired_bootstrap(*c, samples=500))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"OMP_NUM_THREADS": n, "OPENBLAS_NUM_THREADS": n},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for n in ("1", "2")
    }
    assert len(said) == 1
    assert said.pop().startswith("Difference(value=")


def test_a_wider_level_gives_a_wider_interval():
    first, second = system(6, 0.60), system(7, 0.62)
    narrow, wide = (paired_bootstrap(first, second, samples=999, level=v) for v in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, b: (a[:, 1:], b), "same images and seeds"),
        (lambda a, b: (a[:1], b), "same images and seeds"),
        (lambda a, b: (a[0], b[0]), r"must be \(seeds, images, 3, classes\)"),
        (lambda a, b: (a[:, :, :2], b[:, :, :2]), r"must be \(seeds, images, 3, classes\)"),
        (lambda a, b: (a[:, :0], b[:, :0]), "empty"),
        (lambda a, b: (a[:0], b[:0]), "empty"),
        (lambda a, b: (a[..., :0], b[..., :0]), "empty"),
        (lambda a, b: (a * 0, b * 0), "no counted pixel"),
        (lambda a, b: (a * 1.0, b * 1.0), "whole numbers"),
        (lambda a, b: (a, b[:, ::-1]), "not the same images"),
        (lambda a, b: (a, np.stack([b[0], b[1, ::-1]])), "not the same images"),
    ],
)
def test_counts_that_cannot_be_compared_are_refused(change, message):
    first, second = change(system(0, 0.6, seeds=2), system(1, 0.7, seeds=2))
    with pytest.raises(BPGError, match=message) as error:
        paired_bootstrap(first, second, samples=10)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("wrong", [{"samples": 0}, {"level": 0}, {"level": 1}, {"level": 95}])
def test_impossible_requests_are_refused(wrong):
    counts = system(0, 0.6)
    with pytest.raises(ValueError, match="samples must be at least 1"):
        paired_bootstrap(counts, counts, **wrong)


def test_a_score_has_the_interval_of_its_own_bootstrap():
    counts = system(0, 0.6)
    found = bootstrap.bootstrap(counts, samples=3000, seed=1)
    assert found.value == pytest.approx(miou(counts[0].sum(0)))
    rng = np.random.default_rng(5)
    drawn = [miou(counts[0][rng.integers(60, size=60)].sum(0)) for _ in range(3000)]
    assert [found.low, found.high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.3)


def test_several_seeds_widen_the_interval_of_a_score():
    counts = np.concatenate([system(0, 0.5), system(1, 0.8)])
    found = bootstrap.bootstrap(counts, samples=500)
    one = bootstrap.bootstrap(counts[:1], samples=500)
    assert found.value == pytest.approx(np.mean([miou(seed.sum(0)) for seed in counts]))
    assert found.high - found.low > 3 * (one.high - one.low)
    assert found.low >= 0
    assert found.high <= 100
