"""Boundary Regression Network (paper, section 3.2, Eq. 1, Figure 3)."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from bpg.models.options import Channels, Source

# The sigmoid of this is 0.29, the mean of HED's maps: the first iterations need not find it.
START = -0.9
# Logits start near zero, where a narrow chain of plain ReLUs can be dead from the first step on.
SLOPE = 0.1


def foreground_background(maps: torch.Tensor) -> torch.Tensor:
    """Divide class maps (N, K+1, H, W) into background and foreground channels (N, 2, H, W).

    Foreground is the maximum over the K object channels; its gradient goes to the arg-max
    channel alone (Eq. 1), which is what `max(dim)` does and `amax` does not among ties.
    """
    background, objects = maps.split([1, maps.shape[1] - 1], dim=1)
    return torch.cat([background, objects.max(dim=1, keepdim=True).values], dim=1)


class BRN(nn.Module):
    """Predict edges from the class maps by a few 3x3 convolutions.

    logits (N, K+1, H, W) to edge logits (N, 1, H, W); the paper's prediction is their sigmoid.
    `channels` "foreground" divides the maps into two first (C = 2), "all_channels" feeds them
    as they are (C = K+1, Table 2). `source` says whether the convolutions see softmax
    probabilities or raw logits. The maps are continued beyond their borders by replication, as far
    as the convolutions reach, so that an image's frame is no edge.
    """

    def __init__(
        self,
        classes: int,
        *,
        channels: Channels,
        source: Source,
        width: int,
        depth: int,
    ):
        super().__init__()
        self.channels = channels
        self.source = source
        widths = [2 if channels == "foreground" else classes] + [width] * (depth - 1) + [1]
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3) for a, b in pairwise(widths))
        for convolution in self.convolutions:
            weight, bias = convolution.parameters()
            nn.init.kaiming_normal_(weight, a=SLOPE)
            nn.init.zeros_(bias)
        nn.init.constant_(bias, START)  # the last one's

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the edge logits."""
        maps = logits.softmax(dim=1) if self.source == "probabilities" else logits
        if self.channels == "foreground":
            maps = foreground_background(maps)
        # Once for all, and before the hidden layers, which have more channels.
        maps = _continued(maps, len(self.convolutions))
        for convolution in self.convolutions[:-1]:
            maps = F.leaky_relu(convolution(maps), SLOPE, inplace=True)
        return self.convolutions[-1](maps)


def _continued(maps: torch.Tensor, reach: int) -> torch.Tensor:
    """Replicate the border pixels of (N, C, H, W) outwards, `reach` times on each side."""
    if maps.device.type == "cpu":
        return F.pad(maps, (reach,) * 4, mode="replicate")
    return _joined(maps, reach)


def _joined(maps: torch.Tensor, reach: int) -> torch.Tensor:
    """The same from parts: PyTorch's own derivative on CUDA needs a sort to repeat exactly."""
    for dim in (2, 3):
        first, last = maps.narrow(dim, 0, 1), maps.narrow(dim, -1, 1)
        size = list(maps.shape)
        size[dim] = reach
        maps = torch.cat([first.expand(size), maps, last.expand(size)], dim)
    return maps
