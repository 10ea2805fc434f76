"""Strokes as a person might draw them, made from a mask.

Each connected region gets a stroke along its middle from one end towards the other, which stops
short of both and wobbles; a long side branch gets one of its own. No stroke leaves its region.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass
from scipy.ndimage import find_objects, gaussian_filter1d
from scipy.spatial.distance import cdist

from bpg.constants import IGNORE
from bpg.data.middle_paths import middle_paths, widest_grid
from bpg.data.strokes import Line, Pixels, Shape, Stroke, Strokes, covered
from bpg.errors import BPGError
from bpg.opencv import cv2
from bpg.options import NO_EXTRA, NUMBER, Share

_GRID = 8  # points are on eighths of a pixel: decimal and binary numbers without rounding
_GIVEN_UP = 1 / 64


@dataclass(frozen=True, config=NO_EXTRA)
class HandOptions:
    """How strokes are drawn.

    Attributes:
        length: Share of the way from one end of a region to the other that a stroke runs along.
        width: Width of a stroke in pixels; strokes in thinner regions are narrower.
        share: Probability that a region gets strokes. Each region has its own random number: those
            that have strokes at a smaller share have the same ones at a larger share.
        jitter: How far the hand strays from the middle: the standard deviation as a share of the
            room up to the region's border; 0 follows the middle.
        min_size: Smallest region that gets strokes, as a share of the image's pixels.
        background: Whether label 0 gets strokes, too.
    """

    length: Share = 0.7
    width: Annotated[float, Field(ge=1, le=1000), NUMBER] = 3.0
    share: Share = 1.0
    jitter: Annotated[float, Field(ge=0, le=1), NUMBER] = 0.2
    min_size: Annotated[float, Field(ge=0, le=1), NUMBER] = 0.002
    background: bool = True


def draw_strokes(
    mask: NDArray[np.uint8], classes: Sequence[str], options: HandOptions, seed: Sequence[int]
) -> Strokes:
    """Draw strokes on the regions of a mask, region by region in the order of their labels.

    A region is a part of one label that is connected by the sides of its pixels. At the width of
    the options, each stroke covers pixels of its region alone. A stroke that is narrower because
    its region is has its pixels as its shape; all others are lines.

    Args:
        mask: Labels 0..K, 255 where nothing is known; uint8 (H, W).
        classes: Class names by label, K + 1 of them.
        options: How to draw.
        seed: What the hand's chance follows from, numbers from 0; another mask should have another.

    Raises:
        BPGError: A label has no name; the message names the label and a pixel.
    """
    _check_labels(mask, len(classes))
    height, width = mask.shape
    strokes = []
    for label, number, (top, left), region in _regions(mask, options):
        rng = np.random.default_rng([*seed, label, number])
        if rng.random() < options.share:
            strokes += [
                Stroke(classes[label], _moved(shape, left, top))
                for shape in _region_strokes(region, options, rng)
            ]
    return Strokes(width, height, tuple(strokes))


def _check_labels(mask: NDArray[np.uint8], labels: int) -> None:
    wrong = (mask >= labels) & (mask != IGNORE)
    if wrong.any():
        row, column = np.unravel_index(int(wrong.argmax()), mask.shape)
        raise BPGError(
            f"label {mask[row, column]} in column {column}, row {row} has no name: "
            f"{labels} classes are named, for labels 0 to {labels - 1}; name all of them"
        )


def _regions(
    mask: NDArray[np.uint8], options: HandOptions
) -> Iterator[tuple[int, int, tuple[int, int], NDArray[np.bool_]]]:
    """Yield label, number among the label's regions, (top, left) of its box, and bool (h, w).

    A margin of one pixel lies around it: what leaves the box is outside, and the image's border
    counts as a border, along which nobody draws.
    """
    least = max(1, options.min_size * mask.size)
    # It takes 0 for nothing, hence one more; 255 becomes 0.
    for label, box in enumerate(find_objects(mask + np.uint8(1))):
        if box is None or (label == 0 and not options.background):
            continue
        top, left = box[0].start, box[1].start
        _, parts, stats, _ = cv2.connectedComponentsWithStats(
            (mask[box] == label).astype(np.uint8), connectivity=4
        )
        for number in np.flatnonzero(stats[:, cv2.CC_STAT_AREA] >= least).tolist():
            if number:  # 0 is the rest
                x, y, width, height, _ = stats[number].tolist()
                part = parts[y : y + height, x : x + width] == number
                yield label, number, (top + y - 1, left + x - 1), np.pad(part, 1)


def _moved(shape: Line | Pixels, left: int, top: int) -> Shape:
    if isinstance(shape, Pixels):
        return Pixels(shape.left + left, shape.top + top, shape.mask)
    return Line(tuple((x + left, y + top) for x, y in shape.points))


def _region_strokes(
    region: NDArray[np.bool_], options: HandOptions, rng: np.random.Generator
) -> Iterator[Line | Pixels]:
    grid, line_width = widest_grid(region, options.width)
    centres = grid.centres()
    room = (grid.depth[grid.inside] - line_width / 2).clip(0)
    for path in middle_paths(grid, rng):
        kept = path[_middle_part(centres[path], options.length, rng)]
        stray = room[kept] * options.jitter
        line = _by_hand(centres[kept], stray, region, line_width, grid.factor, rng)
        if line_width == options.width:
            yield line
        else:
            yield covered(line, region.shape[1], region.shape[0], line_width)


def _middle_part(
    places: NDArray[np.float64], length: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Choose the places of a path, (n, 2), that a stroke covers: a share `length` of the way."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(places, axis=0).T))])
    cut = (1 - length) * along[-1]
    begin = cut * rng.uniform(0.3, 0.7)
    kept: NDArray[np.bool_] = (along >= begin - 1e-9) & (along <= begin + along[-1] - cut + 1e-9)
    if not kept.any():
        kept[np.abs(along - along[-1] / 2).argmin()] = True
    return kept


def _by_hand(
    chain: NDArray[np.float64],
    stray: NDArray[np.floating],
    region: NDArray[np.bool_],
    width: float,
    spacing: float,
    rng: np.random.Generator,
) -> Line:
    """Return a smooth and wobbling line whose pixels are all in the region.

    Where the hand leaves it, it is pulled back towards the chain.

    Args:
        chain: Places that are safe, one after the other: (n, 2), x and y.
        stray: By place, the standard deviation from the middle in pixels, (n,).
        region: bool (H, W).
        width: Of the line.
        spacing: Distance of neighbouring places.
        rng: The hand.
    """
    count = len(chain)
    if count < 3:
        return _line(chain)
    bend = count / 20 + 1
    # Mirrored about its ends, so that these stay where they are.
    around = np.pad(chain, ((count - 1,) * 2, (0, 0)), "reflect", reflect_type="odd")
    smooth = gaussian_filter1d(around, bend, axis=0)[count - 1 : 2 * count - 1]
    noise = gaussian_filter1d(rng.normal(size=count), 2 * bend, mode="reflect")
    noise = (noise - noise.mean()) / max(float(noise.std()), 1e-9)
    direction = np.gradient(smooth, axis=0)
    across = direction[:, ::-1] * (-1, 1) / np.maximum(np.hypot(*direction.T), 1e-9)[:, None]
    wanted = smooth + across * (noise * gaussian_filter1d(stray, bend))[:, None]
    trust = np.ones(count)
    while True:
        points = chain + trust[:, None] * (wanted - chain)
        outside = _outside(_line(points), region, width)
        if not len(outside):
            break
        near = (cdist(outside, points) <= width / 2 + 2 * spacing).any(0)
        # A long segment may leave it in its middle, far from both of its points.
        near = near if (near & (trust > 0)).any() else np.ones(count, bool)
        trust[near] /= 2
        trust[trust < _GIVEN_UP] = 0
        if not trust.any():
            return _line(chain)
    for step in (4, 2):
        fewer = _line(np.concatenate([points[:-1:step], points[-1:]]))
        if not len(_outside(fewer, region, width)):
            return fewer
    return _line(points)


def _line(points: NDArray[np.float64]) -> Line:
    rounded = np.round(points * _GRID) / _GRID
    return Line(tuple((x, y) for x, y in rounded.tolist()))


def _outside(line: Line, region: NDArray[np.bool_], width: float) -> NDArray[np.float64]:
    """Return some places where a line leaves the region, or covers pixels outside of it, (n, 2)."""
    pixels = covered(line, region.shape[1], region.shape[0], width)
    height, length = pixels.mask.shape
    box = region[pixels.top : pixels.top + height, pixels.left : pixels.left + length]
    rows, columns = np.nonzero(pixels.mask & ~box)
    found = np.stack([columns + pixels.left, rows + pixels.top], 1)[:: 1 + len(rows) // 200] + 0.5
    points = np.array(line.points)
    beyond = (points < 0) | (points > region.shape[::-1])
    return np.concatenate([found, points[beyond.any(1)]])
