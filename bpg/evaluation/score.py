"""Score a run's predicted masks, raw and after the CRF, against the ground truth."""

from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import Any, Literal, SupportsFloat

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from tqdm import tqdm

from bpg.data.masks import read_mask
from bpg.errors import BPGError
from bpg.evaluation.boundary import (
    RADII,
    boundary_counts,
    trimap_counts,
    true_bands,
    true_contour,
)
from bpg.evaluation.iou import class_iou, confusion_matrix, counts_of, iou_metrics, mean_iou

Kind = Literal["raw", "crf"]
KINDS: tuple[Kind, ...] = ("raw", "crf")


def score(
    ids: Sequence[str],
    masks: Path,
    predictions: Path,
    predictions_crf: Path,
    classes: Sequence[str],
    *,
    boundaries: bool = True,
) -> tuple[dict[str, Any], NDArray[np.int32]]:
    """Score a run's predictions, ID.png each, against the ground truth.

    Args:
        ids: Names of the validation images.
        masks: Folder of the true label maps.
        predictions: Folder of the predicted label maps.
        predictions_crf: Folder of the label maps after the CRF.
        classes: Names of the labels 0..K, background first.
        boundaries: Whether the ground truth has boundaries; strokes have ends, which are none.

    Returns:
        The metrics and the counts.

        The metrics are JSON-serialisable: "classes", and under "raw" and "crf" the "confusion"
        counts (K+1 lists of K+1, [truth][prediction]), the percentages of `iou_metrics`, and in
        percent "boundary_iou_by_class" (Boundary IoU, None if a class is absent), "boundary_iou"
        (their mean) and "trimap" (mIoU within 1, 2, ... 40 pixels of the true boundaries); the last
        two are None where no counted pixel is that near to a boundary, or without `boundaries`.

        The counts are pixels, int32 (images, 2, 2, 3, K+1), images in the order of `ids`: of [raw,
        crf], by [region, boundary], [intersection, truth, prediction].

    Raises:
        BPGError: `ids` is empty, no true pixel is labelled, or a file is missing, differs in size
            from its mask or holds a label outside 0..K; the message names the file.
    """
    if not ids:
        raise BPGError(f"{masks}: no validation image to score; the id list is empty")
    number = len(classes)
    counts = np.zeros((len(ids), len(KINDS), 2, 3, number), np.int32)
    confusion = np.zeros((len(KINDS), number, number), np.int64)
    trimap = np.zeros((len(KINDS), RADII, 3, number), np.int64)
    folders = (predictions, predictions_crf)
    # Threads: OpenCV's transforms and filters and the decoding release the GIL. Processes were no
    # faster for 500 masks of VOC's size, and took a second longer to start.
    jobs = (
        delayed(_score)(masks, folders, f"{image_id}.png", number, boundaries) for image_id in ids
    )
    scored = Parallel(n_jobs=-1, prefer="threads", return_as="generator")(jobs)
    for image, kinds in enumerate(tqdm(scored, "scores", len(ids), unit="image", mininterval=2)):
        for kind, (matrix, boundary, bands) in enumerate(kinds):
            confusion[kind] += matrix
            counts[image, kind] = counts_of(matrix), boundary
            trimap[kind] += bands
    metrics: dict[str, Any] = {"classes": list(classes)}
    for kind, key in enumerate(KINDS):
        boundary = counts[:, kind, 1].sum(axis=0, dtype=np.int64)
        metrics[key] = {
            "confusion": confusion[kind].tolist(),
            **iou_metrics(confusion[kind]),
            "boundary_iou": _or_none(mean_iou(boundary)),
            "boundary_iou_by_class": [_or_none(value) for value in class_iou(boundary)],
            "trimap": [_or_none(value) for value in mean_iou(trimap[kind])],
        }
    return metrics, counts


_Counts = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def _score(
    masks: Path, folders: Sequence[Path], file: str, classes: int, boundaries: bool
) -> list[_Counts]:
    """Return (confusion, boundary counts, trimap counts) of one image for each folder."""
    truth_path = masks / file
    truth = read_mask(truth_path)
    contour, bands = true_contour(truth) if boundaries else None, None
    found = []
    for folder in folders:
        prediction = _read_like(folder / file, truth, truth_path)
        matrix = _compare(truth_path, truth, folder / file, prediction, classes)
        boundary = np.zeros((3, classes), np.int64)
        trimap = np.zeros((RADII, 3, classes), np.int64)
        if boundaries:
            boundary = boundary_counts(truth, prediction, classes, contour=contour)
            # After `_compare`, which names the files if the truth has a wrong label.
            bands = bands or true_bands(truth, classes)
            trimap = trimap_counts(truth, prediction, classes, bands=bands)
        found.append((matrix, boundary, trimap))
    return found


def _read_like(path: Path, truth: NDArray[np.uint8], truth_path: Path) -> NDArray[np.uint8]:
    prediction = read_mask(path)
    if prediction.shape != truth.shape:
        sizes = " and ".join(f"{w}x{h}" for h, w in (prediction.shape, truth.shape))
        raise BPGError(f"{path} and {truth_path} differ in size: {sizes} pixels")
    return prediction


def _compare(
    truth_path: Path,
    truth: NDArray[np.uint8],
    path: Path,
    prediction: NDArray[np.uint8],
    classes: int,
) -> NDArray[np.int64]:
    try:
        return confusion_matrix(truth, prediction, classes)
    except BPGError as error:
        raise BPGError(f"{path} against {truth_path}: {error}") from None


def _or_none(value: SupportsFloat) -> float | None:
    return None if isnan(value) else float(value)
