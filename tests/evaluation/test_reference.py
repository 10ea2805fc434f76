"""Every count against the former implementation, which was written with SciPy and plain NumPy.

It is the judge: simpler, slower, and checked in its time against loops over pixels.
"""

from math import hypot

import numpy as np
import pytest
from scipy import ndimage

from bpg.data.masks import write_mask
from bpg.evaluation.boundary import (
    _labels_apart,
    _near_contour,
    _nearest_labelled,
    boundary_counts,
    boundary_distance,
    trimap_counts,
    true_bands,
    true_contour,
)
from bpg.evaluation.iou import confusion_matrix, counts_of
from bpg.evaluation.score import score

CLASSES = 21


def slow_confusion(truth, prediction, classes=CLASSES):
    counted = truth != 255
    pairs = truth[counted].astype(np.int64) * classes + prediction[counted]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def slow_near(labels, ratio):
    size = 2 * max(1, round(ratio * hypot(*labels.shape))) + 1
    window = {"size": size, "mode": "constant", "cval": 255}
    return ndimage.minimum_filter(labels, **window) != ndimage.maximum_filter(labels, **window)


def slow_nearest(truth):
    ignored = truth == 255
    return ndimage.distance_transform_edt(ignored, return_distances=False, return_indices=True)


def slow_boundary(truth, prediction, ratio=0.02, classes=CLASSES):
    scored = truth != 255
    if not scored.any():
        return np.zeros((3, classes), np.int64)
    nearest = tuple(slow_nearest(truth))
    in_truth = slow_near(truth[nearest], ratio) & scored
    in_prediction = slow_near(prediction[nearest], ratio) & scored
    hits = in_truth & in_prediction & (truth == prediction)
    counted = (truth[hits], truth[in_truth], prediction[in_prediction])
    return np.stack([np.bincount(labels, minlength=classes) for labels in counted])


def slow_distance(truth):
    distance = np.full(truth.shape, np.inf)
    for label in set(np.unique(truth)) - {255}:
        inside = truth == label
        if not inside.all():
            distance[inside] = ndimage.distance_transform_edt(inside)[inside]
    return distance


def slow_trimap(truth, prediction, radii=40, classes=CLASSES):
    distance = slow_distance(truth)
    counted = distance <= radii
    true, predicted = truth[counted], prediction[counted]
    start = (np.ceil(distance[counted]).astype(np.int64) - 1) * classes
    hits = true == predicted
    rings = [
        np.bincount(cells, minlength=radii * classes).reshape(radii, classes)
        for cells in ((start + true)[hits], start + true, start + predicted)
    ]
    return np.cumsum(np.stack(rings, axis=1), axis=0)


def fields(rng, shape, labels, smooth):
    """Smooth regions of `labels` labels."""
    noise = [ndimage.gaussian_filter(rng.normal(size=shape), smooth) for _ in range(labels)]
    return rng.permutation(CLASSES)[np.argmax(noise, axis=0)].astype(np.uint8)


def ringed(labels, width):
    """Draw 255 where labels meet."""
    low, high = (f(labels, width) for f in (ndimage.minimum_filter, ndimage.maximum_filter))
    return np.where(low != high, 255, labels).astype(np.uint8)


def block(shape, label=7, ring=0):
    """A block that touches the frame at the top and on the left, with a ring of 255 if wanted."""
    truth = np.zeros(shape, np.uint8)
    truth[: shape[0] // 2, : shape[1] // 2] = 255 if ring else label
    truth[: shape[0] // 2 - ring, : shape[1] // 2 - ring] = label
    return truth


def cases():
    rng = np.random.default_rng(0)
    for number, shape in enumerate([(375, 500), (96, 96), (61, 83), (83, 40)]):
        truth = fields(rng, shape, 2 + 2 * number, 6)
        yield f"touching {shape}", truth, fields(rng, shape, 4, 5)
        for width in (3, 6, 25):
            yield f"ring {width} {shape}", ringed(truth, width), np.roll(truth, 3, axis=1)
    for shape in ((1, 1), (1, 2), (2, 1), (1, 60), (60, 1), (2, 70), (3, 5), (1, 700), (700, 2)):
        truth, prediction = rng.integers(0, 3, (2, *shape)).astype(np.uint8)
        yield f"noise {shape}", truth, prediction
        truth = truth.copy()
        truth[rng.random(shape) < 0.5] = 255
        yield f"noise and 255 {shape}", truth, prediction
    for share in (0.02, 0.5, 0.98, 0.9997):
        truth, prediction = rng.integers(0, CLASSES, (2, 60, 90)).astype(np.uint8)
        truth[rng.random(truth.shape) < share] = 255
        yield f"{share} of noise ignored", truth, prediction
    for ring in (0, 2, 5):
        truth = block((50, 70), ring=ring)
        yield f"at the frame, ring {ring}", truth, np.roll(block((50, 70)), (2, -3), (0, 1))
        yield f"at the other side, ring {ring}", truth[::-1, ::-1], block((50, 70))
        yield f"columns first, ring {ring}", truth.T, block((70, 50))
    prediction = fields(rng, (40, 50), 3, 4)
    yield "all ignored", np.full((40, 50), 255, np.uint8), prediction
    yield "one label", np.full((40, 50), 20, np.uint8), prediction
    yield "one label each", np.full((40, 50), 20, np.uint8), np.full((40, 50), 3, np.uint8)
    speck = np.full((300, 40), 255, np.uint8)
    speck[290, 3] = 4
    yield "one pixel labelled", speck, np.resize(prediction, speck.shape)
    speck = np.zeros((40, 300), np.uint8)
    speck[3, 290] = 255
    yield "one pixel ignored", speck, np.resize(prediction, speck.shape)
    lines = np.zeros((41, 53), np.uint8)
    lines[::2], lines[:, ::7] = 9, 255
    yield "lines a pixel wide", lines, np.roll(lines % 255, 1, axis=0)


CASES = [pytest.param(truth, prediction, id=name) for name, truth, prediction in cases()]


def equal(found, expected):
    return found.dtype == expected.dtype and np.array_equal(found, expected)


@pytest.mark.parametrize(("truth", "prediction"), CASES)
def test_the_counts_are_the_slow_ones(truth, prediction):
    assert equal(confusion_matrix(truth, prediction, CLASSES), slow_confusion(truth, prediction))
    for ratio in (0.005, 0.02, 0.3):
        expected = slow_boundary(truth, prediction, ratio)
        assert equal(boundary_counts(truth, prediction, CLASSES, ratio=ratio), expected)
    for radii in (1, 40, 110):
        expected = slow_trimap(truth, prediction, radii)
        assert equal(trimap_counts(truth, prediction, CLASSES, radii), expected)


@pytest.mark.parametrize(("truth", "prediction"), CASES)
def test_what_is_found_once_for_a_truth_serves_any_prediction(truth, prediction):
    contour, bands = true_contour(truth), true_bands(truth, CLASSES)
    for found in (prediction, 20 - prediction, prediction[::-1, ::-1]):
        counts = boundary_counts(truth, found, CLASSES, contour=contour)
        assert equal(counts, slow_boundary(truth, found))
        counts = trimap_counts(truth, found, CLASSES, bands=bands)
        assert equal(counts, slow_trimap(truth, found))


@pytest.mark.parametrize(("truth", "prediction"), CASES)
def test_the_parts_are_the_slow_ones(truth, prediction):
    assert equal(boundary_distance(truth), slow_distance(truth))
    for ratio in (0.005, 0.02, 0.3, 2.0):
        for labels in (truth, prediction):
            assert equal(_near_contour(labels, ratio), slow_near(labels, ratio))
    if (truth != 255).any():
        ignored, nearest = _nearest_labelled(truth != 255)
        assert sorted(ignored) == np.flatnonzero(truth == 255).tolist()
        rows, columns = slow_nearest(truth)
        expected = rows.astype(int) * truth.shape[1] + columns
        assert (expected.ravel()[ignored] == nearest).all()


@pytest.mark.parametrize("shape", [(6, 4000), (3000, 7), (1200, 900)])
def test_distances_are_exact_in_wide_and_tall_pictures(shape):
    rng = np.random.default_rng(3)
    truth = (rng.random(shape) < 3 / shape[0]).astype(np.uint8)
    assert (boundary_distance(truth) == slow_distance(truth)).all()


def test_distances_are_exact_up_to_500_pixels():
    truth = np.zeros((700, 800), np.uint8)
    truth[0, 0] = 1
    y, x = np.mgrid[:700, :800]
    expected = np.sqrt(x**2 + y**2)
    expected[0, 0] = 1
    near = expected <= 500
    assert (boundary_distance(truth)[near] == expected[near]).all()


@pytest.mark.parametrize("seed", range(20))
def test_equally_near_pixels_are_taken_in_scipys_order(seed):
    rng = np.random.default_rng(seed)
    truth = np.where(rng.random(rng.integers(1, 60, 2)) < rng.choice([0.3, 0.05]), 0, 255)
    truth.flat[rng.integers(truth.size)] = 0
    ignored, nearest = _nearest_labelled(truth != 255)
    rows, columns = slow_nearest(truth)
    expected = rows.astype(int) * truth.shape[1] + columns
    assert (expected.ravel()[ignored] == nearest).all()


def test_labels_that_touch_are_kept_apart():
    truth = np.array([[0, 0, 1, 255, 2, 255], [0, 0, 3, 255, 255, 4]], np.uint8)
    groups = _labels_apart(truth)
    assert sorted(label for group in groups for label in group) == [0, 1, 2, 3, 4]
    together = {frozenset((a, b)) for group in groups for a in group for b in group}
    assert not together & {frozenset(pair) for pair in ((0, 1), (0, 3), (1, 3))}
    assert groups[0] == [0, 2, 4]
    assert _labels_apart(ringed(block((40, 50)), 3)) == [[0, 7]]


@pytest.mark.parametrize("labels", [[0, 254], [254, 0]])
def test_the_largest_labels_are_counted(labels):
    truth = np.repeat(np.array([labels], np.uint8), 9, axis=0)
    assert equal(confusion_matrix(truth, truth, 255), slow_confusion(truth, truth, 255))
    counts = boundary_counts(truth, truth, 255)
    assert equal(counts, slow_boundary(truth, truth, classes=255))


def test_pictures_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        confusion_matrix(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), 2)


def test_the_inputs_are_left_alone():
    truth, prediction = ringed(block((50, 70)), 4), block((50, 70), 3)
    before = truth.copy(), prediction.copy()
    for array in (truth, prediction):
        array.flags.writeable = False
    confusion_matrix(truth, prediction, CLASSES)
    boundary_counts(truth, prediction, CLASSES)
    trimap_counts(truth, prediction, CLASSES)
    assert np.array_equal(truth, before[0])
    assert np.array_equal(prediction, before[1])


def test_an_evaluation_adds_up_the_slow_counts(tmp_path):
    rng = np.random.default_rng(5)
    for name in ("masks", "raw", "crf"):
        (tmp_path / name).mkdir()
    pairs = {"raw": [], "crf": []}
    ids = [f"{number}" for number in range(6)]
    for number, image_id in enumerate(ids):
        whole = fields(rng, (60 + number, 90), 4, 6)
        truth = ringed(whole, number + 1)
        write_mask(tmp_path / "masks" / f"{image_id}.png", truth)
        for kind, shift in (("raw", 3), ("crf", 1)):
            found = np.roll(whole, shift, axis=0)
            write_mask(tmp_path / kind / f"{image_id}.png", found)
            pairs[kind].append((truth, found))
    folders = [tmp_path / name for name in ("masks", "raw", "crf")]
    metrics, counts = score(ids, *folders, [f"class {k}" for k in range(CLASSES)])
    for kind, key in enumerate(("raw", "crf")):
        matrices = [slow_confusion(*pair) for pair in pairs[key]]
        assert metrics[key]["confusion"] == sum(matrices).tolist()
        for image, pair in enumerate(pairs[key]):
            assert (counts[image, kind, 0] == counts_of(matrices[image])).all()
            assert (counts[image, kind, 1] == slow_boundary(*pair)).all()
        hits, true, predicted = np.moveaxis(sum(slow_trimap(*pair) for pair in pairs[key]), 1, 0)
        with np.errstate(invalid="ignore"):
            iou = 100 * hits / (true + predicted - hits)
        expected = [row[there].mean() for row, there in zip(iou, true > 0, strict=True)]
        assert metrics[key]["trimap"] == pytest.approx(expected)
