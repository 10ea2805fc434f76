"""What a regulariser sees of a batch, at full or reduced size."""

from dataclasses import dataclass

import torch

from bpg.constants import IGNORE
from bpg.grid import halve


@dataclass(frozen=True)
class Inputs:
    """A batch on a grid whose samples lie `spacing` pixels apart.

    Attributes:
        probabilities: (N, K+1, h, w), which sum to 1.
        images: (N, 3, h, w), RGB, 0..255.
        valid: (N, h, w) bool, False where padding contributed.
        unlabelled: (N, h, w) bool, valid and without a label.
        features: The backbone's last feature map (N, F, ., .), on a grid of its own.
        spacing: In pixels of the full size.
    """

    probabilities: torch.Tensor
    images: torch.Tensor
    valid: torch.Tensor
    unlabelled: torch.Tensor
    features: torch.Tensor
    spacing: int = 1

    def halved(self) -> "Inputs":
        """Average down to half the size: 2n+1 samples become n+1; features stay as they are."""
        # A window with a padded pixel is invalid, so that padding has no influence at all.
        valid = halve(self.valid[:, None].to(self.images.dtype))[:, 0] > 1 - 1e-4
        return Inputs(
            halve(self.probabilities),
            halve(self.images),
            valid,
            self.unlabelled[:, ::2, ::2] & valid,
            self.features,
            2 * self.spacing,
        )

    def reduced(self, reduction: int) -> "Inputs":
        """Average down to 1/`reduction` of the full size.

        Args:
            reduction: A power of two; 1 returns the inputs themselves.
        """
        inputs = self
        while inputs.spacing < reduction:
            inputs = inputs.halved()
        return inputs


def make_inputs(
    logits: torch.Tensor,
    images: torch.Tensor,
    labels: torch.Tensor,
    valid: torch.Tensor,
    features: torch.Tensor,
) -> Inputs:
    """Return the full-size inputs of a training step.

    H and W must be of the form 8n+1. Gradients flow through the logits, not the features.

    Args:
        logits: (N, K+1, H, W).
        images: (N, 3, H, W), RGB, 0..255.
        labels: (N, H, W); 255 = unlabelled.
        valid: (N, H, W) bool, False in padding.
        features: The backbone's last feature map (N, F, h, w).
    """
    return Inputs(
        logits.float().softmax(dim=1),
        images,
        valid,
        valid & (labels == IGNORE),
        features.detach().float(),
    )
