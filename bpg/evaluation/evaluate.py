"""Score a run's predicted masks, raw and after the CRF, against the ground truth."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bpg.data.masks import read_mask
from bpg.errors import BPGError
from bpg.evaluation.confusion import confusion_matrix, scores


def evaluate(
    ids: Sequence[str],
    masks: Path,
    predictions: Path,
    predictions_crf: Path,
    classes: Sequence[str],
) -> dict[str, Any]:
    """Score ID.png in `predictions` and `predictions_crf` against ID.png in `masks`.

    `classes` names the labels 0..K, background first. Returns a JSON-able dict: "classes", and
    under "raw" and "crf" the "confusion" counts (K+1 lists of K+1, [truth][prediction]) and the
    percentages of `scores`. BPGError names the file that is missing, has another size than its
    mask or holds a label outside 0..K.
    """
    if not ids:
        raise BPGError(f"{masks}: no validation image to score; the id list is empty")
    folders = {"raw": predictions, "crf": predictions_crf}
    totals = {key: np.zeros((len(classes), len(classes)), np.int64) for key in folders}
    for image_id in ids:
        truth_path = masks / f"{image_id}.png"
        truth = read_mask(truth_path)
        for key, folder in folders.items():
            path = folder / f"{image_id}.png"
            totals[key] += _compare(truth_path, truth, path, len(classes))
    return {"classes": list(classes)} | {
        key: {"confusion": total.tolist()} | scores(total) for key, total in totals.items()
    }


def _compare(
    truth_path: Path, truth: NDArray[np.uint8], path: Path, classes: int
) -> NDArray[np.int64]:
    prediction = read_mask(path)
    if prediction.shape != truth.shape:
        sizes = " and ".join(f"{w}x{h}" for h, w in (prediction.shape, truth.shape))
        raise BPGError(f"{path} and {truth_path} differ in size: {sizes} pixels")
    try:
        return confusion_matrix(truth, prediction, classes)
    except BPGError as error:
        raise BPGError(f"{path} against {truth_path}: {error}") from None
