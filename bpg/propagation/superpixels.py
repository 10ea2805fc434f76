"""Superpixels, their neighbours, and what they look like."""

import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import felzenszwalb

COLOUR_BINS = 25  # of each of red, green and blue (Lin et al., section 3.2)
TEXTURE_BINS = 10  # of the derivative in each direction


def superpixels(
    image: NDArray[np.uint8], *, scale: float, sigma: float, min_size: int
) -> NDArray[np.int64]:
    """Return the superpixel (H, W), numbered from 0, of every pixel of an image (H, W, 3).

    Felzenszwalb and Huttenlocher (IJCV 2004), as in ScribbleSup: `scale` makes them larger,
    `sigma` smooths before (pixels), `min_size` is their smallest number of pixels.
    """
    return felzenszwalb(image, scale=scale, sigma=sigma, min_size=min_size).astype(np.int64)


def neighbours(regions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the pairs (n, 2) of superpixels that share a border, the smaller number first."""
    pairs = np.concatenate(
        [
            np.stack([regions[:, :-1].ravel(), regions[:, 1:].ravel()], axis=1),
            np.stack([regions[:-1].ravel(), regions[1:].ravel()], axis=1),
        ]
    )
    pairs = np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1)
    return np.unique(pairs, axis=0).reshape(-1, 2)


def colours(image: NDArray[np.uint8], regions: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return each superpixel's colour histogram (n, 75), of sum 1."""
    bins = image.astype(np.int64) * COLOUR_BINS // 256 + COLOUR_BINS * np.arange(3)
    return _histograms(bins, regions, 3 * COLOUR_BINS)


def textures(image: NDArray[np.uint8], regions: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return each superpixel's histogram (n, 20) of brightness's derivatives, of sum 1."""
    grey = image.mean(2)
    slopes = np.stack(
        [
            np.gradient(grey, axis=axis) if grey.shape[axis] > 1 else np.zeros_like(grey)
            for axis in range(2)
        ]
    )
    # -127.5..127.5; most are small, so the bins are even in the square root.
    roots = np.sign(slopes) * np.sqrt(np.abs(slopes) / 127.5)
    bins = np.clip(((roots + 1) / 2 * TEXTURE_BINS).astype(np.int64), 0, TEXTURE_BINS - 1)
    bins = np.moveaxis(bins, 0, -1) + TEXTURE_BINS * np.arange(len(slopes))
    return _histograms(bins, regions, 2 * TEXTURE_BINS)


def _histograms(
    bins: NDArray[np.int64], regions: NDArray[np.int64], size: int
) -> NDArray[np.float64]:
    count = int(regions.max()) + 1
    places = (regions[..., None] * size + bins).ravel()
    counts = np.bincount(places, minlength=count * size).reshape(count, size)
    return counts / counts.sum(1, keepdims=True)
