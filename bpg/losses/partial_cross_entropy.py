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
    labels = labels.flatten()
    labelled = (labels != IGNORE).nonzero().squeeze(1)
    if len(labelled) == 0:
        return scores.sum() * 0.0
    pixels = scores.permute(0, 2, 3, 1).flatten(0, 2)  # a view, where the layout is channels_last
    return F.cross_entropy(pixels.index_select(0, labelled).float(), labels[labelled])
