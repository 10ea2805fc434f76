"""Strokes and labels brought from one frame to another: a turned or a shrunk copy of the image."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bpg.data.photographs import UPRIGHT, upright
from bpg.data.strokes import Area, Line, Pixels, Point, Shape, Strokes
from bpg.opencv import cv2
from bpg.resize import shrunk_size

_KEPT = 0.25
"""Share of a pixel of the shrunk image that must have been painted, so that it counts as painted:
less than half, or thin strokes would break."""


def turned(shape: Shape, orientation: int, width: int, height: int) -> Shape:
    """Bring a shape from the image as stored to the image as shown.

    Args:
        shape: In the frame of the stored pixels.
        orientation: EXIF's, 1..8.
        width: Of the image as shown.
        height: Of the image as shown.
    """

    transposed, mirrored = UPRIGHT[orientation]

    def point(place: Point) -> Point:
        x, y = reversed(place) if transposed else place
        return width - x if 1 in mirrored else x, height - y if 0 in mirrored else y

    match shape:
        case Line(points):
            return Line(tuple(map(point, points)))
        case Area(outlines):
            return Area(tuple(tuple(map(point, outline)) for outline in outlines))
        case Pixels(left, top, mask):
            corners = (
                point((left, top)),
                point((left + mask.shape[1], top + mask.shape[0])),
            )
            (x0, y0), (x1, y1) = corners
            turned_mask = np.ascontiguousarray(upright(mask, orientation))
            return Pixels(int(min(x0, x1)), int(min(y0, y1)), turned_mask)


def resized(shape: Shape, before: tuple[int, int], after: tuple[int, int]) -> Shape:
    """Bring a shape from an image to a resized copy of it.

    Args:
        shape: In the frame of the image.
        before: (width, height) of the image.
        after: (width, height) of the copy.
    """
    if before == after:
        return shape
    across, down = after[0] / before[0], after[1] / before[1]

    def point(place: Point) -> Point:
        return place[0] * across, place[1] * down

    match shape:
        case Line(points):
            return Line(tuple(map(point, points)))
        case Area(outlines):
            return Area(tuple(tuple(map(point, outline)) for outline in outlines))
        case Pixels():
            return _resampled(shape, before, after)


def resized_strokes(strokes: Strokes, width: int, height: int) -> Strokes:
    """Bring an image's strokes to a copy of it of another size.

    Args:
        strokes: With the size of the image.
        width: Of the copy, in pixels.
        height: Of the copy, in pixels.
    """
    before, after = (strokes.width, strokes.height), (width, height)
    moved = (replace(one, shape=resized(one.shape, before, after)) for one in strokes.strokes)
    return Strokes(width, height, tuple(moved))


def shrunk_labels(labels: NDArray[np.uint8], size: Sequence[int]) -> NDArray[np.uint8]:
    """Shrink a label map: each pixel gets the label of the pixel at its centre.

    Args:
        labels: uint8 (H, W).
        size: Height and width of the result.
    """
    return cv2.resize(labels, tuple(size)[::-1], interpolation=cv2.INTER_NEAREST_EXACT)  # type: ignore[return-value]


def _resampled(pixels: Pixels, before: tuple[int, int], after: tuple[int, int]) -> Pixels:
    across, down = after[0] / before[0], after[1] / before[1]
    height, width = pixels.mask.shape
    left, top = int(pixels.left * across), int(pixels.top * down)
    right = min(after[0], int(np.ceil((pixels.left + width) * across)) + 1)
    bottom = min(after[1], int(np.ceil((pixels.top + height) * down)) + 1)
    if right <= left or bottom <= top or not pixels.mask.any():
        return Pixels(0, 0, np.zeros((0, 0), bool))
    rows = _shares(height, pixels.top, bottom - top, top, down)
    columns = _shares(width, pixels.left, right - left, left, across)
    painted = rows @ pixels.mask.astype(np.float32) @ columns.T
    mask = painted >= _KEPT
    if not mask.any():  # thinner than a pixel now: where it was
        mask = painted >= 0.5 * painted.max()
    return Pixels(left, top, mask)


def _shares(
    length: int, first: int, new_length: int, new_first: int, factor: float
) -> NDArray[np.float32]:
    """Return which share of each new pixel (row) each old pixel (column) covers, along one axis."""
    old = (first + np.arange(length + 1)) * factor
    new = new_first + np.arange(new_length + 1)
    low = np.maximum(new[:-1, None], old[None, :-1])
    high = np.minimum(new[1:, None], old[None, 1:])
    return np.maximum(high - low, 0).astype(np.float32)


def small_copy(image: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """Return a small copy of an image to look at; `bpg.resize` makes those that networks see.

    Args:
        image: uint8 (H, W, 3).
        longest: Longer side of the copy, in pixels; smaller images stay as they are.
    """
    height, width = shrunk_size(image.shape[:2], longest)
    if (height, width) == image.shape[:2]:
        return image
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]
