"""How good the boundaries of a prediction are: Boundary IoU, and mIoU within a band (trimap)."""

from math import hypot
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bpg.data.masks import IGNORE
from bpg.evaluation.confusion import check_labels

RADII = 40
"""Widest band of the trimap measure, in pixels."""


class Contour(NamedTuple):
    """What `boundary_counts` needs of the truth.

    `nearest` are the indices (2, H, W) of each pixel's nearest labelled pixel, None where all are
    labelled; `region` marks the pixels near the contour of their own class, bool (H, W).
    """

    nearest: NDArray[np.int32] | None
    region: NDArray[np.bool_]


def boundary_counts(
    truth: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    classes: int,
    *,
    ratio: float = 0.02,
    contour: Contour | None = None,
) -> NDArray[np.int64]:
    """Count the pixels near contours, [intersection, truth, prediction] by class: (3, classes).

    Boundary IoU (Cheng et al., CVPR 2021): of each class's mask, only the pixels within
    d = max(1, round(`ratio` x image diagonal)) of the mask's own contour count, in chessboard
    distance; as in the authors' code, the picture's frame is contour. `truth` and `prediction`
    are labels (H, W) as in `confusion_matrix`, and BPGError as there. Add the counts of all
    images before dividing, as for mIoU.

    Ignored pixels (255 in `truth`) are never counted, but a contour has to run somewhere through
    them: VOC draws a 255 ring, some 5 pixels wide, around each object. In truth and prediction
    alike each takes the label at the nearest labelled pixel, so that the contour lies in the
    middle of the ring, and what is predicted inside the ring changes nothing. (Calling the ring
    a class of its own would put a contour on either side of it, which no prediction has.) A
    truth without any labelled pixel gives zeros.

    `contour` is `true_contour(truth, ratio)`, for a caller that scores several predictions.
    """
    scored = truth != IGNORE
    check_labels("truth", truth[scored], classes)
    check_labels("prediction", prediction, classes)
    nearest, region = contour or true_contour(truth, ratio)
    in_truth = region & scored
    filled = prediction if nearest is None else prediction[tuple(nearest)]
    in_prediction = _near_contour(filled, ratio) & scored
    hits = in_truth & in_prediction & (truth == prediction)
    return np.stack(
        [
            np.bincount(labels, minlength=classes)
            for labels in (truth[hits], truth[in_truth], prediction[in_prediction])
        ]
    )


def true_contour(truth: NDArray[np.uint8], ratio: float = 0.02) -> Contour:
    """Return where `boundary_counts` sees the contours of the truth."""
    ignored = truth == IGNORE
    if not ignored.any():
        return Contour(None, _near_contour(truth, ratio))
    if ignored.all():
        return Contour(None, np.zeros(truth.shape, np.bool_))
    nearest = ndimage.distance_transform_edt(ignored, return_distances=False, return_indices=True)
    return Contour(nearest, _near_contour(truth[tuple(nearest)], ratio))


def trimap_counts(
    truth: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    classes: int,
    radii: int = RADII,
    *,
    distance: NDArray[np.float64] | None = None,
) -> NDArray[np.int64]:
    """Count [intersection, truth, prediction] near the true boundaries: (radii, 3, classes).

    Entry r - 1 has the scored pixels whose Euclidean distance to the nearest pixel of another
    label in `truth` is at most r, for r = 1..`radii`. 255 is another label, since VOC's ring of
    it is where the boundaries are; the picture's frame is none. An image of one label has no
    such pixel. Labels (H, W) and errors as in `confusion_matrix`. The measure of Kohli et al.
    (IJCV 2009) and DeepLab (Chen et al., PAMI 2018); as for mIoU, add the images' counts first.

    `distance` is `boundary_distance(truth)`, for a caller that scores several predictions.
    """
    check_labels("truth", truth[truth != IGNORE], classes)
    check_labels("prediction", prediction, classes)
    if distance is None:
        distance = boundary_distance(truth)
    counted = distance <= radii  # never an ignored pixel, whose distance is infinite
    true, predicted = truth[counted], prediction[counted]
    # The smallest radius that takes the pixel in; distances of other labels are at least 1.
    start = (np.ceil(distance[counted]).astype(np.int64) - 1) * classes
    hits = true == predicted
    rings = [
        np.bincount(cells, minlength=radii * classes).reshape(radii, classes)
        for cells in ((start + true)[hits], start + true, start + predicted)
    ]
    return np.cumsum(np.stack(rings, axis=1), axis=0)


def boundary_distance(truth: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return each pixel's Euclidean distance to the nearest one of another label, (H, W) in pixels.

    255 is another label. Infinite where there is no other label, and at the ignored pixels.
    """
    distance = np.full(truth.shape, np.inf)
    # The pixel nearest to a label's is never farther out than one beside the label's bounding box.
    for label, box in enumerate(ndimage.find_objects(truth.astype(np.int32) + 1)):
        if box is None or label == IGNORE:
            continue
        wider = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box)
        inside = truth[wider] == label
        if not inside.all():
            distance[wider][inside] = ndimage.distance_transform_edt(inside)[inside]
    return distance


def _near_contour(labels: NDArray[np.uint8], ratio: float) -> NDArray[np.bool_]:
    """Mark the pixels that have another label, or the outside, within d in chessboard distance.

    The same as to erode each label's mask d times by a 3x3 square, but for all labels at once.
    """
    distance = max(1, round(ratio * hypot(*labels.shape)))
    # IGNORE stands for the outside: it is no label, so the frame differs from what it borders.
    window = {"size": 2 * distance + 1, "mode": "constant", "cval": IGNORE}
    return ndimage.minimum_filter(labels, **window) != ndimage.maximum_filter(labels, **window)
