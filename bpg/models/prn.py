"""Prediction Refinement Network (paper, section 3.1 and the top of Figure 2)."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from bpg.grid import doubled, halve, upsample
from bpg.models.options import Mixing


class LowLevel(nn.Module):
    """Five 3×3 convolutions on the image, with one output channel ("5 convolutional operations").

    Maps images (N, 3, H, W) to a list of maps (N, 1, H/s, W/s), coarsest scale first, the finest at
    full size.

    Args:
        width: Hidden channels.
        scales: Number of maps, each half the size of the next.
    """

    def __init__(self, width: int, scales: int):
        super().__init__()
        channels = [3, width, width, width, width, 1]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(channels)
        )
        for convolution in self.convolutions:
            weight, bias = convolution.parameters()
            nn.init.kaiming_normal_(weight, nonlinearity="relu")
            nn.init.zeros_(bias)
        self.scales = scales

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the low-level map at each scale, coarsest first."""
        maps = images
        for convolution in self.convolutions[:-1]:
            maps = F.relu(convolution(maps), inplace=True)
        pyramid = [self.convolutions[-1](maps)]
        for _ in range(self.scales - 1):
            pyramid.insert(0, halve(pyramid[0]))
        return pyramid


class Refine(nn.Module):
    """Concatenate a low-level map with the logits and refine them with two 3×3 convolutions.

    Maps logits (N, C, h, w) and a low-level map (N, 1, h, w) to a correction (N, C, h, w). The last
    convolution starts at zero, so that the network starts as the baseline.

    Args:
        classes: C.
        width: Hidden channels (for "grouped": of each class).
        mixing: How the convolutions treat the C channels, which the paper leaves open.
            "mixed": one convolution sees all channels, and the map once (C+1 inputs).
            "shared": the same small network for every channel, paired with the map.
            "grouped": a small network of its own for every channel, paired with the map.
    """

    def __init__(self, classes: int, width: int, mixing: Mixing):
        super().__init__()
        self.mixing = mixing
        inputs, hidden, outputs, groups = {
            "mixed": (classes + 1, width, classes, 1),
            "shared": (2, width, 1, 1),
            "grouped": (2 * classes, width * classes, classes, classes),
        }[mixing]
        self.first = nn.Conv2d(inputs, hidden, 3, padding=1, groups=groups)
        self.second = nn.Conv2d(hidden, outputs, 3, padding=1, groups=groups)
        weight, bias = self.first.parameters()
        nn.init.kaiming_normal_(weight, nonlinearity="relu")
        for parameter in (bias, *self.second.parameters()):
            nn.init.zeros_(parameter)

    def forward(self, logits: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
        """Return the correction, which is to be added to the enlarged logits."""
        batch, classes, height, width = logits.shape
        if self.mixing == "mixed":
            # In the map's precision; by pixel, as PyTorch cannot tell the layout of one channel.
            by_pixel = [maps.permute(0, 2, 3, 1) for maps in (logits.to(low.dtype), low)]
            joined = torch.cat(by_pixel, dim=3).permute(0, 3, 1, 2)
        else:
            pairs = torch.stack([logits, low.expand_as(logits)], dim=2)  # N, C, 2, h, w
            leading = (batch * classes, 2) if self.mixing == "shared" else (batch, 2 * classes)
            joined = pairs.reshape(*leading, height, width)
        refined = self.second(F.relu(self.first(joined), inplace=True))
        return refined.reshape(batch, classes, height, width)


class PRN(nn.Module):
    """Upsample the logits step by step, with low-level detail.

    Maps images (N, 3, 8h+1, 8w+1) and coarse logits (N, C, h+1, w+1) to logits
    (N, C, 8h+1, 8w+1). Each step doubles the grid: it upsamples the result so far, refines it with
    the low-level map of that scale, then adds DeepLab's bilinearly upsampled logits (the "⊕" of
    Figure 2). With fewer than three steps the last result is upsampled to full size bilinearly.

    Args:
        classes: C.
        steps: Number of ×2 steps, 1 to 3.
        width: Hidden channels of a step.
        low_width: Hidden channels of the low-level branch.
        mixing: As in `Refine`.
    """

    def __init__(self, classes: int, *, steps: int, width: int, low_width: int, mixing: Mixing):
        super().__init__()
        self.low_level = LowLevel(low_width, scales=3)
        self.refine = nn.ModuleList(Refine(classes, width, mixing) for _ in range(steps))

    def forward(self, images: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """Return the refined logits at the size of the images."""
        refined = logits
        for refine, low in zip(self.refine, self.low_level(images), strict=False):
            size = doubled(refined.shape[2:])
            coarse = upsample(logits, size)
            current = coarse if refined is logits else upsample(refined, size)
            refined = refine(current, low) + coarse
        if refined.shape[2:] == images.shape[2:]:
            return refined
        return upsample(refined, images.shape[2:])
