"""The confusion matrix of label images and the scores that the paper's tables use."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bpg.data.masks import IGNORE
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


def scores(confusion: NDArray[np.int64]) -> dict[str, Any]:
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
