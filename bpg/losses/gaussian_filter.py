"""Sums over all pairs of pixels, weighted by proximity and similarity: exact, tile by tile."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.autograd.function import once_differentiable

# Side of the square tiles of the affinity matrix, in pixels: 1 MiB of float32, which stays in a
# CPU core's cache, or 64 MiB, which keeps a GPU busy.
TILE = {"cpu": 512, "cuda": 4096}

LEAST = -80.0
"""The smallest exponent: e^-80 is 1.8e-35, negligible beside a pixel's own 1.

Below -87 the results are denormal in float32, and exponentials and products take 60 to 180 times as
long on Intel's processors. In real images, most pairs are down there.
"""


def pixel_features(images: torch.Tensor, *, xy: float, rgb: float, spacing: int) -> torch.Tensor:
    """Return position and colour of every pixel, divided by the kernel's standard deviations.

    Args:
        images: (N, 3, H, W), RGB, 0..255, every `spacing`-th pixel of the full size.
        xy: Standard deviation of the position, in pixels of the full size.
        rgb: Standard deviation of the colour, on the scale 0..255.
        spacing: Distance of two samples, in pixels of the full size.

    Returns:
        (N, 5, H·W): row, column, red, green, blue.
    """
    count, _, height, width = images.shape
    rows = torch.arange(height, dtype=images.dtype, device=images.device) * (spacing / xy)
    columns = torch.arange(width, dtype=images.dtype, device=images.device) * (spacing / xy)
    places = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
    joined = torch.cat([places.expand(count, -1, -1, -1), images / rgb], dim=1)
    return joined.flatten(2)


def gaussian_sums(features: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """Return maps·A with A_ij = exp(-|f_i - f_j|² / 2) within each image.

    Every pair counts, including each pixel with itself. Nothing is approximated, except that
    exponents below `LEAST` count as `LEAST`. Only one tile of the P·P matrix is in memory at a time
    (at most `TILE`² values, whatever the size of the image); A is symmetric, so half of the tiles
    are computed and each is used twice.

    Args:
        features: f (N, F, P).
        maps: (N, C, P).

    Returns:
        (N, C, P).
    """
    tile = TILE.get(features.device.type, TILE["cpu"])
    sums = torch.zeros_like(maps)
    with _exact_products():
        for points, values, total in zip(features, maps, sums, strict=True):
            # The exponent is one product: |a - b|² = |a|² + |b|² - 2ab. With the mean subtracted,
            # the squares are small, and so is what cancellation loses.
            points = points - points.mean(1, keepdim=True)  # noqa: PLW2901
            half = points.square().sum(0, keepdim=True) / -2
            ones = torch.ones_like(half)
            left, right = torch.cat([points, half, ones]).T, torch.cat([points, ones, half])
            blocks = [slice(s, s + tile) for s in range(0, points.shape[1], tile)]
            for number, rows in enumerate(blocks):
                for columns in blocks[number:]:
                    affinity = (left[rows] @ right[:, columns]).clamp_min_(LEAST).exp_()
                    # A few long rows times a tile is four times faster than a tile times columns.
                    total[:, columns] += values[:, rows] @ affinity
                    if columns != rows:
                        total[:, rows] += values[:, columns] @ affinity.T
    return sums


@contextmanager
def _exact_products() -> Iterator[None]:
    """Multiply in the operands' own precision: TF32 and autocast would ruin the exponents."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


class ClosedForm(torch.autograd.Function):
    """A value whose derivative was computed along with it; there is no second derivative."""

    @staticmethod
    def forward(ctx, variable: torch.Tensor, value: torch.Tensor, gradient: torch.Tensor):
        """Return `value` as a function of `variable` with the derivative `gradient`.

        Args:
            ctx: Keeps the gradient.
            variable: Of any shape.
            value: 0-d.
            gradient: Of the shape of `variable`.
        """
        ctx.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, outer: torch.Tensor):
        """Return outer · gradient for `variable`, nothing for the other two."""
        (gradient,) = ctx.saved_tensors
        return outer * gradient, None, None


def closed_form(
    variable: torch.Tensor, value: torch.Tensor, gradient: torch.Tensor
) -> torch.Tensor:
    """Return `value` with `gradient` as its derivative with respect to `variable`.

    Args:
        variable: Of any shape.
        value: 0-d.
        gradient: Of the shape of `variable`.

    Returns:
        0-d. It cannot be differentiated twice.
    """
    return ClosedForm.apply(variable, value, gradient)
