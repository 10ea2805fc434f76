"""Bilinear resizing in NumPy, in parts: the numbers of `torch.nn.functional.interpolate`."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

STRIP = 2**22
"""Numbers that are resized at a time, which bounds the memory."""


@dataclass(frozen=True)
class Axis:
    """How the samples along one axis follow from others: weighted sums of neighbours.

    Attributes:
        places: Of each sample's neighbours, int64 (large, taps).
        weights: Theirs, float32 (large, taps); a row adds up to 1.
    """

    places: np.ndarray
    weights: np.ndarray

    def reach(self, first: int, last: int) -> tuple[int, int]:
        """Return the range of neighbours that samples `first`..`last` - 1 are made of."""
        used = self.places[first:last]
        return int(used.min()), int(used.max()) + 1


def axis(size: int, wanted: int, *, antialias: bool) -> Axis:
    """Describe resizing from `size` samples to `wanted`, with half-pixel centres.

    Args:
        size: Samples that there are.
        wanted: Samples to make of them.
        antialias: Whether, to shrink, each new sample averages all that it covers (a triangle as
            wide as the step, as in Pillow), instead of its two neighbours.
    """
    step = size / wanted
    width = max(1.0, step) if antialias else 1.0
    centres = (np.arange(wanted) + 0.5) * step - 0.5
    if not antialias:
        centres = centres.clip(0, size - 1)
    first = np.floor(centres - width).astype(np.int64) + 1
    places = first[:, None] + np.arange(int(np.ceil(2 * width)))
    weights = (1 - np.abs(places - centres[:, None]) / width).clip(0)
    weights[(places < 0) | (places >= size)] = 0
    weights /= weights.sum(1, keepdims=True)
    return Axis(places.clip(0, size - 1), weights.astype(np.float32))


def resample(
    array: np.ndarray, along: int, by: Axis, first: int, last: int, offset: int = 0
) -> np.ndarray:
    """Make samples `first`..`last` - 1 along an axis.

    Args:
        array: Any shape; its samples along the axis begin with number `offset`.
        along: The axis.
        by: How.
        first: Number of the first sample to make.
        last: One more than the last.
        offset: Number of the first sample that is there.

    Returns:
        float32.
    """
    shape = [1] * array.ndim
    shape[along] = last - first
    total: np.ndarray | None = None
    for tap in range(by.places.shape[1]):
        weights = by.weights[first:last, tap]
        if not weights.any():
            continue
        # What weighs nothing may lie outside of a part.
        places = (by.places[first:last, tap] - offset).clip(0, array.shape[along] - 1)
        part = array.take(places, along) * weights.reshape(shape)
        total = part if total is None else np.add(total, part, out=total)
    assert total is not None  # the weights of a sample add up to 1
    return total


def shrunk_size(size: Sequence[int], longest_side: int | None) -> tuple[int, int]:
    """Return the height and width at which the longer side has at most so many pixels.

    Args:
        size: Height and width in pixels.
        longest_side: None: any number.
    """
    height, width = size
    longest = max(height, width)
    if longest_side is None or longest <= longest_side:
        return height, width
    return tuple(max(1, round(extent * longest_side / longest)) for extent in (height, width))  # type: ignore[return-value]


def shrink(image: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Shrink an image with antialiasing, in strips.

    Args:
        image: uint8 (H, W, C).
        size: Height and width of the result, at most H and W.

    Returns:
        uint8 (*size, C), rounded to the nearest.
    """
    if tuple(size) == image.shape[:2]:
        return image
    rows, columns = (
        axis(old, new, antialias=True) for old, new in zip(image.shape[:2], size, strict=True)
    )
    result = np.empty((*size, image.shape[2]), np.uint8)
    strip = max(1, STRIP // (image.shape[1] * image.shape[2]))
    for first in range(0, size[0], strip):
        last = min(size[0], first + strip)
        tall = resample(image, 0, rows, first, last)
        wide = resample(tall, 1, columns, 0, size[1])
        result[first:last] = np.rint(wide).clip(0, 255)
    return result
