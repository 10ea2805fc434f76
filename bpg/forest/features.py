"""Features of every pixel at several scales, as scikit-image computes them."""

from math import floor, log2

import numpy as np
from numpy.typing import NDArray
from skimage.feature import multiscale_basic_features

Features = NDArray[np.float32]

_PER_SCALE = 4  # smoothed intensity, its gradient's length, the two eigenvalues of its Hessian
_SMALLEST = 2  # pixels a side, below which there is no derivative


def sigmas(low: float, high: float) -> list[float]:
    """Return the scales: `low`, twice that and so on, as long as they are at most `high`.

    Args:
        low: Deviation of the narrowest Gaussian in pixels, above 0.
        high: The limit of the widest, at least `low`.
    """
    return [low * 2**step for step in range(floor(log2(high / low) + 1e-9) + 1)]


def feature_count(low: float, high: float) -> int:
    """Return how many features a pixel has.

    Args:
        low: As for `sigmas`.
        high: As for `sigmas`.
    """
    return 3 * _PER_SCALE * len(sigmas(low, high))


def pixel_features(image: NDArray[np.uint8], low: float, high: float) -> Features:
    """Compute the features of every pixel.

    Of each colour channel, smoothed with each of the `sigmas`: its intensity, the length of its
    gradient (Sobel) and the two eigenvalues of its Hessian. These are the groups "intensity",
    "edges" and "texture" of scikit-image's `multiscale_basic_features`.

    Args:
        image: (H, W, 3), RGB.
        low: Deviation of the narrowest Gaussian in pixels.
        high: The limit of the widest.

    Returns:
        (H, W, features).
    """
    height, width = image.shape[:2]
    missing = [(0, max(0, _SMALLEST - side)) for side in (height, width)]
    padded = np.pad(image, (*missing, (0, 0)), mode="edge")
    found = sigmas(low, high)
    # By number of scales: scikit-image would spread them up to `high`, and round differently.
    features = multiscale_basic_features(
        padded,
        sigma_min=low,
        sigma_max=found[-1],
        num_sigma=len(found),
        channel_axis=-1,
        workers=1,
    )
    return np.ascontiguousarray(features[:height, :width], np.float32)
