"""Fully connected CRF (Krähenbühl and Koltun, NIPS 2011); its mean field is `mean_field.cpp`."""

from pathlib import Path

import numpy as np

from bpg.compiled import compiled
from bpg.errors import BPGError
from bpg.inference.options import CRFOptions

_SOURCE = Path(__file__).parent / "mean_field.cpp"


FLOOR = 0.05
"""A class that stays below this everywhere and wins nowhere is left out of later iterations.

In principle it could come back, but that has not been observed. An unsure network keeps most
classes above it; after one iteration a few are left.
"""


def dense_crf(
    image: np.ndarray,
    classes: list[int],
    probabilities: np.ndarray,
    options: CRFOptions,
    *,
    floor: float = FLOOR,
) -> np.ndarray:
    """Refine class probabilities with a dense CRF.

    Both kernels are normalised symmetrically. The Gaussian one is exact, the bilateral one uses the
    permutohedral lattice, as in pydensecrf, with which the tests compare it. Runs on one core and
    releases Python's global interpreter lock.

    Args:
        image: uint8 (H, W, 3), RGB, 0..255.
        classes: The labels of the channels of `probabilities`.
        probabilities: float32 (classes, H, W), above 0.
        options: Iterations and kernels.
        floor: Classes that stay below this everywhere and win nowhere are left out of later
            iterations (`FLOOR`); 0 keeps all.

    Returns:
        Labels uint8 (H, W), from `classes`.

    Raises:
        BPGError: The standard deviations are too small for the lattice, or the compiled module is
            missing or out of date.
        ValueError: Shapes differ, or a probability is not above 0.
    """
    if probabilities.shape != (len(classes), *image.shape[:2]) or image.ndim != 3:
        raise ValueError(f"{len(classes)} classes, {probabilities.shape} and {image.shape}")
    if len(classes) == 1:
        return np.full(image.shape[:2], classes[0], np.uint8)
    if not (probabilities > 0).all():
        raise ValueError("every probability must be above 0: the energy is its logarithm")
    module = compiled("_bpg_mean_field", _SOURCE)
    try:
        kept, result = module.mean_field(
            np.ascontiguousarray(image), -np.log(probabilities), floor=floor, **vars(options)
        )
    except module.TooFine as error:
        raise BPGError(f"crf: {error}; raise bilateral_rgb or bilateral_xy") from error
    return np.asarray(classes, np.uint8)[kept][result.argmax(0)]
