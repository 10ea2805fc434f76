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
    check_labels("truth", truth[truth != IGNORE], classes)
    check_labels("prediction", prediction, classes)
    counted = truth != IGNORE
    pairs = truth[counted].astype(np.int64) * classes + prediction[counted]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


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


def check_labels(name: str, labels: NDArray[np.uint8], classes: int) -> None:
    """Raise BPGError, calling the array `name`, if a label is outside 0..classes-1."""
    if labels.size and (labels.max() >= classes or labels.min() < 0):
        wrong = labels[(labels >= classes) | (labels < 0)][0]
        raise BPGError(f"{name} has label {wrong}, but the labels are 0..{classes - 1}")
