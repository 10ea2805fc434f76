"""What a regulariser sees of a batch, at full or reduced size."""

from dataclasses import dataclass

import torch

from bpg.constants import IGNORE
from bpg.grid import halve, halve_by_maximum


@dataclass(frozen=True)
class Inputs:
    """A batch on a grid whose samples lie `spacing` pixels apart.

    Attributes:
        probabilities: (N, K+1, h, w), which sum to 1.
        images: (N, 3, h, w), RGB, 0..255.
        valid: (N, h, w) bool, False where padding contributed.
        labels: (N, h, w) int64, 255 = unlabelled.
        features: The backbone's last feature map (N, F, ., .), on a grid of its own.
        edges: (N, h, w), probabilities of an edge; None if no regulariser looks at them.
        teacher: Like `probabilities`, of the mean teacher; None without one.
        spacing: In pixels of the full size.
    """

    probabilities: torch.Tensor
    images: torch.Tensor
    valid: torch.Tensor
    labels: torch.Tensor
    features: torch.Tensor
    edges: torch.Tensor | None = None
    teacher: torch.Tensor | None = None
    spacing: int = 1

    @property
    def unlabelled(self) -> torch.Tensor:
        """(N, h, w) bool: valid and without a label."""
        return self.valid & (self.labels == IGNORE)

    def halved(self) -> "Inputs":
        """Bring everything but the features down to half the size: 2n+1 samples become n+1.

        Edges to the strongest nearby, labels to the sample's own, the rest to the mean.
        """
        # A window with a padded pixel is invalid, so that padding has no influence at all.
        valid = halve(self.valid[:, None].to(self.images.dtype))[:, 0] > 1 - 1e-4
        return Inputs(
            halve(self.probabilities),
            halve(self.images),
            valid,
            self.labels[:, ::2, ::2],
            self.features,
            None if self.edges is None else halve_by_maximum(self.edges[:, None])[:, 0],
            None if self.teacher is None else halve(self.teacher),
            2 * self.spacing,
        )

    def reduced(self, reduction: int) -> "Inputs":
        """Bring everything down to 1/`reduction` of the full size, as `halved` does.

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
    edges: torch.Tensor | None = None,
    teacher_logits: torch.Tensor | None = None,
) -> Inputs:
    """Return the full-size inputs of a training step.

    H and W must be of the form 8n+1. Gradients flow through the logits, not the features.

    Args:
        logits: (N, K+1, H, W).
        images: (N, 3, H, W), RGB, 0..255.
        labels: (N, H, W) int64; 255 = unlabelled.
        valid: (N, H, W) bool, False in padding.
        features: The backbone's last feature map (N, F, h, w).
        edges: (N, H, W) in 0..1; None if no regulariser looks at them.
        teacher_logits: (N, K+1, H, W), the mean teacher's; None without one.
    """
    return Inputs(
        logits.float().softmax(dim=1),
        images,
        valid,
        labels,
        features.detach().float(),
        edges,
        None if teacher_logits is None else teacher_logits.detach().float().softmax(dim=1),
    )
