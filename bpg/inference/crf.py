"""Fully connected CRF (Krähenbühl and Koltun, NIPS 2011); its mean field is `mean_field.cpp`."""

from dataclasses import dataclass

import numpy as np

from bpg.errors import BPGError
from bpg.inference._mean_field import mean_field


@dataclass(frozen=True)
class CRFOptions:
    """Mean-field iterations; Gaussian weight and deviation (px); bilateral ones (px, 0..255)."""

    iterations: int
    gaussian_weight: float
    gaussian_xy: float
    bilateral_weight: float
    bilateral_xy: float
    bilateral_rgb: float


FLOOR = 0.05
"""A class whose probability stays under this everywhere is left out of the iterations that follow.

An unsure network keeps most classes over it; after one iteration a few are left.
"""


def dense_crf(
    image: np.ndarray,
    classes: list[int],
    probabilities: np.ndarray,
    options: CRFOptions,
    *,
    floor: float = FLOOR,
) -> np.ndarray:
    """Return labels uint8 (H, W) out of `classes`.

    image uint8 (H, W, 3), raw RGB; probabilities float32 (classes, H, W), above 0, rows in the
    order of `classes`; `floor` as FLOOR, 0 to keep all. Both kernels are normalised symmetrically,
    the Gaussian one is exact, the bilateral one that of the permutohedral lattice, as in
    pydensecrf, which the tests hold it against. Runs without Python's lock, on one core.

    Raises BPGError where the deviations are too small for the lattice, ValueError where shapes
    differ or a probability is not above 0.
    """
    if len(classes) == 1:
        return np.full(image.shape[:2], classes[0], np.uint8)
    if not (probabilities > 0).all():
        raise ValueError("every probability must be above 0: the energy is its logarithm")
    try:
        kept, result = mean_field(
            np.ascontiguousarray(image), -np.log(probabilities), floor=floor, **vars(options)
        )
    except ValueError as error:
        raise BPGError(f"crf: {error}; raise bilateral_rgb or bilateral_xy") from error
    return np.asarray(classes, np.uint8)[kept][result.argmax(0)]
