"""Partial cross-entropy, Eq. 2 (Tang et al., CVPR 2018)."""

import torch
import torch.nn.functional as F

from bpg.constants import IGNORE


def partial_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy averaged over the labelled pixels of the batch; 0 where there are none.

    logits (N, K+1, H, W); labels (N, H, W) in 0..K, 255 unlabelled. Eq. 2 prints a sum; dividing
    by its number of pixels keeps the learning rate's meaning whatever the crop or batch. Returns
    a 0-d float32.
    """
    # A view, where the layout is channels_last. The 1-D form repeats on CUDA; the 2-D one does not.
    pixels = logits.permute(0, 2, 3, 1).flatten(0, 2)
    labels = labels.flatten()
    if logits.device.type == "cpu":
        return _over_labelled(pixels, labels)
    return _over_all(pixels, labels)


def _over_labelled(pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Gather the labelled pixels first: cheaper by the 96 % that scribbles leave blank."""
    labelled = (labels != IGNORE).nonzero().squeeze(1)
    if len(labelled) == 0:
        return pixels.sum() * 0.0
    return F.cross_entropy(pixels.index_select(0, labelled).float(), labels[labelled])


def _over_all(pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Of fixed shapes: a GPU need not be waited for, and a step can be captured or compiled."""
    # PyTorch's own sum is taken by a single block of a GPU's threads.
    each = F.cross_entropy(pixels.float(), labels, ignore_index=IGNORE, reduction="none")
    return each.sum() / (labels != IGNORE).sum().clamp(min=1)
