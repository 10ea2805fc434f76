"""What drawing and erasing do to strokes."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bpg.data.strokes import Area, Line, Pixels, Point, Shape, Stroke, covered

_STEP = 0.5  # pixels between two places on a line that are looked at when it is erased


def thick(points: Sequence[Point], brush: float, width: int, height: int) -> Shape:
    """Return what a wide brush paints: pixels, for a line has the width of its data set.

    Args:
        points: Of the brush's way, in pixels of the image.
        brush: Its width in pixels.
        width: Of the image.
        height: Of the image.
    """
    return covered(Line(tuple(points)), width, height, brush)


def erased(
    stroke: Stroke, points: Sequence[Point], rubber: float, width: int, height: int
) -> list[Stroke] | None:
    """Take from a stroke what an eraser went over.

    A line becomes the parts of it that are farther from the eraser's way than half its width; areas
    and pixels lose the pixels that it covers.

    Args:
        stroke: Where it is drawn.
        points: Of the eraser's way, in pixels of the image.
        rubber: Its width in pixels.
        width: Of the image.
        height: Of the image.

    Returns:
        What is left, in pieces; None if the eraser did not touch it.
    """
    if isinstance(stroke.shape, Line):
        pieces = _cut(np.array(stroke.shape.points, float), np.array(points, float), rubber / 2)
        if pieces is None:
            return None
        return [Stroke(stroke.tag, Line(_as_points(piece))) for piece in pieces]
    pixels = covered(stroke.shape, width, height, 1)
    left = _without(pixels, covered(Line(tuple(points)), width, height, rubber))
    if left is None:
        return None
    return [Stroke(stroke.tag, left)] if left.mask.any() else []


def _cut(
    line: NDArray[np.float64], way: NDArray[np.float64], radius: float
) -> list[NDArray[np.float64]] | None:
    low, high = way.min(0) - radius, way.max(0) + radius
    if (line.max(0) < low).any() or (line.min(0) > high).any():
        return None
    places = _dense(line)
    near = ((places >= low) & (places <= high)).all(axis=1)
    kept = ~near
    kept[near] = _distance(places[near], way) > radius
    if kept.all():
        return None
    corners = np.zeros(len(places), bool)
    corners[_corner_places(line)] = True
    pieces = []
    for first, last in _runs(kept):
        # Its ends, and the corners between them: as few points as it had.
        chosen = corners[first:last].copy()
        chosen[[0, -1]] = True
        piece = places[first:last][chosen]
        if len(piece) > 1 or len(line) == 1:
            pieces.append(piece)
    return pieces


def _dense(line: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a line's corners and places between them, no two farther apart than `_STEP`."""
    parts = [
        start + (end - start) * np.arange(count)[:, None] / count
        for start, end, count in zip(line[:-1], line[1:], _counts(line), strict=True)
    ]
    return np.concatenate([*parts, line[-1:]])


def _corner_places(line: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(_counts(line))]).astype(np.int64)


def _counts(line: NDArray[np.float64]) -> list[int]:
    lengths = np.hypot(*np.diff(line, axis=0).T) if len(line) > 1 else np.zeros(0)
    return [max(1, int(np.ceil(length / _STEP))) for length in lengths]


def _distance(places: NDArray[np.float64], way: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far places are from a polyline, in pixels."""
    nearest = np.hypot(*(places - way[0]).T)
    for start, end in pairwise(way):
        along = end - start
        length = float(along @ along)
        share = ((places - start) @ along / length).clip(0, 1) if length else 0 * places[:, 0]
        nearest = np.minimum(nearest, np.hypot(*(places - start - share[:, None] * along).T))
    return nearest


def _runs(kept: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the (first, behind the last) of consecutive places that are kept."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], kept.astype(np.int8), [0]])))
    return [(int(first), int(last)) for first, last in zip(edges[::2], edges[1::2], strict=True)]


def _without(pixels: Pixels, rubbed: Pixels) -> Pixels | None:
    mask = pixels.mask.copy()
    height, width = mask.shape
    top, left = rubbed.top - pixels.top, rubbed.left - pixels.left
    rows = slice(max(0, top), min(height, top + rubbed.mask.shape[0]))
    columns = slice(max(0, left), min(width, left + rubbed.mask.shape[1]))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return None
    part = rubbed.mask[
        rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
    ]
    if not (mask[rows, columns] & part).any():
        return None
    mask[rows, columns] &= ~part
    return Pixels(pixels.left, pixels.top, mask)


def _as_points(piece: NDArray[np.float64]) -> tuple[Point, ...]:
    return tuple((float(x), float(y)) for x, y in piece)


def outline(shape: Shape) -> list[list[list[float]]]:
    """Return what of a shape is drawn as polylines: a line's points, an area's closed outlines."""
    match shape:
        case Line(points):
            return [[[x, y] for x, y in points]]
        case Area(outlines):
            return [[[x, y] for x, y in (*one, one[0])] for one in outlines]
        case Pixels():
            return []
