"""Tree energy loss (Liang et al., CVPR 2022)."""

import torch
import torch.nn.functional as F

from bpg.constants import DEVIATION, MEAN
from bpg.grid import upsample
from bpg.losses.gaussian_filter import closed_form
from bpg.losses.inputs import Inputs
from bpg.losses.tree_filter import span, tree_sums


def tree_energy_loss(inputs: Inputs, *, low: float, high: float) -> torch.Tensor:
    """Return the mean over unlabelled pixels of sum_k |S - Y|, Y = the twice filtered S; 0..2.

    The first filter's tree is that of the image's colours, standardised as the network sees them;
    `low` divides its squared differences. The second's is that of the network's features, each
    brought to length 1 and enlarged to the grid; `high` divides theirs. Both average over
    the whole image, each pixel j weighing exp(-length of the path from i to j). Padding has no
    part in either. The derivative runs through
    S and through Y, not through the trees. A mean: independent of crop and batch. 0-d.
    """
    s = inputs.probabilities.detach()
    valid = inputs.valid[:, None].to(s.dtype)
    trees = [
        span(_colours(inputs), inputs.valid, low),
        span(_features(inputs), inputs.valid, high),
    ]
    soft, volumes = s, []
    for tree in trees:
        # The sums of the values and of the weights at each pixel, in one go.
        sums, volume = tree_sums(tree, torch.cat([soft * valid, valid], 1)).tensor_split([-1], 1)
        volumes.append(volume.where(inputs.valid[:, None], 1))  # at invalid ones it is nothing
        soft = sums / volumes[-1] * valid
    counted = inputs.unlabelled[:, None]
    pixels = counted.sum().clamp(min=1)
    difference = (s - soft) * counted
    value = difference.abs().sum() / pixels
    gradient = difference.sign() / pixels
    # Y = F2 F1 S; the transpose of a filter V^-1 K is K V^-1, for K is symmetric.
    back = gradient
    for tree, volume in zip(reversed(trees), reversed(volumes), strict=True):
        back = tree_sums(tree, back * valid / volume) * valid
    return closed_form(inputs.probabilities, value, gradient - back)


def _colours(inputs: Inputs) -> torch.Tensor:
    mean, deviation = (
        torch.tensor(values, dtype=inputs.probabilities.dtype, device=inputs.images.device)
        for values in (MEAN, DEVIATION)
    )
    images = inputs.images.to(inputs.probabilities.dtype)
    return (images / 255 - mean[:, None, None]) / deviation[:, None, None]


def _features(inputs: Inputs) -> torch.Tensor:
    features = F.normalize(inputs.features.to(inputs.probabilities.dtype), dim=1)
    return upsample(features, inputs.probabilities.shape[2:])
