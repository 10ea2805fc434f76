"""Soft self-labelling (Zhang and Boykov, "Soft Self-labeling", CVPR 2025), with HED's edges."""

import torch

from bpg.distributed import total
from bpg.errors import BPGError
from bpg.losses.inputs import Inputs

_LEAST = 1e-6
"""Below it, products of probabilities count as this: their logarithm stays finite."""


def soft_label_loss(
    inputs: Inputs, *, smoothness: float, edge: float, iterations: int
) -> torch.Tensor:
    """Return the mean over unlabelled pixels of -ln sum_k S_k y_k: collision cross-entropy.

    The soft labels y are recomputed for each batch (`soft_labels`), and no gradient flows through
    them. Where y is undecided, nothing is asked of S. As a mean, the loss is independent of crop
    and batch.

    Args:
        inputs: The batch, at full or reduced size.
        smoothness: Weight of the neighbours' agreement when y is found.
        edge: Edge probability at which it counts exp(-1/2) times as much.
        iterations: How often y is improved.

    Returns:
        0-d, at least 0; 0 for a batch without an unlabelled pixel.
    """
    y = soft_labels(inputs, smoothness=smoothness, edge=edge, iterations=iterations)
    collision = (inputs.probabilities * y).sum(1).clamp(min=_LEAST)
    counted = inputs.unlabelled
    return -(collision.log() * counted).sum() / total(counted.sum()).clamp(min=1)


@torch.no_grad()
def soft_labels(inputs: Inputs, *, smoothness: float, edge: float, iterations: int) -> torch.Tensor:
    """Return labels that agree with the network, with the strokes and with each other.

    They descend on the sum of -ln sum_k S_k y_k over unlabelled pixels, plus `smoothness` times
    the sum of -w_pq ln(y_p'y_q / |y_p||y_q|) over neighbours (collision divergence, a Potts model
    for soft labels), where w_pq = exp(-e²/2 edge²) and e is the stronger of the edges at p and q.
    Labelled pixels keep their labels. The descent is in the logits of y, where the gradient of each
    term is at most 1, divided by the sum of a pixel's weights; it starts at S. It is stopped after
    `iterations` steps, long before the minimum: labels spread by no more than that many pixels.

    Args:
        inputs: The batch, at full or reduced size.
        smoothness: Weight of the neighbours' agreement.
        edge: Edge probability at which it counts exp(-1/2) times as much.
        iterations: Steps of the descent.

    Returns:
        (N, K+1, h, w), which sum to 1; zeros outside of the image.
    """
    s = inputs.probabilities.detach()
    valid = inputs.valid[:, None].to(s.dtype)
    free = inputs.unlabelled[:, None]
    fixed = torch.zeros_like(s).scatter_(1, inputs.labels.clamp(max=s.shape[1] - 1)[:, None], 1.0)
    weights = [smoothness * one for one in neighbour_weights(inputs, edge)]
    scale = 1 + sum(_spread(one, axis) for axis, one in zip((2, 3), weights, strict=True))
    logits = s.clamp(min=_LEAST).log()
    y = torch.where(free, s, fixed) * valid
    for _ in range(iterations):
        own = y.square() / y.square().sum(1, keepdim=True).clamp(min=_LEAST)
        seen = y * s
        gradient = y - seen / seen.sum(1, keepdim=True).clamp(min=_LEAST)
        for axis, weight in zip((2, 3), weights, strict=True):
            size = y.shape[axis] - 1
            one, other = y.narrow(axis, 0, size), y.narrow(axis, 1, size)
            common = one * other
            common /= common.sum(1, keepdim=True).clamp(min=_LEAST)
            gradient.narrow(axis, 0, size).add_(weight * (own.narrow(axis, 0, size) - common))
            gradient.narrow(axis, 1, size).add_(weight * (own.narrow(axis, 1, size) - common))
        logits -= gradient / scale
        y = torch.where(free, logits.softmax(1), fixed) * valid
    return y


def neighbour_weights(inputs: Inputs, edge: float) -> list[torch.Tensor]:
    """Return w_pq of each pixel and the one below, and of each pixel and the one to the right.

    Args:
        inputs: The batch, at full or reduced size.
        edge: Edge probability at which a weight is exp(-1/2).

    Returns:
        (N, 1, h-1, w) and (N, 1, h, w-1) in 0..1; 0 where one of the two is padding.

    Raises:
        BPGError: There are no edges.
    """
    if inputs.edges is None:
        raise BPGError("soft_label needs edge maps; a variant with it must read them")
    weights = []
    edges = inputs.edges.to(inputs.probabilities.dtype)
    for axis in (1, 2):
        size = edges.shape[axis] - 1
        stronger = torch.maximum(edges.narrow(axis, 0, size), edges.narrow(axis, 1, size))
        both = inputs.valid.narrow(axis, 0, size) & inputs.valid.narrow(axis, 1, size)
        weights.append(((stronger / edge).square() / -2).exp()[:, None] * both[:, None])
    return weights


def _spread(weights: torch.Tensor, axis: int) -> torch.Tensor:
    """Add up, at each pixel, the weights of the pairs along an axis that it is in."""
    before, after = [0, 0, 0, 0], [0, 0, 0, 0]
    place = 2 * (3 - axis)
    before[place + 1], after[place] = 1, 1
    pad = torch.nn.functional.pad
    return pad(weights, before) + pad(weights, after)
