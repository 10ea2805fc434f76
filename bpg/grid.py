"""The geometry of the network: grids of 8n+1, 4n+1, 2n+1 and n+1 samples with shared corners."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F


def upsample(maps: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Upsample bilinearly, with aligned corners, in at least float32 even under autocast.

    It takes two small matrix products: on CUDA the backward pass of PyTorch's own upsampling is not
    deterministic, and for DeepLab's logits of 13×13 this is three times as fast on a CPU.

    Args:
        maps: (N, C, h, w).
        size: Height and width of the result, in pixels.

    Returns:
        (N, C, *size), in the layout `channels_last`; float64 for float64, float32 otherwise.
    """
    batch, channels, height, width = maps.shape
    device = maps.device.type
    with torch.autocast("cpu" if device == "meta" else device, enabled=False):
        maps = maps if maps.dtype == torch.float64 else maps.float()
        vertical, horizontal = (
            _weights(small, large, maps.dtype, maps.device)
            for small, large in zip((height, width), size, strict=True)
        )
        # Rows first: the second product, over all columns at once, is the larger one.
        rows = maps.permute(0, 2, 3, 1).reshape(batch * height, width, channels)
        wide = (horizontal @ rows).reshape(batch, height, size[1] * channels)
        tall = (vertical @ wide).reshape(batch, *size, channels)
    return tall.permute(0, 3, 1, 2)


def _weights(small: int, large: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Return (large, small): the weight of each of the `small` samples in each of the `large` ones.

    On the grids of this module the weights are multiples of 1/8: exact, even in bf16.
    """
    step = (small - 1) / max(1, large - 1)
    places = torch.arange(large, dtype=torch.float64, device=device) * step
    samples = torch.arange(small, dtype=torch.float64, device=device)
    return (1 - (places[:, None] - samples).abs()).clamp(min=0).to(dtype)


def halve(maps: torch.Tensor) -> torch.Tensor:
    """Average (N, C, 2h+1, 2w+1) down to (N, C, h+1, w+1), with sample i centred on pixel 2i."""
    return F.avg_pool2d(maps, 3, stride=2, padding=1, count_include_pad=False)


def halve_by_maximum(maps: torch.Tensor) -> torch.Tensor:
    """Reduce (N, C, 2h+1, 2w+1) to (N, C, h+1, w+1) by the maximum over 3×3, centred as `halve`."""
    return F.max_pool2d(maps, 3, stride=2, padding=1)


def doubled(size: Sequence[int]) -> tuple[int, int]:
    """Return the size of the next finer grid: n+1 samples become 2n+1."""
    return 2 * size[0] - 1, 2 * size[1] - 1


def padded_size(size: int) -> int:
    """Return the smallest 8n+1 that is at least `size` (pixels)."""
    return -(-(size - 1) // 8) * 8 + 1
