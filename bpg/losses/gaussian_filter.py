"""Sums over all pairs of pixels, weighed by how near and alike they are: exact, tile by tile."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.autograd.function import once_differentiable

# Pixels a side of the square tiles of the affinity matrix: 1 MiB of float32, which stays in a
# CPU core's cache, or 64 MiB, which keeps a GPU busy.
TILE = {"cpu": 512, "cuda": 4096}

LEAST = -80.0
"""The smallest exponent: e^-80 is 1.8e-35, nothing beside a pixel's own 1.

Below -87 float32 has no normal numbers left, and exponentials and products take 60 to 180 times as
long on Intel's processors. Of real images, most pairs lie there.
"""


def pixel_features(images: torch.Tensor, *, xy: float, rgb: float, spacing: int) -> torch.Tensor:
    """Return (N, 5, H·W): positions over `xy` and colours over `rgb`, the kernel's deviations.

    images (N, 3, H, W), 0..255, every `spacing`-th pixel of the full size. `xy` in pixels of the
    full size, `rgb` in 0..255.
    """
    count, _, height, width = images.shape
    rows = torch.arange(height, dtype=images.dtype, device=images.device) * (spacing / xy)
    columns = torch.arange(width, dtype=images.dtype, device=images.device) * (spacing / xy)
    places = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
    joined = torch.cat([places.expand(count, -1, -1, -1), images / rgb], dim=1)
    return joined.flatten(2)


def gaussian_sums(features: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """Return maps·A (N, C, P), with A_ij = exp(-|f_i - f_j|² / 2) within each image.

    features (N, F, P), maps (N, C, P). Every pair counts, each pixel with itself too; nothing is
    approximated, but for exponents under `LEAST`, which count as that. Of the P·P matrix one tile
    is in memory at a time (at most `TILE`² values, whatever the size of the image); A is symmetric,
    so half of the tiles are computed and each is used twice.
    """
    tile = TILE.get(features.device.type, TILE["cpu"])
    sums = torch.zeros_like(maps)
    with _exact_products():
        for points, values, total in zip(features, maps, sums, strict=True):
            # The exponent is one product: |a - b|² = |a|² + |b|² - 2ab. Around the mean, the
            # squares are small and so is what their difference loses.
            points = points - points.mean(1, keepdim=True)  # noqa: PLW2901
            half = points.square().sum(0, keepdim=True) / -2
            ones = torch.ones_like(half)
            left, right = torch.cat([points, half, ones]).T, torch.cat([points, ones, half])
            blocks = [slice(s, s + tile) for s in range(0, points.shape[1], tile)]
            for number, rows in enumerate(blocks):
                for columns in blocks[number:]:
                    affinity = (left[rows] @ right[:, columns]).clamp_min_(LEAST).exp_()
                    # A few long rows times a tile: four times faster than a tile times columns.
                    total[:, columns] += values[:, rows] @ affinity
                    if columns != rows:
                        total[:, rows] += values[:, columns] @ affinity.T
    return sums


@contextmanager
def _exact_products() -> Iterator[None]:
    """Multiply in the given precision: TF32 and autocast would ruin the exponents."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


class ClosedForm(torch.autograd.Function):
    """A number whose derivative was computed along with it, and is not followed further."""

    @staticmethod
    def forward(ctx, variable: torch.Tensor, value: torch.Tensor, gradient: torch.Tensor):
        """Return `value` as a function of `variable` with the derivative `gradient`."""
        ctx.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, outer: torch.Tensor):
        """Return outer · gradient."""
        (gradient,) = ctx.saved_tensors
        return outer * gradient, None, None


def closed_form(
    variable: torch.Tensor, value: torch.Tensor, gradient: torch.Tensor
) -> torch.Tensor:
    """Return `value` (0-d) such that its derivative by `variable` is `gradient`."""
    return ClosedForm.apply(variable, value, gradient)
