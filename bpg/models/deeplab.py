"""DeepLab-v2's head: atrous spatial pyramid pooling."""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

PUBLISHED_RATES = (6, 12, 18, 24)
"""For crops of 321 pixels, that is, feature maps of 41×41."""


class ASPP(nn.Module):
    """Sum of parallel dilated 3×3 convolutions (Chen et al., PAMI 2018, section 3.2, ASPP-L).

    Maps features (N, features, h, w) to logits (N, classes, h, w), which are float32 under
    autocast, too. Weights are initialised from a normal distribution with standard deviation 0.01,
    biases to zero.

    It is computed as one 1×1 convolution, from the features to the logits of every tap, followed
    by a sum of these, shifted: with as few outputs as there are classes, a dilated convolution
    takes 5 to 10 times as long. Taps that would see nothing but padding are left out.

    Args:
        features: Channels in.
        classes: Channels out.
        rates: The dilations, one branch each.
    """

    branches: Sequence[nn.Conv2d]

    def __init__(self, features: int, classes: int, rates: tuple[int, ...] = PUBLISHED_RATES):
        super().__init__()
        branches = nn.ModuleList(
            nn.Conv2d(features, classes, 3, padding=rate, dilation=rate) for rate in rates
        )
        for branch in branches:
            weight, bias = branch.parameters()
            nn.init.normal_(weight, std=0.01)
            nn.init.zeros_(bias)
        self.branches = cast(Sequence[nn.Conv2d], branches)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, classes, h, w), summed over the branches."""
        height, width = features.shape[2:]
        # All branches share the centre tap's position.
        centre = cast(torch.Tensor, sum(branch.weight[:, :, 1, 1] for branch in self.branches))
        shifts, taps = [(0, 0)], [centre]
        for branch in self.branches:
            rate = branch.dilation[0]
            for row, column in _AROUND:
                down, right = (row - 1) * rate, (column - 1) * rate
                if abs(down) < height and abs(right) < width:
                    shifts.append((down, right))
                    taps.append(branch.weight[:, :, row, column])
        weights = torch.cat(taps)
        if features.device.type == "cuda":
            # The GPU's fast bf16 products need aligned rows: multiples of eight channels.
            weights = F.pad(weights, (0, 0, 0, -len(weights) % 8))
        by_tap = F.conv2d(features, weights[:, :, None, None])
        logits = _ShiftedSum.apply(by_tap.permute(0, 2, 3, 1), tuple(shifts), len(taps[0]))
        logits = logits + sum(branch.bias for branch in self.branches if branch.bias is not None)
        return logits.permute(0, 3, 1, 2)


_AROUND = [(row, column) for row in range(3) for column in range(3) if (row, column) != (1, 1)]


class _ShiftedSum(torch.autograd.Function):
    """Sum over t of maps[:, y + down_t, x + right_t, t], zero outside; in at least float32.

    Maps (N, h, w, at least shifts · C) to (N, h, w, C); surplus channels are ignored. Autograd's
    own backward pass would add up as many tensors of the input's size as there are shifts.
    """

    @staticmethod
    def forward(
        ctx, maps: torch.Tensor, shifts: tuple[tuple[int, int], ...], channels: int
    ) -> torch.Tensor:
        height, width, ctx.columns = maps.shape[1:]
        ctx.shifts, ctx.dtype = shifts, maps.dtype
        maps = _by_tap(maps, len(shifts), channels)
        # The first shift is (0, 0).
        total = maps[..., 0, :].to(torch.promote_types(maps.dtype, torch.float32), copy=True)
        for tap, (down, right) in list(enumerate(shifts))[1:]:
            (to_rows, rows), (to_columns, columns) = _meet(height, down), _meet(width, right)
            total[:, to_rows, to_columns] += maps[:, rows, columns, tap]
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        number, height, width, channels = gradient.shape
        shape = number, height, width, ctx.columns
        result = torch.zeros(shape, dtype=ctx.dtype, device=gradient.device)
        of_maps = _by_tap(result, len(ctx.shifts), channels)
        for tap, (down, right) in enumerate(ctx.shifts):
            (from_rows, rows), (from_columns, columns) = _meet(height, down), _meet(width, right)
            of_maps[:, rows, columns, tap] = gradient[:, from_rows, from_columns]
        return result, None, None


def _by_tap(maps: torch.Tensor, taps: int, channels: int) -> torch.Tensor:
    """View (N, h, w, at least taps · channels) as (N, h, w, taps, channels)."""
    return maps[..., : taps * channels].unflatten(3, (taps, channels))


def _meet(extent: int, shift: int) -> tuple[slice, slice]:
    """Return the slices of i and of i + `shift`, for all i with both in 0..`extent` - 1."""
    first, last = max(0, -shift), min(extent, extent - shift)
    return slice(first, last), slice(first + shift, last + shift)
