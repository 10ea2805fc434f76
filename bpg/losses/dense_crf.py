"""Dense CRF loss (Tang et al., "On Regularized Losses", ECCV 2018)."""

import torch

from bpg.losses.affinity import Affinity
from bpg.losses.gaussian_filter import closed_form
from bpg.losses.inputs import Inputs


def dense_crf_loss(inputs: Inputs, affinity: Affinity) -> torch.Tensor:
    """Return the relaxed Potts energy as a share: sum_k S_k' A (1 - S_k) / 1' A 1, in 0..1.

    `affinity` is `dense_affinity` of `inputs`. The published loss is the energy's sum over the
    pairs of pixels, divided by the number of images; it grows with the square of the size.
    Here the batch's sum is divided by its number of pairs, each counted by its affinity: two
    pixels drawn by affinity get different labels with this probability. So a weight keeps its
    meaning whatever crop, batch and reduction; `docs/peers.md` converts the published one.
    A batch without a valid pixel gives 0. 0-d; the derivative is (A 1 - 2 A S) / 1' A 1.
    """
    s, sums, degrees = affinity.probabilities, affinity.sums, affinity.degrees
    pairs = degrees.sum().clamp(min=1.0)
    value = (s * (degrees - sums)).sum() / pairs
    # At valid pixels 1' A (1 - S) is A 1 - A S; A is symmetric.
    gradient = (degrees - 2 * sums) / pairs
    return closed_form(inputs.probabilities, value, gradient.view_as(inputs.probabilities))
