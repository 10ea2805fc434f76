"""Prediction Refinement Network (paper, section 3.1 and the top of Figure 2)."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from bpg.grid import doubled, halve, upsample
from bpg.models.options import Mixing


class LowLevel(nn.Module):
    """Five 3x3 convolutions on the image; one channel out ("5 convolutional operations").

    (N, 3, H, W) to a list of (N, 1, H/s, W/s), coarsest scale first, the finest at full size.
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
        """Return the low-level map at each scale."""
        maps = images
        for convolution in self.convolutions[:-1]:
            maps = F.relu(convolution(maps), inplace=True)
        pyramid = [self.convolutions[-1](maps)]
        for _ in range(self.scales - 1):
            pyramid.insert(0, halve(pyramid[0]))
        return pyramid


class Refine(nn.Module):
    """Put a low-level map beside each score channel and refine by two 3x3 convolutions.

    logits (N, C, h, w) and low (N, 1, h, w) to a correction (N, C, h, w). `mixing` says how the
    convolutions treat the C channels, which the paper leaves open:
    - mixed: one convolution sees all channels and the map once (C+1 inputs, `width` hidden);
    - shared: the same small network for every channel paired with the map;
    - grouped: a small network of its own for every channel paired with the map.
    The last convolution starts at zero, so that the network starts as the baseline.
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
        """Return what is to be added to the logits."""
        batch, classes, height, width = logits.shape
        if self.mixing == "mixed":
            # In the map's precision, and by pixel: of one channel, PyTorch doesn't know the layout.
            by_pixel = [maps.permute(0, 2, 3, 1) for maps in (logits.to(low.dtype), low)]
            joined = torch.cat(by_pixel, dim=3).permute(0, 3, 1, 2)
        else:
            pairs = torch.stack([logits, low.expand_as(logits)], dim=2)  # N, C, 2, h, w
            leading = (batch * classes, 2) if self.mixing == "shared" else (batch, 2 * classes)
            joined = pairs.reshape(*leading, height, width)
        refined = self.second(F.relu(self.first(joined), inplace=True))
        return refined.reshape(batch, classes, height, width)


class PRN(nn.Module):
    """Upsample the logits step by step with low-level detail.

    Each of the `steps` doubles the grid: up(x), refine beside the low-level map of that scale,
    then add DeepLab's bilinearly enlarged logits (the "⊕" of Figure 2). With fewer than three
    steps the last result is enlarged to the full size bilinearly.
    """

    def __init__(self, classes: int, *, steps: int, width: int, low_width: int, mixing: Mixing):
        super().__init__()
        self.low_level = LowLevel(low_width, scales=3)
        self.refine = nn.ModuleList(Refine(classes, width, mixing) for _ in range(steps))

    def forward(self, images: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """images (N, 3, 8h+1, 8w+1), logits (N, C, h+1, w+1) to (N, C, 8h+1, 8w+1)."""
        refined = logits
        for refine, low in zip(self.refine, self.low_level(images), strict=False):
            size = doubled(refined.shape[2:])
            coarse = upsample(logits, size)
            current = coarse if refined is logits else upsample(refined, size)
            refined = refine(current, low) + coarse
        if refined.shape[2:] == images.shape[2:]:
            return refined
        return upsample(refined, images.shape[2:])
