"""Fully connected CRF (Krähenbühl and Koltun, NIPS 2011); its mean field is `mean_field.cpp`."""

from pathlib import Path

import numpy as np

from bpg.compiled import compiled
from bpg.errors import BPGError
from bpg.inference.options import CRFOptions

_SOURCE = Path(__file__).parent / "mean_field.cpp"


FLOOR = 0.05
"""A class that stays under this everywhere and wins nowhere is left out of the later iterations.

It could come back in principle, and has not been seen to. An unsure network keeps most classes
over it; after one iteration a few are left.
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
