"""Partial cross-entropy, Eq. 2 (Tang et al., CVPR 2018)."""

import torch
import torch.nn.functional as F

IGNORE = 255


def partial_cross_entropy(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy averaged over the labelled pixels of the batch; 0 where there are none.

    scores (N, K+1, H, W); labels (N, H, W) in 0..K, 255 unlabelled. Eq. 2 prints a sum; dividing
    by its number of pixels keeps the learning rate's meaning whatever the crop or batch. The
    labelled pixels are gathered first: cheaper by the 96 % that scribbles leave blank, and
    deterministic on CUDA, which the 2-D form is not. Returns a 0-d float32.
    """
    labelled = labels != IGNORE
    chosen = scores.permute(0, 2, 3, 1)[labelled].float()
    if len(chosen) == 0:
        return scores.sum() * 0.0
    return F.cross_entropy(chosen, labels[labelled])
