"""Gated CRF loss (Obukhov et al., "Gated CRF Loss", 2019)."""

import torch

from bpg.distributed import total
from bpg.losses.gaussian_filter import closed_form
from bpg.losses.inputs import Inputs


def gated_crf_loss(inputs: Inputs, *, radius: int, xy: float, rgb: float) -> torch.Tensor:
    """Return the mean over valid pixels i of sum_j K_ij (1 - sum_k S_ik S_jk).

    j runs over the square window of `radius` samples around i, without i itself, and
    K_ij = exp(-|p_i - p_j|² / 2 xy² - |c_i - c_j|² / 2 rgb²) with positions p in samples of the
    grid and colours c in 0..1. The gate excludes pairs with a padded pixel. A mean over pixels of
    a sum over a window of fixed size is the published normalisation, independent of crop and batch.
    Memory is a few maps of the size of the probabilities, whatever the radius. The derivative with
    respect to S_j is -2 sum_i K_ij S_i over the number of valid pixels.

    Args:
        inputs: The batch, at full or reduced size.
        radius: Half the side of the window, in samples of the grid.
        xy: Standard deviation of the kernel in position, in samples of the grid.
        rgb: Standard deviation of the kernel in colour, on the scale 0..1.

    Returns:
        0-d, at least 0; 0 for a batch without a valid pixel.
    """
    s = inputs.probabilities.detach()
    colours = inputs.images.to(s.dtype) / (255 * rgb)
    valid = inputs.valid.to(s.dtype)
    value, gradient = s.new_zeros(()), torch.zeros_like(s)
    for down in range(radius + 1):
        for right in range(-radius if down else 1, radius + 1):
            here, there = _pair(down, right, *s.shape[2:])
            distance = (colours[..., *here] - colours[..., *there]).square().sum(1)
            nearness = (down**2 + right**2) / xy**2
            kernel = ((distance + nearness) / -2).exp() * valid[..., *here] * valid[..., *there]
            agreement = (s[..., *here] * s[..., *there]).sum(1)
            # Every pair stands for two: i with j and j with i.
            value += 2 * (kernel * (1 - agreement)).sum()
            gradient[..., *here] -= 2 * kernel[:, None] * s[..., *there]
            gradient[..., *there] -= 2 * kernel[:, None] * s[..., *here]
    pixels = total(valid.sum()).clamp(min=1.0)
    return closed_form(inputs.probabilities, value / pixels, gradient / pixels)


def _pair(
    down: int, right: int, height: int, width: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the slices of the pixels that have a partner at this offset, and of the partners."""
    left, right_side = max(0, -right), max(0, right)
    here = slice(0, max(0, height - down)), slice(left, max(left, width - right_side))
    there = slice(down, height), slice(right_side, max(right_side, width - left))
    return here, there
