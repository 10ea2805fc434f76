"""Boundary regression, Eq. 3."""

import torch

from bpg.distributed import total


def squared_error(
    edge_logits: torch.Tensor, edges: torch.Tensor, valid: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sum of (sigmoid - edge)² over the valid pixels, and their number.

    Args:
        edge_logits: (N, 1, H, W).
        edges: Edge map (N, H, W) in 0..1.
        valid: (N, H, W) bool, False in padding.

    Returns:
        The sum, 0-d float32, and the number of valid pixels, 0-d int64.
    """
    difference = edge_logits[:, 0].float().sigmoid() - edges
    return (difference.square() * valid).sum(), valid.sum()


def boundary_loss(
    edge_logits: torch.Tensor, edges: torch.Tensor, valid: torch.Tensor
) -> torch.Tensor:
    """Return the squared error per unit of edge: the sum of Eq. 3 over the sum of the edge map.

    As printed, Eq. 2 and 3 are sums over different sets of pixels, so that their balance would
    depend on how many pixels are labelled. Here each sum is divided by the amount of its own
    supervision: cross-entropy by the number of labelled pixels, the squared error by the edge mass.
    Predicting no edge at all then costs at most 1, whatever the image, and `lambda` = 1 keeps its
    meaning from data set to data set. Compared to a plain mean, this weighs 1 / mean(edges) times
    more: about 3.6, since HED's maps of the embedded images average 0.281 (`docs/method.md`).

    Args:
        edge_logits: (N, 1, H, W).
        edges: Edge map (N, H, W) in 0..1.
        valid: (N, H, W) bool, False in padding.

    Returns:
        0-d float32.
    """
    total, _ = squared_error(edge_logits, edges, valid)
    return total / edge_mass(edges, valid)


def edge_mass(edges: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Sum the edge map over the valid pixels; at least 1, as a batch may contain no edge at all.

    Args:
        edges: Edge map (N, H, W) in 0..1.
        valid: (N, H, W) bool, False in padding.

    Returns:
        0-d, of the dtype of `edges`.
    """
    return total((edges * valid).sum()).clamp(min=1.0)
