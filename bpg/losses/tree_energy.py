"""Tree energy loss (Liang et al., CVPR 2022)."""

import torch
import torch.nn.functional as F

from bpg.constants import DEVIATION, MEAN
from bpg.distributed import total
from bpg.grid import upsample
from bpg.losses.gaussian_filter import closed_form
from bpg.losses.inputs import Inputs
from bpg.losses.tree_filter import span, tree_sums


def tree_energy_loss(inputs: Inputs, *, low: float, high: float) -> torch.Tensor:
    """Return the mean over unlabelled pixels of sum_k |S - Y|, where Y is S filtered twice.

    The tree of the first filter is that of the image's colours, standardised as for the network.
    The tree of the second is that of the backbone's features, normalised to length 1 and upsampled
    to the grid. At each pixel i both average over the whole image, pixel j with the weight
    exp(-length of the path from i to j). Padding takes no part in either. The gradient flows
    through S and through Y, not through the trees. As a mean, the loss is independent of crop and
    batch.

    Args:
        inputs: The batch, at full or reduced size.
        low: Divides the squared colour differences along the edges of the first tree.
        high: Divides the squared feature differences along the edges of the second tree.

    Returns:
        0-d, in 0..2; 0 for a batch without an unlabelled pixel.
    """
    s = inputs.probabilities.detach()
    valid = inputs.valid[:, None].to(s.dtype)
    trees = [
        span(_colours(inputs), inputs.valid, low),
        span(_features(inputs), inputs.valid, high),
    ]
    soft, volumes = s, []
    for tree in trees:
        # The sums of the values and of the weights at each pixel, in one pass.
        sums, volume = tree_sums(tree, torch.cat([soft * valid, valid], 1)).tensor_split([-1], 1)
        volumes.append(volume.where(inputs.valid[:, None], 1))  # 0 at invalid ones
        soft = sums / volumes[-1] * valid
    counted = inputs.unlabelled[:, None]
    pixels = total(counted.sum()).clamp(min=1)
    difference = (s - soft) * counted
    value = difference.abs().sum() / pixels
    gradient = difference.sign() / pixels
    # Y = F2 F1 S; the transpose of a filter V^-1 K is K V^-1, as K is symmetric.
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
