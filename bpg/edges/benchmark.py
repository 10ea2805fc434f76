"""How well edge maps meet people's contours: ODS, OIS and AP of the BSDS500 benchmark.

Source: Arbeláez et al., "Contour Detection and Hierarchical Image Segmentation", TPAMI 2011; the
thinning is that of Dollár and Zitnick, "Structured Forests for Fast Edge Detection", ICCV 2013, as
for HED's published numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve1d, map_coordinates
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from scipy.spatial import cKDTree
from skimage.morphology import thin

from bpg.errors import BPGError

TOLERANCE = 0.0075
"""How far an edge may be from a contour, as a share of the image's diagonal."""

_SMOOTHING = 4  # radius in pixels of the filter before edges get their directions
_BORDER = 5  # pixels at the image's border where edges fade
_ALONE = 100  # times the largest distance is what a pixel without a partner costs
_NEAREST = 1e-6
_SLACK = 1.01  # so much weaker than its neighbour an edge may be and still stay


@dataclass(frozen=True)
class Scores:
    """Of a detector, each in 0..1.

    Attributes:
        ods: F-measure at the one threshold that is best for all images; between two thresholds,
            precision and recall are interpolated.
        ois: F-measure at each image's best threshold.
        ap: Area under the curve of precision over recall, between the least and the largest recall
            that a threshold reaches.
        threshold: Where `ods` is reached.
    """

    ods: float
    ois: float
    ap: float
    threshold: float


def thinned(edges: NDArray[np.floating]) -> NDArray[np.float64]:
    """Keep what is strongest across an edge's direction, and nothing else.

    Args:
        edges: (H, W) in 0..1.

    Returns:
        (H, W): the same numbers on lines a pixel wide, 0 elsewhere, fading towards the border.
    """
    found = np.asarray(edges, float)
    smooth = _triangle(found, _SMOOTHING)
    down, right = np.gradient(smooth)
    (yy, xy), (_, xx) = np.gradient(down), np.gradient(right)
    # A sign that is never 0, or exactly horizontal edges would be taken for vertical ones.
    direction = np.arctan(yy * np.where(xy > 0, -1, 1) / (xx + 1e-5)) % np.pi
    rows, columns = np.indices(found.shape)
    strongest = np.ones(found.shape, bool)
    for side in (-1, 1):
        place = [rows + side * np.sin(direction), columns + side * np.cos(direction)]
        neighbour = map_coordinates(found, place, order=1, mode="nearest")
        strongest &= found * _SLACK >= neighbour
    height, width = found.shape
    nearness = np.minimum(rows, height - 1 - rows), np.minimum(columns, width - 1 - columns)
    fade = np.prod([np.minimum(1, one / _BORDER) for one in nearness], axis=0)
    return np.where(strongest, found, 0) * fade


def _triangle(values: NDArray[np.float64], radius: int) -> NDArray[np.float64]:
    weights = np.concatenate([np.arange(1, radius + 1), [radius + 1], np.arange(radius, 0, -1)])
    weights = weights / weights.sum()
    for axis in (0, 1):
        values = convolve1d(values, weights, axis=axis, mode="reflect")
    return values


def matched(
    found: NDArray[np.bool_], contours: NDArray[np.bool_], distance: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Pair edge pixels with contour pixels one to one, at the least cost.

    A pair costs its distance, a pixel without a partner a hundred times the largest distance.

    Args:
        found: (H, W), where a detector sees an edge.
        contours: (H, W), where a person has drawn one.
        distance: The largest in pixels between the two of a pair.

    Returns:
        Which pixels of `found`, and of `contours`, have a partner: (H, W) each.
    """
    ones, others = np.argwhere(found), np.argwhere(contours)
    results = np.zeros_like(found, bool), np.zeros_like(contours, bool)
    if not len(ones) or not len(others):
        return results
    near = cKDTree(ones).sparse_distance_matrix(
        cKDTree(others), distance + 1e-9, output_type="coo_matrix"
    )
    # A column for each edge pixel to stay alone in. A cost of zero would be no entry at all.
    alone = np.arange(len(ones))
    rows, columns = (
        np.concatenate(p) for p in ((near.row, alone), (near.col, len(others) + alone))
    )
    costs = np.concatenate([near.data + _NEAREST, np.full(len(ones), _ALONE * distance + _NEAREST)])
    graph = csr_array((costs, (rows, columns)), (len(ones), len(others) + len(ones)))
    _, partners = min_weight_full_bipartite_matching(graph)
    paired = partners < len(others)
    results[0][tuple(ones[paired].T)] = True
    results[1][tuple(others[partners[paired]].T)] = True
    return results


def count(
    edges: NDArray[np.floating],
    people: Sequence[NDArray[np.bool_]],
    thresholds: Sequence[float],
    tolerance: float = TOLERANCE,
) -> NDArray[np.int64]:
    """Count what one image's edges hit, at each threshold.

    Args:
        edges: (H, W) in 0..1, `thinned`.
        people: The contours that each person has drawn, (H, W) each.
        thresholds: At least as strong is an edge.
        tolerance: As a share of the diagonal.

    Returns:
        (thresholds, 4): pixels of all people's contours that are hit; of them in all; edge pixels
        that hit anybody's contour; edge pixels in all.

    Raises:
        BPGError: The sizes differ.
    """
    for contours in people:
        if contours.shape != edges.shape:
            raise BPGError(f"contours of {contours.shape}, but edges of {edges.shape} pixels")
    distance = tolerance * float(np.hypot(*edges.shape))
    rows = []
    for threshold in thresholds:
        found = thin(edges >= max(threshold, 1e-9))
        right = np.zeros_like(found)
        recalled = 0
        for contours in people:
            hits, reached = matched(found, contours, distance)
            right |= hits
            recalled += int(reached.sum())
        drawn = sum(int(contours.sum()) for contours in people)
        rows.append((recalled, drawn, int(right.sum()), int(found.sum())))
    return np.array(rows, np.int64)


def score(counts: NDArray[np.int64], thresholds: Sequence[float]) -> Scores:
    """Sum images' counts up.

    Args:
        counts: (images, thresholds, 4) of `count`.
        thresholds: Rising.
    """
    whole = counts.sum(0)
    recall, precision = _shares(whole)
    finer = np.linspace(0, len(thresholds) - 1, 99 * (len(thresholds) - 1) + 1)
    places = np.arange(len(thresholds))
    f = _f(np.interp(finer, places, recall), np.interp(finer, places, precision))
    best = int(f.argmax())
    each = np.stack([_f(*_shares(image)) for image in counts]).argmax(1)
    chosen = counts[np.arange(len(counts)), each].sum(0)
    order = np.argsort(recall, kind="stable")
    curve = np.interp(np.linspace(0, 1, 101), recall[order], precision[order], left=0, right=0)
    return Scores(
        float(f[best]),
        float(_f(*_shares(chosen))),
        float(curve.sum() / 100),
        float(np.interp(finer[best], places, thresholds)),
    )


def _shares(counts: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    hit, drawn, right, found = np.moveaxis(counts, -1, 0)
    return hit / np.maximum(drawn, 1), right / np.maximum(found, 1)


def _f(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> NDArray[np.float64]:
    return 2 * recall * precision / np.maximum(recall + precision, 1e-12)
