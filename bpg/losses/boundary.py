"""Boundary regression, Eq. 3."""

import torch


def squared_error(
    edge_logits: torch.Tensor, edges: torch.Tensor, valid: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sum of (sigmoid - edge)² over the valid pixels, and their number.

    edge_logits (N, 1, H, W); edges (N, H, W) in 0..1; valid (N, H, W) bool, False in padding.
    """
    difference = edge_logits[:, 0].float().sigmoid() - edges
    return (difference.square() * valid).sum(), valid.sum()


def boundary_loss(
    edge_logits: torch.Tensor, edges: torch.Tensor, valid: torch.Tensor
) -> torch.Tensor:
    """Squared error per unit of edge: Eq. 3's sum divided by the sum of the edge map.

    Shapes as in `squared_error`. Eq. 2 and 3 print sums over different sets of pixels, so that
    their balance would hang on how much is labelled. Here each sum is divided by the amount of
    its own supervision: cross-entropy by the labelled pixels, the squared error by the edge
    mass. Predicting no edge at all then costs at most 1, whatever the image, and `lambda` = 1
    keeps its meaning from data set to data set. Beside a plain mean this weighs 1 / mean(edges)
    times more: about 3.5, HED's maps averaging 0.28 to 0.29 (`docs/method.md`). 0-d float32.
    """
    total, _ = squared_error(edge_logits, edges, valid)
    return total / edge_mass(edges, valid)


def edge_mass(edges: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Sum of the edge map over the valid pixels, at least 1: a batch may hold no edge at all."""
    return (edges * valid).sum().clamp(min=1.0)
