"""Strokes on an image, and the labels of the pixels that they cover.

Coordinates are in pixels, x to the right and y downwards from the image's upper left corner: the
pixel in column i and row j covers i..i+1 and j..j+1, and its centre is (i + 1/2, j + 1/2).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bpg.constants import IGNORE
from bpg.errors import BPGError

Point = tuple[float, float]

_ROWS_AT_ONCE = 2**18
"""Rows of segments that are computed together: some 20 MB."""


@dataclass(frozen=True)
class Line:
    """A polyline with round joints and ends; a single point is a dot."""

    points: tuple[Point, ...]


@dataclass(frozen=True)
class Area:
    """What closed outlines enclose, by the even-odd rule: an outline inside another is a hole."""

    outlines: tuple[tuple[Point, ...], ...]


@dataclass(frozen=True, eq=False)
class Pixels:
    """Painted pixels: `mask` is bool (h, w), its first pixel in column `left` and row `top`."""

    left: int
    top: int
    mask: NDArray[np.bool_]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Pixels):
            return NotImplemented
        place = (self.left, self.top) == (other.left, other.top)
        return place and np.array_equal(self.mask, other.mask)

    def __hash__(self) -> int:
        return hash((self.left, self.top, self.mask.shape, self.mask.tobytes()))


Shape = Line | Area | Pixels


@dataclass(frozen=True)
class Stroke:
    """One stroke of an annotator.

    Attributes:
        tag: Name of its class; None for pixels that are to stay unlabelled.
        shape: Where it is.
    """

    tag: str | None
    shape: Shape


@dataclass(frozen=True)
class Strokes:
    """All strokes on an image of `width` x `height` pixels, in drawing order."""

    width: int
    height: int
    strokes: tuple[Stroke, ...] = field(default=())


def shortened(shape: Shape, share: float) -> Shape:
    """Return the part of a line around its middle; areas and pixels stay as they are.

    Args:
        shape: In the image's frame.
        share: Of the line's length, in 0..1; 0 leaves a dot.
    """
    if not isinstance(shape, Line) or share == 1 or len(shape.points) == 1:
        return shape
    points = np.array(shape.points, float)
    reached = np.hypot(*np.diff(points, axis=0).T).cumsum()
    places = np.concatenate([[0.0], reached])
    total = places[-1]
    ends = (1 - share) / 2 * total, (1 + share) / 2 * total
    kept = points[(places > ends[0]) & (places < ends[1])]
    first, last = (np.array([np.interp(end, places, axis) for axis in points.T]) for end in ends)
    found = [first, *kept, last] if share > 0 and total > 0 else [first]
    return Line(tuple((float(x), float(y)) for x, y in found))


def covered(shape: Shape, width: int, height: int, line_width: float) -> Pixels:
    """Return the pixels that a shape covers, as the smallest box that holds them.

    A line covers the pixels whose centre lies within half the line's width of it, an area those
    whose centre lies inside. What lies beyond the image's border is cut off.

    Args:
        shape: A line, an area or pixels.
        width: Of the image.
        height: Of the image.
        line_width: Width of lines in pixels.

    Returns:
        The pixels; a box of 0x0 pixels if there are none.
    """
    match shape:
        case Line(points):
            return _cropped(*_line(points, width, height, line_width / 2))
        case Area(outlines):
            return _cropped(*_area(outlines, width, height))
        case Pixels(left, top, mask):
            rows = slice(max(0, -top), max(0, height - top))
            columns = slice(max(0, -left), max(0, width - left))
            return _cropped(mask[rows, columns], max(0, left), max(0, top))


def rasterise(strokes: Strokes, classes: Sequence[str], line_width: float) -> NDArray[np.uint8]:
    """Draw strokes as a label map; later strokes lie on top.

    Args:
        strokes: What to draw, and the size of the image.
        classes: Class names; a stroke's label is the index of its tag among them.
        line_width: Width of the lines in pixels.

    Returns:
        Labels, uint8 (H, W), 255 where nothing is drawn.

    Raises:
        BPGError: A tag is not in `classes`; the message names the stroke and the valid tags.
    """
    labels = {name: label for label, name in enumerate(classes)}
    drawn = np.full((strokes.height, strokes.width), IGNORE, np.uint8)
    for number, stroke in enumerate(strokes.strokes, 1):
        if stroke.tag is not None and stroke.tag not in labels:
            raise BPGError(
                f"stroke {number}: unknown tag {stroke.tag[:40]!r}; "
                f"the tags are {', '.join(classes)}"
            )
        label = IGNORE if stroke.tag is None else labels[stroke.tag]
        paint(drawn, covered(stroke.shape, strokes.width, strokes.height, line_width), label)
    return drawn


def paint(drawn: NDArray[np.uint8], pixels: Pixels, label: int) -> None:
    """Write a label into the pixels of a label map.

    Args:
        drawn: The label map, uint8 (H, W), changed in place.
        pixels: What `covered` returns for this size.
        label: 0..255.
    """
    height, width = pixels.mask.shape
    box = drawn[pixels.top : pixels.top + height, pixels.left : pixels.left + width]
    box[pixels.mask] = label


def _cropped(mask: NDArray[np.bool_], left: int, top: int) -> Pixels:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return Pixels(0, 0, np.zeros((0, 0), bool))
    first, last = (rows[0], columns[0]), (rows[-1] + 1, columns[-1] + 1)
    box = mask[first[0] : last[0], first[1] : last[1]]
    return Pixels(left + int(first[1]), top + int(first[0]), box)


def _line(
    points: Sequence[Point], width: int, height: int, radius: float
) -> tuple[NDArray[np.bool_], int, int]:
    """Return the covered pixels (bool), and the column and row of the first."""
    corners = np.array(points, float).reshape(-1, 2)
    box = _Box(corners, width, height, radius)
    starts, ends = corners[:-1], corners[1:]
    if len(corners) == 1:
        starts = ends = corners
    # Each segment covers an interval of every row that it meets: its ends are added up, +1 where it
    # begins and -1 behind it.
    changes = np.zeros((box.rows, box.columns + 1), np.int32)
    first = np.clip(np.ceil(np.minimum(starts[:, 1], ends[:, 1]) - radius - 0.5), box.top, None)
    last = np.clip(
        np.floor(np.maximum(starts[:, 1], ends[:, 1]) + radius - 0.5), None, box.bottom - 1
    )
    counts = np.maximum(last - first + 1, 0).astype(np.int64)
    for chunk in _chunks(counts):
        segment = np.repeat(np.arange(len(counts))[chunk], counts[chunk])
        within = np.arange(len(segment)) - np.repeat(
            np.cumsum(counts[chunk]) - counts[chunk], counts[chunk]
        )
        row = first[segment].astype(np.int64) + within
        low, high = _interval(starts[segment], ends[segment], row + 0.5, radius)
        begin = np.clip(np.ceil(low - 0.5), box.left, box.right).astype(np.int64)
        end = np.clip(np.floor(high - 0.5) + 1, box.left, box.right).astype(np.int64)
        some = end > begin
        np.add.at(changes, (row[some] - box.top, begin[some] - box.left), 1)
        np.add.at(changes, (row[some] - box.top, end[some] - box.left), -1)
    return changes.cumsum(1)[:, :-1] > 0, box.left, box.top


def _interval(
    start: NDArray[np.float64], end: NDArray[np.float64], y: NDArray[np.float64], radius: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return which x of row y lie within `radius` of a segment: it is convex, so an interval.

    It is the hull of what two discs and the strip between them cover; empty as (inf, -inf).
    """
    low, high = np.full(len(y), np.inf), np.full(len(y), -np.inf)
    for centre in (start, end):
        inside = radius**2 - (y - centre[:, 1]) ** 2
        reach = np.sqrt(np.maximum(inside, 0))
        low = np.where(inside >= 0, np.minimum(low, centre[:, 0] - reach), low)
        high = np.where(inside >= 0, np.maximum(high, centre[:, 0] + reach), high)
    dx, dy = (end - start).T
    length = np.hypot(dx, dy)
    down = y - start[:, 1]
    # |u dy - down dx| <= radius length and 0 <= u dx + down dy <= length², u = x - start
    across = _between(dy, down * dx - radius * length, down * dx + radius * length)
    along = _between(dx, -down * dy, length**2 - down * dy)
    left, right = np.maximum(across[0], along[0]), np.minimum(across[1], along[1])
    some = (length > 0) & (left <= right)
    low = np.where(some, np.minimum(low, start[:, 0] + left), low)
    high = np.where(some, np.maximum(high, start[:, 0] + right), high)
    return low, high


def _between(
    factor: NDArray[np.float64], least: NDArray[np.float64], most: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the interval of u with least <= factor u <= most."""
    with np.errstate(all="ignore"):
        one, other = least / factor, most / factor
    always = (factor == 0) & (least <= 0) & (most >= 0)
    never = (factor == 0) & ~always
    low = np.where(always, -np.inf, np.where(never, np.inf, np.minimum(one, other)))
    high = np.where(always, np.inf, np.where(never, -np.inf, np.maximum(one, other)))
    return low, high


def _area(
    outlines: Sequence[Sequence[Point]], width: int, height: int
) -> tuple[NDArray[np.bool_], int, int]:
    """Return the pixels inside (bool), and the column and row of the first."""
    edges = [pair for outline in outlines for pair in pairwise((*outline, *outline[:1]))]
    ends = np.array(edges, float).reshape(-1, 2, 2)
    box = _Box(ends.reshape(-1, 2), width, height, 0)
    upper = np.where(ends[:, :1, 1:] <= ends[:, 1:, 1:], ends[:, :1], ends[:, 1:])[:, 0]
    lower = np.where(ends[:, :1, 1:] <= ends[:, 1:, 1:], ends[:, 1:], ends[:, :1])[:, 0]
    # An edge crosses the rows whose centre is at or below its upper end and above its lower one.
    first = np.clip(np.ceil(upper[:, 1] - 0.5), box.top, None)
    last = np.clip(np.ceil(lower[:, 1] - 0.5) - 1, None, box.bottom - 1)
    counts = np.maximum(last - first + 1, 0).astype(np.int64)
    crossings = np.zeros((box.rows, box.columns + 1), np.int32)
    for chunk in _chunks(counts):
        edge = np.repeat(np.arange(len(counts))[chunk], counts[chunk])
        within = np.arange(len(edge)) - np.repeat(
            np.cumsum(counts[chunk]) - counts[chunk], counts[chunk]
        )
        row = first[edge].astype(np.int64) + within
        share = (row + 0.5 - upper[edge, 1]) / (lower[edge, 1] - upper[edge, 1])
        x = upper[edge, 0] + share * (lower[edge, 0] - upper[edge, 0])
        column = np.clip(np.ceil(x - 0.5), box.left, box.right).astype(np.int64)
        np.add.at(crossings, (row - box.top, column - box.left), 1)
    return crossings.cumsum(1)[:, :-1] % 2 == 1, box.left, box.top


class _Box:
    """The part of the image that may be covered: columns left..right-1 and rows top..bottom-1."""

    def __init__(self, corners: NDArray[np.float64], width: int, height: int, margin: float):
        extent = np.array([width, height])
        least = np.floor(corners.min(0) - margin).clip(0, extent).astype(int)
        most = np.ceil(corners.max(0) + margin).clip(0, extent).astype(int)
        self.left, self.top = least.tolist()
        self.right, self.bottom = np.maximum(most, least).tolist()
        self.columns, self.rows = self.right - self.left, self.bottom - self.top


def _chunks(counts: NDArray[np.int64]) -> list[slice]:
    """Cut segments into parts of at most `_ROWS_AT_ONCE` rows together, or one segment."""
    total = np.cumsum(counts)
    cuts, begin = [], 0
    while begin < len(counts):
        before = total[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(total, before + _ROWS_AT_ONCE, "right")))
        cuts.append(slice(begin, end))
        begin = end
    return cuts
