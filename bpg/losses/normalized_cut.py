"""Normalized cut loss (Tang et al., CVPR 2018)."""

import torch

from bpg.distributed import total
from bpg.losses.affinity import Affinity
from bpg.losses.gaussian_filter import closed_form
from bpg.losses.inputs import Inputs

# A class with less than this share of an image's affinity has no segment there to cut off.
SMALLEST = 1e-6


def normalized_cut_loss(inputs: Inputs, affinity: Affinity) -> torch.Tensor:
    """Return the mean over the images of sum_k S_k' A (1 - S_k) / d' S_k with d = A 1.

    Numerator and denominator grow alike, so a weight keeps its meaning whatever the crop, batch and
    reduction. Images without a valid pixel do not count. With u = A S and q_k = d' S_k, the
    derivative of an image's term with respect to S_k is (S_k' u_k) d / q_k² - 2 u_k / q_k.

    Args:
        inputs: The batch.
        affinity: `dense_affinity` of `inputs`.

    Returns:
        0-d, in 0..K+1; 0 for a batch without a valid pixel.
    """
    s, sums, degrees = affinity.probabilities, affinity.sums, affinity.degrees
    volume = degrees.sum(dim=2, keepdim=True)  # N, 1, 1
    images = total((volume > 0).sum()).clamp(min=1)
    within = (s * sums).sum(dim=2, keepdim=True)  # N, K+1, 1
    segment = (degrees * s).sum(dim=2, keepdim=True)
    counted = segment > SMALLEST * volume
    segment = segment.where(counted, 1)
    value = (1 - within / segment).where(counted, 0).sum() / images
    gradient = within * degrees / segment.square() - 2 * sums / segment
    gradient = gradient.where(counted, 0) / images
    return closed_form(inputs.probabilities, value, gradient.view_as(inputs.probabilities))
