"""Partial cross-entropy, Eq. 2 (Tang et al., CVPR 2018)."""

import torch
import torch.nn.functional as F

from bpg.constants import IGNORE
from bpg.distributed import total


def partial_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Average cross-entropy over the labelled pixels of the batch.

    Eq. 2 is printed as a sum; dividing by its number of pixels keeps the meaning of the learning
    rate whatever the crop or batch.

    Args:
        logits: (N, K+1, H, W).
        labels: int64 (N, H, W) in 0..K; 255 = unlabelled.

    Returns:
        0-d float32; 0 where no pixel is labelled.
    """
    # A view, where the layout is channels_last. On CUDA only the 1-D form is deterministic.
    pixels = logits.permute(0, 2, 3, 1).flatten(0, 2)
    labels = labels.flatten()
    if logits.device.type == "cpu":
        return _over_labelled(pixels, labels)
    return _over_all(pixels, labels)


def _over_labelled(pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Gather the labelled pixels first, which saves the 96 % that scribbles leave blank."""
    labelled = (labels != IGNORE).nonzero().squeeze(1)
    count = total(torch.tensor(len(labelled))).clamp(min=1)
    logits = pixels.index_select(0, labelled).float()
    return F.cross_entropy(logits, labels[labelled], reduction="sum") / count


def _over_all(pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Keep shapes fixed: no waiting for the GPU, and a step can be captured or compiled."""
    # PyTorch's own reduction runs in a single block of threads on a GPU.
    each = F.cross_entropy(pixels.float(), labels, ignore_index=IGNORE, reduction="none")
    return each.sum() / total((labels != IGNORE).sum()).clamp(min=1)
