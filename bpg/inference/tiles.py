"""Large images in overlapping tiles: memory for a tile, not for the image, and no seams.

A tile sees what the whole image would show there. At each scale, pixels are resized by the weights
of the whole image, and a tile begins at a multiple of 8 of the scaled image, where the network's
grid of features (`bpg.grid`) has a sample: so both have the same grid. Mirrored, the image begins
at its right side, so that a tile also ends a multiple of 8 before that. What is left is the
network's view beyond the tile's border, and of that the middle of a tile sees little: the
`overlap`.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from bpg.inference.options import InferenceOptions
from bpg.resize import Axis, axis, resample

STRIDE = 8

Logits = Callable[[np.ndarray], np.ndarray]
"""float32 (N, H, W, 3) to float32 (N, K+1, H, W)."""


class Part(NamedTuple):
    """Rows or columns `first`..`last` - 1."""

    first: int
    last: int

    def widened(self, by: int, size: int) -> "Part":
        """Return it with `by` more on both sides, within 0..`size`."""
        return Part(max(0, self.first - by), min(size, self.last + by))

    def within(self, other: "Part") -> slice:
        """Return where it is in `other`."""
        return slice(self.first - other.first, self.last - other.first)

    @property
    def slice(self) -> slice:
        """It as a slice."""
        return slice(self.first, self.last)


def parts(size: int, length: int) -> Iterator[Part]:
    """Divide 0..`size` into parts of nearly equal length, at most `length` each."""
    number = -(-size // length)
    edges = [size * place // number for place in range(number + 1)]
    yield from (Part(first, last) for first, last in pairwise(edges))


def tiles(height: int, width: int, *, tile: int, overlap: int) -> Iterator[tuple[Part, Part]]:
    """Divide an image into the middles of its tiles.

    Args:
        height: Of the image.
        width: Of the image.
        tile: Side of what the network sees at a time at scale 1, in pixels. An image that is not
            larger is one tile.
        overlap: Of that, so much on each side is seen by the neighbours, too.

    Yields:
        Rows and columns of a middle; together they are the image.
    """
    length = tile - 2 * overlap
    for rows in parts(height, height if height <= tile else length):
        for columns in parts(width, width if width <= tile else length):
            yield rows, columns


def region_probabilities(
    logits: Logits,
    image: np.ndarray,
    rows: Part,
    columns: Part,
    options: InferenceOptions,
    *,
    overlap: int,
) -> np.ndarray:
    """Average class probabilities over scales and flips, as `multiscale_probabilities` does.

    Args:
        logits: The network.
        image: uint8 (H, W, 3), RGB, the whole.
        rows: Those to do.
        columns: Those to do.
        options: The scales, and whether to add the mirror images.
        overlap: Pixels around them that the network sees, at every scale.

    Returns:
        float32 (K+1, rows, columns) in 0..1.
    """
    total: np.ndarray | None = None
    for scale in options.scales:
        down, across = (
            _View.of(size, scale, part, overlap)
            for size, part in zip(image.shape[:2], (rows, columns), strict=True)
        )
        seen = across.see(down.see(image, 0), 1).astype(np.float32)
        pixels = np.stack([seen, seen[:, ::-1]]) if options.flip else seen[None]
        found = logits(np.ascontiguousarray(pixels))
        if options.flip:
            found[1] = found[1][:, :, ::-1]
        wide = across.bring_back(down.bring_back(found, 2), 3)
        mean = _softmax(wide).mean(0)
        total = mean if total is None else np.add(total, mean, out=total)
    assert total is not None  # there is at least one scale
    total /= len(options.scales)
    return total


class _View(NamedTuple):
    """What is seen along one axis, of the image at one scale.

    Attributes:
        seen: Pixels of the scaled image.
        part: Pixels of the image itself, to be made from them.
        scaling: From the image to the scaled one; None: the same.
        return_: From the scaled image to the image.
    """

    seen: Part
    part: Part
    scaling: Axis | None
    return_: Axis | None

    @classmethod
    def of(cls, size: int, scale: float, part: Part, overlap: int) -> "_View":
        scaled = max(1, round(size * scale))
        if scaled == size:
            return cls(_on_the_grid(part.widened(overlap, size), size), part, None, None)
        back = axis(scaled, size, antialias=False)
        reach = Part(*back.reach(*part)).widened(overlap, scaled)
        scaling = axis(size, scaled, antialias=scale < 1)
        return cls(_on_the_grid(reach, scaled), part, scaling, back)

    def see(self, image: np.ndarray, along: int) -> np.ndarray:
        """Return the seen pixels, along one axis of the image."""
        if self.scaling is not None:
            return resample(image, along, self.scaling, *self.seen)
        return image[self.seen.slice] if along == 0 else image[:, self.seen.slice]

    def bring_back(self, maps: np.ndarray, along: int) -> np.ndarray:
        """Return the part, along one axis of maps of the seen pixels."""
        if self.return_ is not None:
            return resample(maps, along, self.return_, *self.part, offset=self.seen.first)
        inside = self.part.within(self.seen)
        return maps[:, :, inside] if along == 2 else maps[..., inside]


def _on_the_grid(part: Part, size: int) -> Part:
    """Widen a part to begin a multiple of 8 after 0, and to end a multiple of 8 before `size`."""
    return Part(part.first // STRIDE * STRIDE, size - (size - part.last) // STRIDE * STRIDE)


def _softmax(maps: np.ndarray) -> np.ndarray:
    powers = np.exp(maps - maps.max(1, keepdims=True))
    powers /= powers.sum(1, keepdims=True)
    return powers
