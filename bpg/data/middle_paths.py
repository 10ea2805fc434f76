"""Paths along the middle of a region, on which strokes of a given width stay inside.

A path is a chain of neighbouring pixels around which a disc of the stroke's width lies inside the
region; a diagonal step needs such pixels on both of its sides. Then all pixels that a line along
the path covers are inside: for each, some pixel of the chain or beside it is as near as the line.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from bpg.opencv import cv2

NODES = 4_000
"""Larger regions are shrunk to about so many pixels before a path is sought: a hand is no finer."""

_MOST_NODES = 200_000
"""Thin regions vanish when shrunk; up to so many pixels they are taken as they are."""

_BRANCH = 0.3
"""A branch that reaches so far out of the room around the other paths, as a share of the first's
length, has a path of its own: arms, but no corners of what is compact.
"""

_MOST_PATHS = 3


@dataclass(frozen=True)
class Grid:
    """Where paths may lead: in one connected part of a region, on a grid of square blocks.

    Attributes:
        factor: Side of the blocks in pixels.
        depth: Distance of a block's outermost pixel to the region's border in pixels, (h, w).
        inside: Which blocks belong to the part, bool (h, w); they are the nodes of paths, numbered
            row by row.
    """

    factor: int
    depth: NDArray[np.float32]
    inside: NDArray[np.bool_]

    def centres(self) -> NDArray[np.float64]:
        """Return x and y of the nodes, (n, 2): the centre of a pixel amid each block."""
        rows, columns = np.nonzero(self.inside)
        first = np.stack([columns, rows], 1) * self.factor
        return np.array(first + self.factor // 2 + 0.5, np.float64)

    @property
    def extent(self) -> int:
        """The longer side of the part's box in pixels."""
        rows, columns = np.flatnonzero(self.inside.any(1)), np.flatnonzero(self.inside.any(0))
        return self.factor * (1 + int(max(rows[-1] - rows[0], columns[-1] - columns[0])))


def widest_grid(region: NDArray[np.bool_], width: float) -> tuple[Grid, float]:
    """Find where strokes have room: at the given width, or else at the widest that fits.

    It fits if the part with room for it is half as long as the region.

    Args:
        region: The region, bool (H, W), with a margin around it.
        width: Of the strokes in pixels, at least 1.

    Returns:
        The grid, and the width that there is room for.
    """
    inside = region.astype(np.uint8)
    depth = np.asarray(
        cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float32
    )
    area = int(region.sum())
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    wanted = (1 + max(rows[-1] - rows[0], columns[-1] - columns[0])) / 2
    while True:
        factor = int(np.ceil(np.sqrt(area / NODES)))
        while area / factor**2 <= _MOST_NODES:
            grid = _largest_part(depth, factor, width / 2)
            if grid is not None and grid.extent >= wanted:
                return grid, width
            if factor == 1:
                break
            factor //= 2
        if width == 1:
            break
        width = max(1, width / 2)
    # Thin and far-reaching, such as a net: a person draws where there is the most room.
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    reach = int(np.sqrt(_MOST_NODES)) // 2
    window = np.zeros_like(depth)
    box = np.s_[max(0, row - reach) : row + reach, max(0, column - reach) : column + reach]
    window[box] = depth[box]
    grid = _largest_part(window, 1, width / 2)
    assert grid is not None  # each of the region's pixels has room for a width of 1
    return grid, width


def middle_paths(grid: Grid, rng: np.random.Generator) -> Iterator[NDArray[np.intp]]:
    """Yield paths from one end of a part to another: first the longest, then those of branches.

    An end is the farthest place from somewhere, on the way inside. From end to end, a path takes
    the middle where it can. That of a branch begins where it leaves the others.

    Args:
        grid: The part.
        rng: Chooses where the search begins.

    Yields:
        Nodes in the order of the path, (n,).
    """
    depth = grid.depth[grid.inside] / grid.factor
    distance = _graph(grid.inside, np.ones_like(depth))
    effort = _graph(grid.inside, (0.1 + depth / depth.max()) ** -2)  # the middle is easier
    start = rng.integers(len(depth))
    drawn = dijkstra(distance, indices=start).argmax(keepdims=True)
    longest = 0.0
    for _ in range(_MOST_PATHS):
        away = dijkstra(distance, indices=drawn, min_only=True)
        _, before, _ = dijkstra(effort, indices=drawn, min_only=True, return_predecessors=True)
        path = _traced(before, int(away.argmax()))
        if away.max() - (depth[path[-1]] if longest else 0) < _BRANCH * longest:
            return
        yield path
        longest = longest or max(float(away.max()), 1)
        drawn = np.concatenate([drawn, path])


def _largest_part(depth: NDArray[np.float32], factor: int, radius: float) -> Grid | None:
    height, width = (side // factor for side in depth.shape)
    blocks = depth[: height * factor, : width * factor].reshape(height, factor, width, factor)
    shrunk = blocks.min((1, 3)) if factor > 1 else depth
    # A hair more than the radius: distances are rounded.
    inside = (shrunk > radius + 1e-3).astype(np.uint8)
    if not inside.any():
        return None
    _, parts, stats, _ = cv2.connectedComponentsWithStats(inside, connectivity=4)
    return Grid(factor, shrunk, parts == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()))


def _graph(inside: NDArray[np.bool_], cost: NDArray[np.float32]) -> csr_array:
    """Return the steps between neighbouring nodes, weighted by length times cost: sparse (n, n)."""
    count = len(cost)
    numbers = np.full(inside.shape, -1)
    numbers[inside] = np.arange(count)
    here, there, weights = [], [], []
    upper, lower, all_rows = np.s_[:-1], np.s_[1:], np.s_[:]
    sides = ((all_rows, upper, all_rows, lower), (upper, all_rows, lower, all_rows))
    diagonals = ((upper, upper, lower, lower), (upper, lower, lower, upper))
    square = inside[:-1, :-1] & inside[:-1, 1:] & inside[1:, :-1] & inside[1:, 1:]
    for steps, far in ((sides, 1.0), (diagonals, np.sqrt(2))):
        for row, column, next_row, next_column in steps:
            one, other = (row, column), (next_row, next_column)
            linked = square if steps is diagonals else inside[one] & inside[other]
            here.append(numbers[one][linked])
            there.append(numbers[other][linked])
            weights.append(far * (cost[here[-1]] + cost[there[-1]]) / 2)
    forward, backward = np.concatenate(here), np.concatenate(there)
    both = np.concatenate([forward, backward]), np.concatenate([backward, forward])
    return csr_array((np.tile(np.concatenate(weights), 2).astype(float), both), (count, count))


def _traced(before: NDArray[np.int32], end: int) -> NDArray[np.intp]:
    path = [end]
    while before[path[-1]] >= 0:
        path.append(int(before[path[-1]]))
    return np.array(path)
