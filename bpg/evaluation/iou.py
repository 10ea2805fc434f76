"""Intersection over union: pixels counted by class, and the scores of the paper's tables."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bpg.atomic import whole_file
from bpg.constants import IGNORE
from bpg.errors import BPGError


def confusion_matrix(
    truth: NDArray[np.uint8], prediction: NDArray[np.uint8], classes: int
) -> NDArray[np.int64]:
    """Count pixels by true and predicted class.

    Args:
        truth: Labels 0..classes-1, usually (H, W); pixels of 255 are not counted.
        prediction: Labels 0..classes-1, of the same shape.
        classes: Number of classes.

    Returns:
        Counts (classes, classes), indexed [truth, prediction].

    Raises:
        BPGError: There is any other label, or 255 in `prediction`.
        ValueError: The shapes differ.
    """
    check_labels("truth", truth, classes, ignore=True)
    check_labels("prediction", prediction, classes)
    return joint_counts(truth, prediction, classes)[:classes, :classes]


def joint_counts(
    first: NDArray[np.uint8], second: NDArray[np.uint8], classes: int
) -> NDArray[np.int64]:
    """Count pixels by their labels in two images.

    Labels come in runs along the rows, some 50 pixels long in masks of 500 x 375. Each run is
    counted once, by its length, in about a quarter of the time of counting pixel by pixel. Where
    labels change more often than every four pixels, as in noise, single pixels are faster.

    Args:
        first: Labels 0..classes-1, or 255, which counts as the label `classes`. They are not
            checked.
        second: Labels of the other image, of the same shape.
        classes: Number of classes.

    Returns:
        Counts (classes + 1, classes + 1), indexed [first, second].

    Raises:
        ValueError: The shapes differ.
    """
    if first.shape != second.shape:
        raise ValueError(f"labels must have one shape, not {first.shape} and {second.shape}")
    labels = [first.ravel(), second.ravel()]
    changes = (labels[0][1:] != labels[0][:-1]) | (labels[1][1:] != labels[1][:-1])
    lengths = None  # each pixel for itself
    if 4 * np.count_nonzero(changes) < len(changes):
        last = np.append(np.flatnonzero(changes), len(changes))
        lengths = np.diff(last, prepend=-1)
        labels = [label[last] for label in labels]
    rows, columns = (np.minimum(label, classes) for label in labels)
    size = classes + 1
    pairs = rows.astype(np.intp) * size + columns
    # Weights make it count in float64, exact below 2**53 pixels.
    counts = np.bincount(pairs, lengths, minlength=size * size).astype(np.int64)
    return counts.reshape(size, size)


def iou_metrics(confusion: NDArray[np.int64]) -> dict[str, Any]:
    """Turn pixel counts into PASCAL VOC's measure (Everingham et al., IJCV 2010), in percent.

    Over the whole set, not image by image.

    Args:
        confusion: Counts (classes, classes), indexed [truth, prediction].

    Returns:
        "iou": one intersection over union per class, None for a class without a true pixel; "miou":
        their mean over the classes that have one (false positives of an absent class still lower
        the others); "pixel_accuracy".

    Raises:
        BPGError: No pixel was counted at all.
    """
    total = confusion.sum()
    if total == 0:
        raise BPGError("the ground truth has no labelled pixel, so there is nothing to score")
    hits = np.diag(confusion)
    true, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    iou = [
        100 * float(hit / union) if present else None
        for hit, union, present in zip(hits, true + predicted - hits, true > 0, strict=True)
    ]
    return {
        "iou": iou,
        "miou": float(np.mean([value for value in iou if value is not None])),
        "pixel_accuracy": 100 * float(hits.sum() / total),
    }


def check_labels(
    name: str, labels: NDArray[np.uint8], classes: int, *, ignore: bool = False
) -> None:
    """Raise an error if a label is out of range.

    Args:
        name: What the error calls the array.
        labels: Labels of any shape.
        classes: Number of classes.
        ignore: Whether 255 is a label as well.

    Raises:
        BPGError: A label is outside 0..classes-1.
    """
    wrong = labels >= classes
    if labels.dtype.kind != "u":
        wrong |= labels < 0
    if ignore:
        wrong &= labels != IGNORE
    if wrong.any():
        raise BPGError(f"{name} has label {labels[wrong][0]}, but the labels are 0..{classes - 1}")


def class_counts(
    truth: NDArray[np.uint8], prediction: NDArray[np.uint8], classes: int
) -> NDArray[np.int64]:
    """Count the pixels of intersection, truth and prediction by class.

    Args:
        truth: Labels 0..classes-1, usually (H, W); pixels of 255 are not counted.
        prediction: Labels 0..classes-1, of the same shape.
        classes: Number of classes.

    Returns:
        Counts (3, classes): [intersection, truth, prediction].

    Raises:
        BPGError: There is any other label, or 255 in `prediction`.
        ValueError: The shapes differ.
    """
    return counts_of(confusion_matrix(truth, prediction, classes))


def counts_of(confusion: NDArray[np.int64]) -> NDArray[np.int64]:
    """Reduce a confusion matrix to the counts of intersection, truth and prediction.

    Args:
        confusion: Pixels (classes, classes), indexed [truth, prediction].

    Returns:
        Pixels (3, classes).
    """
    return np.stack([np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)])


def class_iou(counts: NDArray[np.integer | np.floating]) -> NDArray[np.float64]:
    """Compute each class's IoU; to score a set of images, add their counts first.

    Args:
        counts: Pixels of [intersection, truth, prediction], (..., 3, classes).

    Returns:
        Percent, (..., classes); NaN for a class without a true pixel.
    """
    hits, true, predicted = np.moveaxis(np.asarray(counts, np.float64), -2, 0)
    iou = np.full(true.shape, np.nan)
    return 100 * np.divide(hits, true + predicted - hits, out=iou, where=true > 0)


def mean_iou(counts: NDArray[np.integer | np.floating]) -> NDArray[np.float64]:
    """Compute the mean IoU over the classes that have a true pixel, as in `iou_metrics`.

    Args:
        counts: Pixels of [intersection, truth, prediction], (..., 3, classes).

    Returns:
        Percent, (...); NaN where no class has a true pixel.
    """
    iou = class_iou(counts)
    present = ~np.isnan(iou)
    number = present.sum(axis=-1)
    total = np.where(present, iou, 0).sum(axis=-1)
    return np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)


def write_counts(path: Path, counts: NDArray[np.int32]) -> None:
    """Write the counts of the stage `evaluate` as .npy, whole or not at all.

    Args:
        path: File to write.
        counts: int32 (images, 2, 2, 3, classes), as `bpg.evaluation.score.score` returns them.

    Raises:
        ValueError: The counts have another type or shape.
    """
    if counts.dtype != np.int32 or counts.ndim != 5 or counts.shape[1:4] != (2, 2, 3):
        raise ValueError(f"counts are int32 (images, 2, 2, 3, classes), not {_kind(counts)}")
    # Via memory: on a full disk, NumPy's own writer says only how many bytes are missing.
    data = BytesIO()
    np.save(data, counts, allow_pickle=False)
    with whole_file(path) as partial:
        partial.write_bytes(data.getvalue())


def read_counts(path: Path, *, images: int, classes: int) -> NDArray[np.int32]:
    """Map what `write_counts` wrote: nothing is read before it is looked at.

    Args:
        path: The .npy file.
        images: Number of images that it must hold.
        classes: Number of classes that it must hold.

    Returns:
        Pixels, int32 (images, 2, 2, 3, classes).

    Raises:
        BPGError: The file is missing, cut off, not .npy, or of another shape or type; the message
            names it.
    """
    try:
        counts = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise BPGError(f"{path}: cannot be read ({error.strerror}); run evaluate") from error
    except Exception as error:  # NumPy reads a broken header as Python, which raises anything
        raise BPGError(f"{path}: not a .npy file, or truncated; rerun evaluate") from error
    expected = (images, 2, 2, 3, classes)
    if not isinstance(counts, np.ndarray):
        raise BPGError(f"{path}: an archive, not a .npy file; rerun evaluate")
    if counts.shape != expected or counts.dtype != np.int32:
        raise BPGError(f"{path}: holds {_kind(counts)}, not int32 {expected}; rerun evaluate")
    return counts


def _kind(counts: np.ndarray) -> str:
    return f"{counts.dtype} {counts.shape}"
