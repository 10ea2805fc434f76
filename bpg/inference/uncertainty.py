"""Where a network is unsure: what the next strokes would teach it most."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bpg.opencv import cv2


def uncertainty(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the entropy of each pixel's class probabilities, as a share of the largest possible.

    Args:
        probabilities: (K+1, H, W), summing to 1 over the classes.

    Returns:
        Float32 (H, W) in 0..1.
    """
    terms = probabilities * np.log(np.maximum(probabilities, 1e-12))
    return np.clip(-terms.sum(0) / np.log(len(probabilities)), 0, 1).astype(np.float32)


@dataclass(frozen=True)
class Region:
    """A part of an image, in pixels, its mean uncertainty in 0..1, and its two likeliest labels."""

    left: int
    top: int
    width: int
    height: int
    uncertainty: float
    labels: tuple[int, int]


def uncertain_regions(
    probabilities: NDArray[np.float32], number: int, share: float = 0.2
) -> list[Region]:
    """Find the squares in which a network is least sure; none overlaps another.

    Args:
        probabilities: (K+1, H, W), summing to 1 over the classes.
        number: How many squares at most.
        share: Side of a square, as a share of the image's longer side; at most its shorter side.

    Returns:
        The squares, the most uncertain first.
    """
    values = uncertainty(probabilities)
    height, width = values.shape
    side = min(height, width, max(1, round(share * max(height, width))))
    sums = cv2.integral(values, sdepth=cv2.CV_64F)
    # The mean of the square whose upper left pixel is (row, column).
    means = (
        sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    ) / side**2
    found: list[Region] = []
    while len(found) < number and np.isfinite(means).any():
        top, left = map(int, np.unravel_index(int(np.argmax(means)), means.shape))
        box = probabilities[:, top : top + side, left : left + side]
        first, second = np.argsort(-box.mean((1, 2)), kind="stable")[:2].tolist()
        found.append(Region(left, top, side, side, float(means[top, left]), (first, second)))
        rows = slice(max(0, top - side + 1), top + side)
        columns = slice(max(0, left - side + 1), left + side)
        means[rows, columns] = -np.inf
    return found
