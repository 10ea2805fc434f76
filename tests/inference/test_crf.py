from dataclasses import asdict

import numpy as np
import pytest
from pydantic import ValidationError
from pydensecrf import densecrf

from bpg.compiled import compiled
from bpg.errors import BPGError
from bpg.inference import crf
from bpg.inference.crf import dense_crf
from bpg.inference.options import CRFOptions

VOC = CRFOptions(10, 3, 1, 4, 67, 3)


@pytest.fixture
def case():
    """A random image of two colours with noise, and unsure probabilities of three classes."""
    rng = np.random.default_rng(4)
    image = np.full((28, 37, 3), 60)
    image[:, 20:] = (190, 120, 90)
    image = (image + rng.normal(0, 8, image.shape)).clip(0, 255).astype(np.uint8)
    scores = rng.normal(0, 1.0, (3, 28, 37))
    scores[0, :, :20] += 0.8
    scores[1, :, 20:] += 0.8
    exponents = np.exp(scores)
    return image, (exponents / exponents.sum(0)).astype(np.float32)


def direct(image, probabilities, options):
    """The library's own calls, as its README has them."""
    height, width = image.shape[:2]
    crf = densecrf.DenseCRF2D(width, height, len(probabilities))
    crf.setUnaryEnergy(-np.log(probabilities).reshape(len(probabilities), -1).copy(order="C"))
    crf.addPairwiseGaussian(
        sxy=(options.gaussian_xy, options.gaussian_xy), compat=options.gaussian_weight
    )
    crf.addPairwiseBilateral(
        sxy=(options.bilateral_xy, options.bilateral_xy),
        srgb=(options.bilateral_rgb,) * 3,
        rgbim=image.copy(order="C"),
        compat=options.bilateral_weight,
    )
    return np.argmax(crf.inference(options.iterations), axis=0).reshape(height, width)


def run(image, probabilities, options, floor=0.0):
    module = compiled("_bpg_mean_field", crf._SOURCE)
    return module.mean_field(image, -np.log(probabilities), floor=floor, **vars(options))


def softmax(logits):
    exponents = np.exp(logits - logits.max(0))
    return exponents / exponents.sum(0)


@pytest.mark.parametrize(
    "options", [VOC, CRFOptions(3, 1, 2, 5, 11, 20), CRFOptions(1, 3, 1, 0.5, 30, 5)]
)
def test_agrees_with_pydensecrf(options, case):
    """Not to the bit: here the Gaussian kernel is exact, there it is a lattice's, too."""
    image, probabilities = case
    expected = direct(image, probabilities, options)
    found = dense_crf(image, [0, 1, 2], probabilities, options)
    assert found.dtype == np.uint8
    assert (found == expected).mean() > 0.98
    assert (expected != probabilities.argmax(0)).mean() > 0.01, "the CRF must do something"


@pytest.mark.parametrize("classes", [2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
def test_the_bilateral_part_equals_pydensecrf(classes, case):
    """Same lattice, same kernel: the probabilities agree to rounding, by every width of a pass."""
    image, _ = case
    scores = np.random.default_rng(classes).normal(0, 1.5, (classes, *image.shape[:2]))
    probabilities = (np.exp(scores) / np.exp(scores).sum(0)).astype(np.float32)
    reference = densecrf.DenseCRF2D(37, 28, classes)
    reference.setUnaryEnergy(-np.log(probabilities).reshape(classes, -1).copy(order="C"))
    reference.addPairwiseBilateral(sxy=9, srgb=12, rgbim=image.copy(order="C"), compat=4)
    expected = np.asarray(reference.inference(4)).reshape(probabilities.shape)
    kept, found = run(image, probabilities, CRFOptions(4, 0, 1, 4, 9, 12))
    assert kept == list(range(classes))
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_the_gaussian_part_equals_all_pairs(case):
    """Every pixel with every other, as the paper writes it."""
    image, probabilities = case
    options = CRFOptions(3, 2.0, 1.5, 0, 9, 12)
    y, x = np.divmod(np.arange(28 * 37), 37)
    distances = (y[:, None] - y) ** 2 + (x[:, None] - x) ** 2
    kernel = np.exp(-distances / (2 * options.gaussian_xy**2))
    norm = 1 / np.sqrt(kernel.sum(1))
    kernel = norm[:, None] * kernel * norm
    unary = -np.log(probabilities).reshape(3, -1).astype(np.float64)
    expected = softmax(-unary)
    for _ in range(options.iterations):
        expected = softmax(-unary + options.gaussian_weight * expected @ kernel)
    _, found = run(image, probabilities, options)
    np.testing.assert_allclose(found.reshape(3, -1), expected, atol=1e-3)


def test_a_class_that_is_unlikely_everywhere_changes_nothing(case):
    image, probabilities = case
    unlikely = np.full((4, 28, 37), 0.004, np.float32)
    joined = np.concatenate([probabilities, unlikely])
    joined /= joined.sum(0)
    expected = dense_crf(image, [0, 1, 2], probabilities, VOC)
    found = dense_crf(image, list(range(7)), joined, VOC)
    assert (found == expected).mean() > 0.995
    kept, result = run(image, joined, VOC, floor=0.05)
    assert set(kept) <= {0, 1, 2}
    np.testing.assert_allclose(result.sum(0), 1, atol=1e-5)


def test_deviations_too_small_for_the_lattice_are_named(case):
    image, probabilities = case
    options = CRFOptions(2, 1, 1, 1, 67, 1e-3)
    with pytest.raises(BPGError, match="bilateral_rgb"):
        dense_crf(image, [0, 1, 2], probabilities, options)


@pytest.mark.parametrize(("classes", "peak"), [(60, 0.044), (21, 0.0495)])
def test_a_class_that_wins_somewhere_is_kept_even_under_the_floor(classes, peak):
    image = np.zeros((20, 50, 3), np.uint8)
    image[:, 25:] = 200
    probabilities = np.full((classes, 20, 50), (1 - peak) / (classes - 1), np.float32)
    probabilities[3, :, :25] = probabilities[7, :, 25:] = peak
    assert probabilities.max() < crf.FLOOR
    found = dense_crf(image, list(range(classes)), probabilities, VOC)
    assert (found[:, :25] == 3).all()
    assert (found[:, 25:] == 7).all()


@pytest.mark.parametrize(
    "changed",
    [
        {"bilateral_xy": float("nan")},
        {"bilateral_xy": -1e-9},
        {"gaussian_xy": 1e-50},
        {"gaussian_xy": 0},
        {"bilateral_rgb": float("inf")},
        {"gaussian_weight": -1},
        {"iterations": -1},
    ],
)
def test_impossible_options_are_refused(changed):
    with pytest.raises(ValidationError, match=next(iter(changed))):
        CRFOptions(**{**asdict(VOC), **changed})


def test_shapes_that_differ_are_refused(case):
    image, probabilities = case
    for classes, other in (([0, 1, 2], image[1:]), ([0, 1], image), ([0, 1, 2], image[..., 0])):
        with pytest.raises(ValueError, match="classes"):
            dense_crf(other, classes, probabilities, VOC)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1)])
def test_the_smallest_images(size):
    image = np.zeros((*size, 3), np.uint8)
    probabilities = np.stack([np.full(size, 0.4), np.full(size, 0.6)]).astype(np.float32)
    assert (dense_crf(image, [3, 5], probabilities, VOC) == 5).all()


def test_a_probability_of_zero_is_refused(case):
    image, probabilities = case
    with pytest.raises(ValueError, match="above 0"):
        dense_crf(image, [0, 1, 2], np.where(probabilities < 0.1, 0, probabilities), VOC)


def test_each_option_matters(case):
    image, probabilities = case
    base = CRFOptions(2, 1, 1.5, 2, 9, 12)
    before = dense_crf(image, [0, 1, 2], probabilities, base)
    for name, value in [
        ("iterations", 9),
        ("gaussian_weight", 6),
        ("gaussian_xy", 4),
        ("bilateral_weight", 9),
        ("bilateral_xy", 40),
        ("bilateral_rgb", 60),
    ]:
        other = CRFOptions(**{**asdict(base), name: value})
        found = dense_crf(image, [0, 1, 2], probabilities, other)
        assert (found == direct(image, probabilities, other)).mean() > 0.99, name
        assert not np.array_equal(found, before), name


def test_labels_come_from_the_class_list(case):
    image, probabilities = case
    plain = dense_crf(image, [0, 1, 2], probabilities, VOC)
    found = dense_crf(image, [0, 7, 20], probabilities, VOC)
    assert np.array_equal(found, np.array([0, 7, 20])[plain])


def test_one_class_needs_no_inference(case):
    image, _ = case
    found = dense_crf(image, [15], np.ones((1, 28, 37), np.float32), VOC)
    assert found.dtype == np.uint8
    assert found.shape == (28, 37)
    assert (found == 15).all()


def test_repeats_and_changes_neither_input(case):
    image, probabilities = case
    kept = image.copy(), probabilities.copy()
    first, second = (dense_crf(image, [0, 1, 2], probabilities, VOC) for _ in range(2))
    assert np.array_equal(first, second)
    assert np.array_equal(image, kept[0])
    assert np.array_equal(probabilities, kept[1])


def test_labels_follow_the_raw_colours(case):
    """The border of the two colours is found out of probabilities that don't know it well."""
    image, probabilities = case
    found = dense_crf(image, [0, 1, 2], probabilities, VOC)
    truth = np.zeros((28, 37), np.uint8)
    truth[:, 20:] = 1
    raw = (probabilities.argmax(0) == truth).mean()
    assert raw < 0.75
    assert (found == truth).mean() > 0.95


def test_uint8_colours_are_not_shifted_or_wrapped_around(case):
    """Equal colour differences at the dark and the bright end give equal labels."""
    image, probabilities = case
    dark = (image // 4).astype(np.uint8)
    bright = (dark + 190).astype(np.uint8)
    assert dark.max() + 190 <= 255
    one, other = (dense_crf(i, [0, 1, 2], probabilities, VOC) for i in (dark, bright))
    assert (one == other).mean() > 0.99


@pytest.mark.parametrize("layout", ["mirrored", "fortran"])
def test_memory_layout_does_not_matter(layout, case):
    image, probabilities = case
    expected = dense_crf(image, [0, 1, 2], probabilities, VOC)
    if layout == "mirrored":
        image = np.ascontiguousarray(image[:, ::-1])[:, ::-1]
        probabilities = np.ascontiguousarray(probabilities[:, :, ::-1])[:, :, ::-1]
    else:
        image, probabilities = np.asfortranarray(image), np.asfortranarray(probabilities)
    assert np.array_equal(dense_crf(image, [0, 1, 2], probabilities, VOC), expected)
