"""Fully connected CRF (Krähenbühl and Koltun, NIPS 2011), through pydensecrf."""

from dataclasses import dataclass

import numpy as np
from pydensecrf import densecrf


@dataclass(frozen=True)
class CRFOptions:
    """Mean-field iterations; Gaussian weight and deviation (px); bilateral ones (px, 0..255)."""

    iterations: int
    gaussian_weight: float
    gaussian_xy: float
    bilateral_weight: float
    bilateral_xy: float
    bilateral_rgb: float


def dense_crf(
    image: np.ndarray, classes: list[int], probabilities: np.ndarray, options: CRFOptions
) -> np.ndarray:
    """Return labels uint8 (H, W) out of `classes`.

    image uint8 (H, W, 3), raw RGB; probabilities float32 (classes, H, W), rows in the order of
    `classes`. One class alone needs no inference.
    """
    height, width = image.shape[:2]
    if len(classes) == 1:
        return np.full((height, width), classes[0], np.uint8)
    crf = densecrf.DenseCRF2D(width, height, len(classes))
    unary = -np.log(probabilities.reshape(len(classes), -1))
    crf.setUnaryEnergy(np.ascontiguousarray(unary, np.float32))
    crf.addPairwiseGaussian(sxy=options.gaussian_xy, compat=options.gaussian_weight)
    crf.addPairwiseBilateral(
        sxy=options.bilateral_xy,
        srgb=options.bilateral_rgb,
        rgbim=np.ascontiguousarray(image),
        compat=options.bilateral_weight,
    )
    result = np.asarray(crf.inference(options.iterations))
    winners = result.reshape(len(classes), height, width).argmax(0)
    return np.asarray(classes, np.uint8)[winners]
