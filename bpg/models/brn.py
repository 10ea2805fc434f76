"""Boundary Regression Network (paper, section 3.2, Eq. 1, Figure 3)."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from bpg.models.options import Channels, Source

# Its sigmoid is 0.29, the mean of HED's maps, so that the first iterations need not learn it.
START = -0.9
# Logits start near zero, where a narrow stack of plain ReLUs can be dead from the first step on.
SLOPE = 0.1


def foreground_background(maps: torch.Tensor) -> torch.Tensor:
    """Reduce class maps to a background and a foreground channel (Eq. 1).

    The foreground is the maximum over the K object channels. Its gradient goes to the arg-max
    channel alone, also among ties: `max(dim)` does that, `amax` does not.

    Args:
        maps: (N, K+1, H, W), background first.

    Returns:
        (N, 2, H, W): background, foreground.
    """
    background, objects = maps.split([1, maps.shape[1] - 1], dim=1)
    return torch.cat([background, objects.max(dim=1, keepdim=True).values], dim=1)


class BRN(nn.Module):
    """Predict edges from the class maps with a few 3×3 convolutions.

    Maps logits (N, K+1, H, W) to edge logits (N, 1, H, W); the paper's prediction is their
    sigmoid. The maps are padded by replication as far as the convolutions reach, so that the image
    border is not an edge.

    Args:
        classes: K+1, the background included.
        channels: "foreground" reduces the maps to two channels first (C = 2), "all_channels"
            feeds them as they are (C = K+1, Table 2).
        source: Whether the convolutions see softmax "probabilities" or raw "logits".
        width: Hidden channels.
        depth: Number of convolutions.
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
        """Return the edge logits (N, 1, H, W) of class logits (N, K+1, H, W)."""
        maps = logits.softmax(dim=1) if self.source == "probabilities" else logits
        if self.channels == "foreground":
            maps = foreground_background(maps)
        # Padded once for all layers, and before the hidden ones, which have more channels.
        maps = _continued(maps, len(self.convolutions))
        for convolution in self.convolutions[:-1]:
            maps = F.leaky_relu(convolution(maps), SLOPE, inplace=True)
        return self.convolutions[-1](maps)


def _continued(maps: torch.Tensor, reach: int) -> torch.Tensor:
    """Pad (N, C, H, W) by replication, `reach` pixels on each side."""
    if maps.device.type == "cpu":
        return F.pad(maps, (reach,) * 4, mode="replicate")
    return _joined(maps, reach)


def _joined(maps: torch.Tensor, reach: int) -> torch.Tensor:
    """Pad by concatenation: on CUDA the derivative of `F.pad` needs a sort to be deterministic."""
    for dim in (2, 3):
        first, last = maps.narrow(dim, 0, 1), maps.narrow(dim, -1, 1)
        size = list(maps.shape)
        size[dim] = reach
        maps = torch.cat([first.expand(size), maps, last.expand(size)], dim)
    return maps
