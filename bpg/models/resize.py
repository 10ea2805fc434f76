"""The network's one geometry: grids of 8n+1, 4n+1, 2n+1 and n+1 samples share their corners."""

import torch
import torch.nn.functional as F


def upsample(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Bilinear enlargement of (N, C, h, w) to (N, C, *size), corner pixels on corner pixels."""
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=True)


def halve(maps: torch.Tensor) -> torch.Tensor:
    """Average (N, C, 2h+1, 2w+1) down to (N, C, h+1, w+1), sample i centred on pixel 2i."""
    return F.avg_pool2d(maps, 3, stride=2, padding=1, count_include_pad=False)


def doubled(size: tuple[int, int]) -> tuple[int, int]:
    """Return the size of the next finer grid: n+1 samples become 2n+1."""
    return 2 * size[0] - 1, 2 * size[1] - 1


def padded_size(size: int) -> int:
    """Return the smallest 8n+1 that is at least `size` (pixels)."""
    return -(-(size - 1) // 8) * 8 + 1
