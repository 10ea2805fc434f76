"""DeepLab-v2's head: atrous spatial pyramid pooling."""

import torch
import torch.nn.functional as F
from torch import nn

PUBLISHED_RATES = (6, 12, 18, 24)
"""For crops of 321 pixels, that is, features of 41×41."""


class ASPP(nn.Module):
    """Sum of parallel dilated 3x3 convolutions (Chen et al., PAMI 2018, section 3.2, ASPP-L).

    (N, features, h, w) to scores (N, classes, h, w), float32 under autocast as well. `rates` are
    the dilations; where one is at least h and w, its branch is a 1x1 convolution, and done as one.
    Weights start from N(0, 0.01).
    """

    def __init__(self, features: int, classes: int, rates: tuple[int, ...] = PUBLISHED_RATES):
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(features, classes, 3, padding=rate, dilation=rate) for rate in rates
        )
        for branch in self.branches:
            nn.init.normal_(branch.weight, std=0.01)
            nn.init.zeros_(branch.bias)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the summed scores."""
        scores = _apply(self.branches[0], features)
        # Under autocast each branch is bf16; a sum in bf16 would round three times more.
        scores = scores if scores.dtype == torch.float64 else scores.float()
        for branch in self.branches[1:]:
            scores = scores + _apply(branch, features)
        return scores


def _apply(branch: nn.Conv2d, features: torch.Tensor) -> torch.Tensor:
    """Apply a dilated 3×3 convolution; by its centre alone where all else falls on the padding."""
    if branch.dilation[0] >= max(features.shape[2:]):
        return F.conv2d(features, branch.weight[:, :, 1:2, 1:2], branch.bias)
    return branch(features)
