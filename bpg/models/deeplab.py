"""DeepLab-v2's head: atrous spatial pyramid pooling."""

import torch
from torch import nn


class ASPP(nn.Module):
    """Sum of parallel dilated 3x3 convolutions (Chen et al., PAMI 2018, section 3.2, ASPP-L).

    (N, features, h, w) to scores (N, classes, h, w). Weights start from N(0, 0.01).
    """

    def __init__(self, features: int, classes: int, rates: tuple[int, ...] = (6, 12, 18, 24)):
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(features, classes, 3, padding=rate, dilation=rate) for rate in rates
        )
        for branch in self.branches:
            nn.init.normal_(branch.weight, std=0.01)
            nn.init.zeros_(branch.bias)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the summed scores."""
        scores = self.branches[0](features)
        for branch in self.branches[1:]:
            scores = scores + branch(features)
        return scores
