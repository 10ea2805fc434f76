import math

import numpy as np
import pytest
from scipy import ndimage

from bpg.errors import BPGError
from bpg.evaluation.boundary import (
    boundary_counts,
    boundary_distance,
    trimap_counts,
    true_bands,
    true_contour,
)
from bpg.evaluation.iou import class_counts, mean_iou

CLASSES = 5


def blobs(seed, shape=(61, 83), smooth=5.0, labels=4):
    rng = np.random.default_rng(seed)
    fields = [ndimage.gaussian_filter(rng.normal(size=shape), smooth) for _ in range(labels)]
    return np.argmax(fields, axis=0).astype(np.uint8)


def with_ring(labels, width=3):
    """Draw 255 where labels meet, as VOC does, and over a corner that is ignored altogether."""
    size = (width, width)
    meet = ndimage.maximum_filter(labels, size) != ndimage.minimum_filter(labels, size)
    labels = np.where(meet, 255, labels).astype(np.uint8)
    labels[-15:, -20:] = 255
    return labels


def filled(truth):
    """Nearest labelled pixel, by going through all of them."""
    places = np.argwhere(truth != 255)
    result = truth.copy()
    for y, x in np.argwhere(truth == 255):
        squares = ((places - (y, x)) ** 2).sum(axis=1)
        result[y, x] = truth[tuple(places[squares.argmin()])]
    return result


def eroded_counts(truth_contour, truth, prediction, ratio):
    """The definition, class by class: erode d times on a padded canvas, as the authors' code."""
    d = max(1, round(ratio * math.sqrt(truth.shape[0] ** 2 + truth.shape[1] ** 2)))
    square = np.ones((3, 3), bool)

    def rim(mask):
        kept = ndimage.binary_erosion(np.pad(mask, 1), square, iterations=d)
        return mask & ~kept[1:-1, 1:-1] & (truth != 255)

    counts = np.zeros((3, CLASSES), int)
    for k in range(CLASSES):
        true, predicted = rim(truth_contour == k), rim(prediction == k)
        counts[:, k] = (true & predicted).sum(), true.sum(), predicted.sum()
    return counts


def test_boundary_by_hand():
    # A 6x6 square in 8x8 pixels: the diagonal is 11.3, so at 0.02 d is 1, at 0.2 it is 2.
    truth = np.zeros((8, 8), np.uint8)
    truth[1:7, 1:7] = 1
    prediction = np.zeros((8, 8), np.uint8)
    prediction[1:7, 2:8] = 1  # one pixel to the right
    # d = 1: the rims have 20 pixels each. They share columns 2 to 6 of rows 1 and 6, and no more:
    # the sides are columns 1 and 6 of the truth, 2 and 7 of the prediction. All 28 pixels of the
    # ground are rim in the truth. So they are in the prediction, where column 1 touches the
    # object or the frame, column 0 the frame; shared are rows 0 and 7 and column 0.
    assert boundary_counts(truth, prediction, 2).tolist() == [[22, 10], [28, 20], [28, 20]]
    # d = 2: the rims leave the middle 2x2 of 6x6, 32 each; the squares share 30 pixels, of which
    # columns 3, 4 (truth) and 4, 5 (prediction) of rows 3, 4 are not in both rims.
    assert boundary_counts(truth, prediction, 2, ratio=0.2)[:, 1].tolist() == [24, 32, 32]


@pytest.mark.parametrize("ratio", [0.001, 0.02, 0.05, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_boundary_is_what_erosions_leave(seed, ratio):
    truth, prediction = blobs(seed), blobs(seed + 10, smooth=4)
    expected = eroded_counts(truth, truth, prediction, ratio)
    assert boundary_counts(truth, prediction, CLASSES, ratio=ratio).tolist() == expected.tolist()


@pytest.mark.parametrize("ratio", [0.001, 0.02, 0.05])
@pytest.mark.parametrize("seed", range(3))
def test_boundary_with_ignored_pixels(seed, ratio):
    truth, prediction = with_ring(blobs(seed)), blobs(seed + 10, smooth=4)
    # Two labelled pixels may be equally near: a contour of one of several equal choices.
    nearest = ndimage.distance_transform_edt(truth == 255, return_indices=True)[1]
    contour = truth[tuple(nearest)]
    assert (contour == filled(truth)).mean() > 0.98
    predicted = prediction[tuple(nearest)]
    expected = eroded_counts(contour, truth, predicted, ratio)
    assert boundary_counts(truth, prediction, CLASSES, ratio=ratio).tolist() == expected.tolist()


@pytest.mark.parametrize("shape", [(1, 40), (40, 1), (2, 3), (1, 1)])
def test_boundary_of_narrow_pictures(shape):
    rng = np.random.default_rng(0)
    truth, prediction = rng.integers(0, 2, (2, *shape)).astype(np.uint8)
    expected = eroded_counts(truth, truth, prediction, 0.1)
    assert boundary_counts(truth, prediction, CLASSES, ratio=0.1).tolist() == expected.tolist()


def test_the_true_contour_runs_through_the_middle_of_the_ring():
    truth = np.zeros((9, 40), np.uint8)
    truth[:, 20:] = 1
    truth[:, 18:22] = 255
    marked = true_contour(truth, 0.1).region  # d = 4
    assert (np.flatnonzero(marked[4, 5:-5]) + 5).tolist() == list(range(16, 24))


def test_a_wholly_ignored_truth_counts_nothing():
    truth = np.full((20, 30), 255, np.uint8)
    assert not boundary_counts(truth, blobs(0, truth.shape), CLASSES).any()
    assert not trimap_counts(truth, blobs(0, truth.shape), CLASSES).any()


def test_boundary_ignores_predictions_in_ignored_pixels():
    truth, prediction = with_ring(blobs(3)), blobs(4)
    other = np.where(truth == 255, 4, prediction).astype(np.uint8)
    assert (other != prediction).any()
    counts = [boundary_counts(truth, found, CLASSES).tolist() for found in (prediction, other)]
    assert counts[0] == counts[1]


def brute_distance(truth):
    labels = truth.ravel().astype(int)
    places = np.argwhere(np.ones_like(truth, bool))
    gaps = np.sqrt(((places[:, None] - places) ** 2).sum(axis=2))
    gaps[labels[:, None] == labels] = np.inf
    nearest = gaps.min(axis=1).reshape(truth.shape)
    nearest[truth == 255] = np.inf
    return nearest


@pytest.mark.parametrize("seed", range(4))
def test_trimap_against_all_pairs_of_pixels(seed):
    truth = blobs(seed, (24, 31), smooth=3)
    prediction = blobs(seed + 10, (24, 31), smooth=2)
    if seed % 2:
        truth = with_ring(truth)
    distance = brute_distance(truth)
    assert (boundary_distance(truth) == distance).all()
    counts = trimap_counts(truth, prediction, CLASSES, radii=12)
    for radius in range(1, 13):
        band = np.where(distance <= radius, truth, 255).astype(np.uint8)
        expected = class_counts(band, prediction, CLASSES)
        assert counts[radius - 1].tolist() == expected.tolist()


def test_trimap_by_hand():
    truth = np.array([[0, 0, 0, 0, 255, 1, 1, 1]], np.uint8)
    prediction = np.array([[0, 0, 0, 1, 1, 1, 1, 0]], np.uint8)
    counts = trimap_counts(truth, prediction, 2, radii=3)
    # Within 1 of the 255: one pixel on either side, both predicted 1.
    assert counts[0].tolist() == [[0, 1], [1, 1], [0, 2]]
    assert counts[1].tolist() == [[1, 2], [2, 2], [1, 3]]
    assert counts[2].tolist() == [[2, 2], [3, 3], [3, 3]]


def test_a_wide_trimap_is_the_whole_picture():
    for truth in (blobs(5), with_ring(blobs(5)), np.eye(30, dtype=np.uint8)):
        prediction = blobs(6, truth.shape)
        counts = trimap_counts(truth, prediction, CLASSES, radii=110)
        assert (np.diff(counts, axis=0) >= 0).all()
        assert counts[-1].tolist() == class_counts(truth, prediction, CLASSES).tolist()


def test_one_label_has_no_trimap_since_the_frame_is_no_boundary():
    truth = np.full((20, 30), 2, np.uint8)
    assert np.isinf(boundary_distance(truth)).all()
    assert not trimap_counts(truth, truth, CLASSES).any()


def test_trimap_ignores_predictions_in_ignored_pixels():
    truth, prediction = with_ring(blobs(7)), blobs(8)
    other = np.where(truth == 255, 4, prediction).astype(np.uint8)
    expected = trimap_counts(truth, prediction, CLASSES).tolist()
    assert trimap_counts(truth, other, CLASSES).tolist() == expected


@pytest.mark.parametrize("ring", [False, True])
def test_a_perfect_prediction_has_100(ring):
    truth = blobs(9)
    prediction = truth
    if ring:
        truth = with_ring(truth)
        prediction = filled(truth)
    trimap = mean_iou(trimap_counts(truth, prediction, CLASSES))
    assert trimap.tolist() == [100.0] * 40
    # Other nearest pixels than ours among equally near ones move the contour a little.
    found = mean_iou(boundary_counts(truth, prediction, CLASSES))
    assert found > 97 if ring else found == 100


def test_what_a_caller_computes_once_changes_nothing():
    truth, prediction = with_ring(blobs(11)), blobs(12)
    contour, bands = true_contour(truth, 0.03), true_bands(truth, CLASSES)
    counts = boundary_counts(truth, prediction, CLASSES, ratio=0.03, contour=contour)
    assert (counts == boundary_counts(truth, prediction, CLASSES, ratio=0.03)).all()
    counts = trimap_counts(truth, prediction, CLASSES, bands=bands)
    assert (counts == trimap_counts(truth, prediction, CLASSES)).all()


@pytest.mark.parametrize("count", [boundary_counts, trimap_counts])
def test_a_label_out_of_range_is_refused(count):
    good, bad = blobs(0), blobs(0) + np.uint8(2)
    with pytest.raises(BPGError, match="truth has label 5"):
        count(bad, good, CLASSES)
    with pytest.raises(BPGError, match="prediction has label 5"):
        count(good, bad, CLASSES)
    with pytest.raises(BPGError, match="prediction has label 255"):
        count(np.full_like(good, 255), with_ring(good), CLASSES)
