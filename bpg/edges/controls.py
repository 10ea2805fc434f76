"""Controls for HED's edge maps: true boundaries as an upper bound, shuffled maps as a placebo.

With them, `edges.source` tells what the quality of the edges is worth to the boundary loss.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image
from scipy.ndimage import distance_transform_edt

from bpg.constants import IGNORE

WIDTH = 2.0  # pixels to each side of the contour; HED's own lines are some 5 pixels wide


def true_edges(mask: np.ndarray) -> np.ndarray:
    """Draw the contours of a label map as an edge map.

    The value falls linearly from 255 on the contour to 0 at `WIDTH` pixels from it. An ignored
    pixel (VOC has a ring of them around each object) counts as the label of the nearest labelled
    pixel, so that the contour runs along the middle of the ring.

    Args:
        mask: Labels, uint8 (H, W), 255 = ignore.

    Returns:
        Edges, uint8 (H, W), 255 on the contour.
    """
    ignored = mask == IGNORE
    if ignored.all():
        return np.zeros_like(mask)
    labels = mask
    if ignored.any():
        nearest = distance_transform_edt(ignored, return_distances=False, return_indices=True)
        labels = mask[tuple(nearest)]
    contour = np.zeros(mask.shape, bool)
    across, down = labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]
    contour[:, 1:] |= across
    contour[:, :-1] |= across
    contour[1:] |= down
    contour[:-1] |= down
    if not contour.any():
        return np.zeros_like(mask)
    strength = 1 - distance_transform_edt(~contour) / WIDTH
    return (255 * strength.clip(0, 1)).round().astype(np.uint8)


def shuffled(ids: Sequence[str], seed: int = 0) -> dict[str, str]:
    """Assign each image's edge map to another image at random.

    Args:
        ids: Names of the images.
        seed: Seed of the permutation.

    Returns:
        {image: the image that gets its map}; each image gets one.
    """
    order = np.random.default_rng(seed).permutation(len(ids))
    return {ids[a]: ids[b] for a, b in zip(order, np.roll(order, 1), strict=True)}


def fit(edge: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Stretch an edge map to the size of another image.

    Args:
        edge: Edges, uint8 (H, W).
        size: (width, height) of that image in pixels.

    Returns:
        Edges, uint8 (height, width), bilinearly interpolated.
    """
    return np.asarray(Image.fromarray(edge).resize(size, Image.Resampling.BILINEAR))
