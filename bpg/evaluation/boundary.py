"""How good the boundaries of a prediction are: Boundary IoU, and mIoU within a band (trimap)."""

from math import hypot
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bpg.constants import IGNORE
from bpg.evaluation.iou import check_labels, joint_counts
from bpg.opencv import cv2

RADII = 40
"""Widest band of the trimap measure, in pixels."""


_REACH = 5
"""How far the nearest labelled pixel is looked for step by step: past the middle of VOC's ring."""

_STEPS = sorted(
    (
        (dy, dx)
        for dy in range(-_REACH, _REACH + 1)
        for dx in range(-_REACH, _REACH + 1)
        if 0 < dy**2 + dx**2 <= _REACH**2
    ),
    # How SciPy's transform breaks ties between equally near pixels: by column, then by row.
    key=lambda step: (step[0] ** 2 + step[1] ** 2, step[1], step[0]),
)


class Contour(NamedTuple):
    """What `boundary_counts` needs to know about the truth.

    `ignored` holds the flat indices of the ignored pixels and `nearest` those of the labelled pixel
    nearest to each; both are empty if no pixel is labelled. `region` marks the pixels near the
    contour of their own class, bool (H, W).
    """

    ignored: NDArray[np.intp]
    nearest: NDArray[np.intp]
    region: NDArray[np.bool_]


class Bands(NamedTuple):
    """What `trimap_counts` needs to know about the truth.

    `pixels` holds the flat indices of the pixels that count and `labels` their labels. `start` is
    `classes` times the ring of each: the smallest radius that takes it in, less 1. `counts` has the
    labels by ring, (radii, classes).
    """

    pixels: NDArray[np.intp]
    start: NDArray[np.intp]
    labels: NDArray[np.uint8]
    counts: NDArray[np.int64]


def boundary_counts(
    truth: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    classes: int,
    *,
    ratio: float = 0.02,
    contour: Contour | None = None,
) -> NDArray[np.int64]:
    """Count the pixels near contours by class, for Boundary IoU (Cheng et al., CVPR 2021).

    Of each class's mask, only the pixels within d = max(1, round(`ratio` x image diagonal)) of the
    mask's own contour count, in chessboard distance; as in the authors' code, the image's frame is
    part of the contour. Add the counts of all images before dividing, as for mIoU.

    Ignored pixels are never counted, but a contour has to run somewhere through them: VOC draws a
    ring of 255, some 5 pixels wide, around each object. In truth and prediction alike, each ignored
    pixel takes the label at the nearest labelled pixel, so that the contour lies in the middle of
    the ring, and what is predicted inside the ring changes nothing. (Treating the ring as a class
    of its own would put a contour on either side of it, which no prediction has.)

    Args:
        truth: Labels (H, W), 0..classes-1, 255 = ignore.
        prediction: Labels (H, W), 0..classes-1.
        classes: Number of classes.
        ratio: d as a share of the image diagonal.
        contour: `true_contour(truth, ratio)`, for a caller that scores several predictions.

    Returns:
        Pixels of [intersection, truth, prediction] by class, (3, classes); zeros if the truth has
        no labelled pixel.

    Raises:
        BPGError: A label is out of range.
    """
    check_labels("truth", truth, classes, ignore=True)
    check_labels("prediction", prediction, classes)
    contour = contour or true_contour(truth, ratio)
    near = _near_contour(_filled(prediction, contour.ignored, contour.nearest), ratio)
    near &= truth != IGNORE
    pairs = joint_counts(_only(truth, contour.region), _only(prediction, near), classes)
    # The last row and column are the pixels near no true and no predicted contour.
    true, predicted = pairs[:-1].sum(axis=1), pairs[:, :-1].sum(axis=0)
    return np.stack([np.diag(pairs)[:-1], true, predicted])


def true_contour(truth: NDArray[np.uint8], ratio: float = 0.02) -> Contour:
    """Find where `boundary_counts` sees the contours of the truth.

    Args:
        truth: Labels (H, W), 255 = ignore.
        ratio: As for `boundary_counts`.
    """
    labelled = truth != IGNORE
    none = np.empty(0, np.intp)
    if not labelled.any():
        return Contour(none, none, labelled)  # none, and so none near a contour
    ignored, nearest = _nearest_labelled(labelled)
    return Contour(ignored, nearest, _near_contour(_filled(truth, ignored, nearest), ratio))


def _only(labels: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return `labels` with 255 outside `mask`: np.where, whose branches take ten times as long."""
    return labels | (mask.view(np.uint8) - np.uint8(1))  # 0 - 1 is 255


def trimap_counts(
    truth: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    classes: int,
    radii: int = RADII,
    *,
    bands: Bands | None = None,
) -> NDArray[np.int64]:
    """Count the pixels near the true boundaries, in bands of 1 to `radii` pixels.

    The measure of Kohli et al. (IJCV 2009) and DeepLab (Chen et al., PAMI 2018). Entry r - 1 counts
    the scored pixels whose Euclidean distance to the nearest pixel of another label in `truth` is
    at most r. Here 255 is another label, since VOC's ring of it is where the boundaries are; the
    image's frame is not a boundary. An image of a single label has no such pixel. As for mIoU, add
    the images' counts before dividing.

    Args:
        truth: Labels (H, W), 0..classes-1, 255 = ignore.
        prediction: Labels (H, W), 0..classes-1.
        classes: Number of classes.
        radii: Widest band in pixels.
        bands: `true_bands(truth, classes, radii)`, for a caller that scores several predictions.

    Returns:
        Pixels of [intersection, truth, prediction] by band and class, (radii, 3, classes).

    Raises:
        BPGError: A label is out of range.
    """
    pixels, start, labels, true = bands or true_bands(truth, classes, radii)
    check_labels("prediction", prediction, classes)
    found = prediction.ravel()[pixels]
    # Only the misses are counted, which are few: all else agrees with the truth.
    missed = np.flatnonzero(found != labels)
    start = start[missed]
    lost = np.bincount(start + labels[missed], minlength=true.size).reshape(true.shape)
    gained = np.bincount(start + found[missed], minlength=true.size).reshape(true.shape)
    counts = np.stack([true - lost, true, true - lost + gained], axis=1)
    return np.cumsum(counts, axis=0)


def true_bands(truth: NDArray[np.uint8], classes: int, radii: int = RADII) -> Bands:
    """Return the bands around the true boundaries in which `trimap_counts` counts.

    Args:
        truth: Labels (H, W), 0..classes-1, 255 = ignore.
        classes: Number of classes.
        radii: Widest band in pixels.

    Raises:
        BPGError: A label is neither in 0..classes-1 nor 255.
    """
    check_labels("truth", truth, classes, ignore=True)
    distance = boundary_distance(truth).ravel()
    # Never an ignored pixel, whose distance is infinite. Those of other labels are at least 1.
    pixels = np.flatnonzero(distance <= radii)
    start = np.ceil(distance[pixels]).astype(np.intp)
    start -= 1
    start *= classes
    labels = truth.ravel()[pixels]
    counts = np.bincount(start + labels, minlength=radii * classes)
    return Bands(pixels, start, labels, counts.reshape(radii, classes))


def boundary_distance(truth: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return each pixel's Euclidean distance to the nearest pixel of another label.

    255 is another label.

    Args:
        truth: Labels (H, W), 255 = ignore.

    Returns:
        Distances in pixels, (H, W); infinite at the ignored pixels, and everywhere if there is no
        other label. Exact up to 500 pixels; beyond that, the roots of whole numbers near the
        squares.
    """
    distance = np.full(truth.shape, np.inf)
    for apart in _labels_apart(truth):
        member = np.zeros(256, np.uint8)
        member[apart] = 1
        inside = cv2.LUT(truth, member)
        # The pixel nearest to a label's is never farther out than one beside the label's box.
        left, top, width, height = cv2.boundingRect(inside)
        box = np.s_[max(top - 1, 0) : top + height + 1, max(left - 1, 0) : left + width + 1]
        inside = inside[box]
        if inside.all():
            continue
        found = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        # OpenCV's root is off in its last bits; its square is within rounding of a whole number.
        np.sqrt(np.rint(found * found), out=distance[box], where=inside.view(bool), dtype=float)
    return distance


def _labels_apart(truth: NDArray[np.uint8]) -> list[list[int]]:
    """Group the labels, except 255, so that no two of a group have adjacent pixels.

    One distance transform then serves a group. On the way from a pixel to the nearest one of
    another label, the last step starts at a pixel of its own label; so the nearest one is adjacent
    to that label and not in its group.
    """
    touch = np.zeros((256, 256), np.bool_)
    for one, other in ((truth[1:], truth[:-1]), (truth[:, 1:], truth[:, :-1])):
        meet = one != other
        touch[one[meet], other[meet]] = True
    touch |= touch.T
    # A label that touches none is alone in the image.
    present = np.flatnonzero(touch.any(axis=0)) if touch.any() else np.unique(truth)
    groups: list[list[int]] = []
    for label in present[present != IGNORE].tolist():
        free = (group for group in groups if not touch[label, group].any())
        group = next(free, None)
        if group is None:
            groups.append([label])
        else:
            group.append(label)
    return groups


def _filled(
    labels: NDArray[np.uint8], ignored: NDArray[np.intp], nearest: NDArray[np.intp]
) -> NDArray[np.uint8]:
    """Give each ignored pixel the label of its nearest labelled one."""
    flat = labels.flatten()
    flat[ignored] = flat[nearest]
    return flat.reshape(labels.shape)


def _nearest_labelled(labelled: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the flat indices of the pixels not labelled, and of the labelled one nearest to each.

    At least one must be labelled. Among equally near pixels it picks the one that SciPy's transform
    picks. That transform goes through the whole image and takes several times as long.
    """
    width = labelled.shape[1]
    wide = width + 2 * _REACH
    frame = (_REACH,) * 4
    framed = cv2.copyMakeBorder(labelled.view(np.uint8), *frame, cv2.BORDER_CONSTANT, value=0)
    padded = framed.view(np.bool_).ravel()
    y, x = np.divmod(np.flatnonzero(~labelled), width)
    rest = (y + _REACH) * wide + x + _REACH
    ignored, nearest = [rest[:0]], [rest[:0]]
    for dy, dx in _STEPS:
        there = rest + (dy * wide + dx)
        hit = padded[there]
        ignored.append(rest[hit])
        nearest.append(there[hit])
        rest = rest[~hit]
        if not rest.size:
            break
    rows, columns = np.divmod([*map(np.concatenate, (ignored, nearest))], wide)
    found = (rows - _REACH) * width + columns - _REACH
    if rest.size:
        y, x = np.divmod(rest, wide)
        far = _far_from_labels(labelled, y - _REACH, x - _REACH)
        found = np.concatenate([found, far], axis=1)
    return found[0], found[1]


def _far_from_labels(
    labelled: NDArray[np.bool_], y: NDArray[np.intp], x: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Return the flat indices of the pixels at `y`, `x` and of their nearest labelled ones."""
    height, width = labelled.shape
    for margin in (32, height + width):
        top, left = max(y.min() - margin, 0), max(x.min() - margin, 0)
        around = ~labelled[top : y.max() + margin + 1, left : x.max() + margin + 1]
        if around.all():
            continue
        found = ndimage.distance_transform_edt(around, return_distances=False, return_indices=True)
        row, column = found[:, y - top, x - left].astype(np.intp)
        row, column = row + top, column + left
        # Nothing outside the crop is within the margin.
        if ((row - y) ** 2 + (column - x) ** 2).max() <= margin**2:
            break
    return np.stack([y * width + x, row * width + column])


def _near_contour(labels: NDArray[np.uint8], ratio: float) -> NDArray[np.bool_]:
    """Mark the pixels that have another label, or the outside, within d in chessboard distance.

    Equivalent to eroding each label's mask d times with a 3x3 square, but for all labels at once.
    """
    distance = max(1, round(ratio * hypot(*labels.shape)))
    # IGNORE stands for the outside: it is not a label, so the frame differs from what it borders.
    window = np.ones((2 * distance + 1, 2 * distance + 1), np.uint8)
    border = cv2.BORDER_CONSTANT
    eroded = cv2.erode(labels, window, borderType=border, borderValue=IGNORE)
    dilated = cv2.dilate(labels, window, borderType=border, borderValue=IGNORE)
    return eroded != dilated
