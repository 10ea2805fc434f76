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

    `truth` and `prediction` hold labels 0..classes-1 and have one shape, usually (H, W); pixels
    where `truth` is 255 are not counted. Returns counts of shape (classes, classes), indexed
    [truth, prediction]. Any other label, or 255 in `prediction`, raises BPGError.
    """
    check_labels("truth", truth, classes, ignore=True)
    check_labels("prediction", prediction, classes)
    return joint_counts(truth, prediction, classes)[:classes, :classes]


def joint_counts(
    first: NDArray[np.uint8], second: NDArray[np.uint8], classes: int
) -> NDArray[np.int64]:
    """Count pixels by their labels in two images of one shape: (classes + 1, classes + 1).

    Labels are 0..classes-1 or 255, which counts as the label `classes`. They are not checked;
    ValueError if the shapes differ.

    Labels come in runs along the rows, some 50 pixels long in masks of 500 x 375. Each run is
    counted once, by its length, in about a quarter of the time of counting pixel by pixel. Where
    labels change more often than every four pixels, as in noise, pixels are faster.
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
    """Turn a [truth, prediction] matrix of pixel counts into percentages.

    Returns "iou": one intersection over union per class, None for a class without a true pixel;
    "miou": their mean over the classes that have one (false positives of an absent class still
    lower the others); "pixel_accuracy". PASCAL VOC's measure (Everingham et al., IJCV 2010), over
    the whole set and not image by image. BPGError if no pixel was counted at all.
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
    """Raise BPGError, calling the array `name`, if a label is outside 0..classes-1.

    With `ignore`, 255 is a label as well.
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
    """Count the pixels of [intersection, truth, prediction] by class: (3, classes).

    Labels as in `confusion_matrix`: 0..classes-1, pixels where `truth` is 255 are not counted,
    any other label raises BPGError.
    """
    return counts_of(confusion_matrix(truth, prediction, classes))


def counts_of(confusion: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the counts (3, classes) in a [truth, prediction] matrix of pixel counts."""
    return np.stack([np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)])


def class_iou(counts: NDArray[np.integer | np.floating]) -> NDArray[np.float64]:
    """Return the IoU in percent, (..., classes), of counts (..., 3, classes).

    NaN for a class without a true pixel. To score a set of images, add their counts first.
    """
    hits, true, predicted = np.moveaxis(np.asarray(counts, np.float64), -2, 0)
    iou = np.full(true.shape, np.nan)
    return 100 * np.divide(hits, true + predicted - hits, out=iou, where=true > 0)


def mean_iou(counts: NDArray[np.integer | np.floating]) -> NDArray[np.float64]:
    """Return the mean IoU in percent, (...), of counts (..., 3, classes), as in `iou_metrics`.

    The mean is over the classes that have a true pixel; NaN where no class has one.
    """
    iou = class_iou(counts)
    present = ~np.isnan(iou)
    number = present.sum(axis=-1)
    total = np.where(present, iou, 0).sum(axis=-1)
    return np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)


def write_counts(path: Path, counts: NDArray[np.int32]) -> None:
    """Write the int32 counts of `evaluate`, (images, 2, 2, 3, classes), as .npy; whole or not."""
    if counts.dtype != np.int32 or counts.ndim != 5 or counts.shape[1:4] != (2, 2, 3):
        raise ValueError(f"counts are int32 (images, 2, 2, 3, classes), not {_kind(counts)}")
    # By way of memory: of a full disk, NumPy's own writing says only how many bytes are missing.
    data = BytesIO()
    np.save(data, counts, allow_pickle=False)
    with whole_file(path) as partial:
        partial.write_bytes(data.getvalue())


def read_counts(path: Path, *, images: int, classes: int) -> NDArray[np.int32]:
    """Read what `write_counts` wrote: int32 (images, 2, 2, 3, classes).

    BPGError names the file if it is missing, cut off, no .npy or of another shape or type.
    """
    try:
        counts = np.load(BytesIO(path.read_bytes()), allow_pickle=False)
    except OSError as error:
        raise BPGError(f"{path}: cannot be read ({error.strerror}); run evaluate") from error
    except Exception as error:  # NumPy reads a broken header as Python, which raises anything
        raise BPGError(f"{path}: no .npy file, or cut off; evaluate the run anew") from error
    expected = (images, 2, 2, 3, classes)
    if not isinstance(counts, np.ndarray):
        raise BPGError(f"{path}: an archive and no .npy file; evaluate the run anew")
    if counts.shape != expected or counts.dtype != np.int32:
        raise BPGError(
            f"{path}: holds {_kind(counts)}, not int32 {expected}; evaluate the run anew"
        )
    return counts


def _kind(counts: np.ndarray) -> str:
    return f"{counts.dtype} {counts.shape}"
