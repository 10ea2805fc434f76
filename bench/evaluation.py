"""Time of the evaluation of masks of 500 x 375 pixels and 21 classes, in memory, one thread.

    python -m bench.evaluation

Against torchmetrics: confusion matrix and IoU. Against the same measures written with SciPy and
plain NumPy: all that is counted for one image (confusion, Boundary IoU, trimap), for two
predictions. The two sides take turns within one run; times are medians. Floor: the bytes of the
masks, read once, at the bandwidth of copying an array that fits no cache.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import hypot
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torchmetrics.classification import MulticlassJaccardIndex

from bench.measure import Row, copy_bandwidth, in_turns, show
from bpg.constants import IGNORE
from bpg.evaluation.boundary import RADII, boundary_counts, trimap_counts, true_bands, true_contour
from bpg.evaluation.iou import confusion_matrix, iou_metrics
from bpg.opencv import cv2

CLASSES = 21
IMAGES = 12
ROUNDS = 5

Mask = NDArray[np.uint8]


def rows() -> list[Row]:
    """Measure."""
    images = [masks(seed) for seed in range(IMAGES)]
    with one_thread():
        bandwidth = copy_bandwidth()
        return [against_torchmetrics(images, bandwidth), against_scipy(images, bandwidth)]


def masks(seed: int, shape: tuple[int, int] = (375, 500)) -> tuple[Mask, Mask, Mask]:
    """Return a truth with a ring of 255 around its regions, and a bad and a good prediction."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(5, *shape)).astype(np.float32)
    noise = np.stack([cv2.GaussianBlur(field, (0, 0), 25) for field in noise])
    regions = rng.permutation(CLASSES)[noise.argmax(axis=0)].astype(np.uint8)
    good = np.roll(regions, (2, -3), (0, 1))
    wrong = cv2.GaussianBlur(rng.normal(size=shape).astype(np.float32), (0, 0), 8) > 0.05
    bad = np.where(wrong, rng.integers(CLASSES), good).astype(np.uint8)
    square = np.ones((5, 5), np.uint8)
    ring = cv2.erode(regions, square) != cv2.dilate(regions, square)
    return np.where(ring, IGNORE, regions).astype(np.uint8), bad, good


def against_torchmetrics(images: list[tuple[Mask, Mask, Mask]], bandwidth: float) -> Row:
    """Confusion matrix and IoU of one image."""
    # Tensors made beforehand and no checks of the values, which we do make: its fastest way.
    metric = MulticlassJaccardIndex(
        CLASSES, average="none", ignore_index=IGNORE, validate_args=False
    )
    tensors = [(torch.from_numpy(bad), torch.from_numpy(truth)) for truth, bad, _ in images]

    def ours(image: int) -> None:
        iou_metrics(confusion_matrix(*images[image][:2], CLASSES))

    def theirs(image: int) -> None:
        metric.reset()
        metric.update(*tensors[image])
        metric.compute()

    times = each(ours, theirs, len(images))
    total = sum(confusion_matrix(truth, bad, CLASSES) for truth, bad, _ in images)
    metric.reset()
    for pair in tensors:
        metric.update(*pair)
    true = total.sum(axis=1) > 0
    miou, their_miou = (
        iou_metrics(total)["miou"],
        100 * float(metric.compute().numpy()[true].mean()),
    )
    assert abs(miou - their_miou) < 1e-4, (miou, their_miou)
    quality = f"mIoU {miou:.4f} %, theirs {their_miou:.4f} %"
    size = sum(mask.nbytes for mask in images[0][:2])
    floor = f"{size / bandwidth:.3f} ms"
    return Row("confusion and IoU of an image (torchmetrics)", *times, "≥ 5", floor, quality)


def against_scipy(images: list[tuple[Mask, Mask, Mask]], bandwidth: float) -> Row:
    """All that is counted for one image."""

    def ours(image: int) -> list[NDArray[np.int64]]:
        truth, *predictions = images[image]
        contour, bands = true_contour(truth), true_bands(truth, CLASSES)
        found = []
        for prediction in predictions:
            found.append(confusion_matrix(truth, prediction, CLASSES))
            found.append(boundary_counts(truth, prediction, CLASSES, contour=contour))
            found.append(trimap_counts(truth, prediction, CLASSES, bands=bands))
        return found

    def theirs(image: int) -> list[NDArray[np.int64]]:
        return with_scipy(*images[image])

    times = each(ours, theirs, len(images))
    for image in range(len(images)):
        assert all(map(np.array_equal, ours(image), theirs(image)))
    size = sum(mask.nbytes for mask in images[0])
    quality = f"all counts of {len(images)} images equal"
    floor = f"{size / bandwidth:.3f} ms"
    return Row("all counts of an image (SciPy)", *times, "≥ 2", floor, quality)


def with_scipy(truth: Mask, *predictions: Mask) -> list[NDArray[np.int64]]:
    """Count as `ours` does: SciPy's filters and transforms, every pixel counted."""
    scored = truth != IGNORE
    nearest = ndimage.distance_transform_edt(~scored, return_distances=False, return_indices=True)
    in_truth = near_contour(truth[tuple(nearest)]) & scored
    distance = np.full(truth.shape, np.inf)
    for label, box in enumerate(ndimage.find_objects(truth.astype(np.int32) + 1)):
        if box is not None and label != IGNORE:
            wider = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box)
            inside = truth[wider] == label
            distance[wider][inside] = ndimage.distance_transform_edt(inside)[inside]
    band = distance <= RADII
    start = (np.ceil(distance[band]).astype(np.int64) - 1) * CLASSES
    found = []
    for prediction in predictions:
        pairs = truth[scored].astype(np.int64) * CLASSES + prediction[scored]
        found.append(np.bincount(pairs, minlength=CLASSES**2).reshape(CLASSES, CLASSES))
        predicted = near_contour(prediction[tuple(nearest)]) & scored
        hits = in_truth & predicted & (truth == prediction)
        counted = truth[hits], truth[in_truth], prediction[predicted]
        found.append(np.stack([np.bincount(labels, minlength=CLASSES) for labels in counted]))
        true, guess = truth[band], prediction[band]
        cells = (start + true)[true == guess], start + true, start + guess
        bands = [np.bincount(c, minlength=RADII * CLASSES).reshape(RADII, -1) for c in cells]
        found.append(np.cumsum(np.stack(bands, axis=1), axis=0))
    return found


def near_contour(labels: Mask) -> NDArray[np.bool_]:
    size = 2 * max(1, round(0.02 * hypot(*labels.shape))) + 1
    window = {"size": size, "mode": "constant", "cval": IGNORE}
    return ndimage.minimum_filter(labels, **window) != ndimage.maximum_filter(labels, **window)


def each(
    ours: Callable[[int], Any], theirs: Callable[[int], Any], images: int
) -> tuple[float, float]:
    """Return the median milliseconds of either for one image."""
    first, second = in_turns(
        lambda: [ours(image) for image in range(images)],
        lambda: [theirs(image) for image in range(images)],
        ROUNDS,
    )
    return first / images, second / images


@contextmanager
def one_thread() -> Iterator[None]:
    """Let OpenCV and PyTorch use one thread, as the evaluation runs several images at a time."""
    before = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before[0])
        torch.set_num_threads(before[1])


if __name__ == "__main__":
    show(rows())
