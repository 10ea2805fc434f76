"""Dense CRF loss (Tang et al., "On Regularized Losses", ECCV 2018)."""

import torch

from bpg.distributed import total
from bpg.losses.affinity import Affinity
from bpg.losses.gaussian_filter import closed_form
from bpg.losses.inputs import Inputs


def dense_crf_loss(inputs: Inputs, affinity: Affinity) -> torch.Tensor:
    """Return the normalised relaxed Potts energy sum_k S_k' A (1 - S_k) / 1' A 1.

    The published loss is the sum of the energy over all pairs of pixels, divided by the number of
    images; it grows with the square of the number of pixels. Here the sum over the batch is
    divided by its number of pairs, each weighted by its affinity: the result is the probability
    that two pixels drawn by affinity get different labels. So a weight keeps its meaning whatever
    the crop, batch and reduction; `docs/peers.md` converts the published one. The derivative is
    (A 1 - 2 A S) / 1' A 1.

    Args:
        inputs: The batch.
        affinity: `dense_affinity` of `inputs`.

    Returns:
        0-d, in 0..1; 0 for a batch without a valid pixel.
    """
    s, sums, degrees = affinity.probabilities, affinity.sums, affinity.degrees
    pairs = total(degrees.sum()).clamp(min=1.0)
    value = (s * (degrees - sums)).sum() / pairs
    # At valid pixels 1' A (1 - S) is A 1 - A S; A is symmetric.
    gradient = (degrees - 2 * sums) / pairs
    return closed_form(inputs.probabilities, value, gradient.view_as(inputs.probabilities))
