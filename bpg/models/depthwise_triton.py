"""Kernels in Triton for depthwise convolutions on a GPU; `depthwise_gpu` makes operators of them.

Maps are in the layout `channels_last`, float32 or shorter, and padded by zeros by half the kernel.
Sums are in float32, in an order that depends on the sizes alone: equal inputs give equal bits.
"""

# ruff: noqa: N803 constants of a kernel are in capitals, as is usual in Triton

import torch
import triton
import triton.language as tl

PIXELS, CHANNELS = 32, 64  # a program's share of the result
CHUNKS = 256  # of pixels, whose parts of the weights' gradient are summed at the end

# Not specialised on: otherwise images of other sizes would have kernels compiled of their own.
_SIZES = ["pixels", "rows", "columns", "height", "width", "dilation"]


@triton.jit(do_not_specialize=_SIZES)
def _convolve(
    maps,
    taps,
    result,
    pixels,
    rows,
    columns,
    height,
    width,
    channels,
    dilation,
    SIZE: tl.constexpr,
    STRIDE: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    inside, real = pixel < pixels, channel < channels
    x = pixel % columns
    y = (pixel // columns) % rows
    image = pixel // (columns * rows)
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for tap in tl.static_range(SIZE * SIZE):
        from_y = y * STRIDE + (tap // SIZE - SIZE // 2) * dilation
        from_x = x * STRIDE + (tap % SIZE - SIZE // 2) * dilation
        there = inside & (from_y >= 0) & (from_y < height) & (from_x >= 0) & (from_x < width)
        place = (image * height + from_y) * width + from_x
        values = tl.load(
            maps + place[:, None] * channels + channel[None, :],
            mask=there[:, None] & real[None, :],
            other=0.0,
        )
        weight = tl.load(taps + tap * channels + channel, mask=real, other=0.0)
        total += values.to(tl.float32) * weight.to(tl.float32)[None, :]
    tl.store(
        result + pixel[:, None] * channels + channel[None, :],
        total.to(result.dtype.element_ty),
        mask=inside[:, None] & real[None, :],
    )


@triton.jit(do_not_specialize=_SIZES)
def _input_gradient(
    gradient,
    taps,
    result,
    pixels,
    rows,
    columns,
    height,
    width,
    channels,
    dilation,
    SIZE: tl.constexpr,
    STRIDE: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    inside, real = pixel < pixels, channel < channels
    x = pixel % width
    y = (pixel // width) % height
    image = pixel // (width * height)
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for tap in tl.static_range(SIZE * SIZE):
        to_y = y - (tap // SIZE - SIZE // 2) * dilation
        to_x = x - (tap % SIZE - SIZE // 2) * dilation
        there = inside & (to_y >= 0) & (to_x >= 0)
        if STRIDE > 1:
            there = there & (to_y % STRIDE == 0) & (to_x % STRIDE == 0)
            to_y = to_y // STRIDE
            to_x = to_x // STRIDE
        there = there & (to_y < rows) & (to_x < columns)
        place = (image * rows + to_y) * columns + to_x
        values = tl.load(
            gradient + place[:, None] * channels + channel[None, :],
            mask=there[:, None] & real[None, :],
            other=0.0,
        )
        weight = tl.load(taps + tap * channels + channel, mask=real, other=0.0)
        total += values.to(tl.float32) * weight.to(tl.float32)[None, :]
    tl.store(
        result + pixel[:, None] * channels + channel[None, :],
        total.to(result.dtype.element_ty),
        mask=inside[:, None] & real[None, :],
    )


@triton.jit(do_not_specialize=[*_SIZES, "each"])
def _weight_gradient(
    maps,
    gradient,
    parts,
    pixels,
    each,
    rows,
    columns,
    height,
    width,
    channels,
    dilation,
    SIZE: tl.constexpr,
    STRIDE: tl.constexpr,
    TAPS: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    chunk = tl.program_id(0)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    tap = tl.arange(0, TAPS)  # a power of two, as Triton wants it: the surplus is masked
    real, is_tap = channel < channels, tap < SIZE * SIZE
    down = (tap // SIZE - SIZE // 2) * dilation
    right = (tap % SIZE - SIZE // 2) * dilation
    total = tl.zeros((TAPS, CHANNELS), tl.float32)
    for start in range(chunk * each, (chunk + 1) * each, PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        inside = (pixel < pixels) & (pixel < (chunk + 1) * each)
        x = pixel % columns
        y = (pixel // columns) % rows
        image = pixel // (columns * rows)
        slope = tl.load(
            gradient + pixel[:, None] * channels + channel[None, :],
            mask=inside[:, None] & real[None, :],
            other=0.0,
        )
        from_y = (y * STRIDE)[:, None] + down[None, :]
        from_x = (x * STRIDE)[:, None] + right[None, :]
        there = inside[:, None] & is_tap[None, :]
        there = there & (from_y >= 0) & (from_y < height) & (from_x >= 0) & (from_x < width)
        place = (image[:, None] * height + from_y) * width + from_x
        values = tl.load(
            maps + place[:, :, None] * channels + channel[None, None, :],
            mask=there[:, :, None] & real[None, None, :],
            other=0.0,
        )
        total += tl.sum(values.to(tl.float32) * slope.to(tl.float32)[:, None, :], axis=0)
    tl.store(
        parts + (chunk * SIZE * SIZE + tap)[:, None] * channels + channel[None, :],
        total,
        mask=is_tap[:, None] & real[None, :],
    )


def convolve(maps: torch.Tensor, weight: torch.Tensor, stride: int, dilation: int) -> torch.Tensor:
    """Convolve maps (N, C, h, w) with weight (C, 1, k, k), k odd.

    Args:
        maps: Of odd h and w where the stride is 2.
        weight: Of the maps' type.
        stride: 1 or 2.
        dilation: Of the kernel.

    Returns:
        (N, C, ⌈h/stride⌉, ⌈w/stride⌉), of the maps' type.
    """
    maps = maps.contiguous(memory_format=torch.channels_last)
    number, channels, height, width = maps.shape
    rows, columns = -(-height // stride), -(-width // stride)
    result = maps.new_empty((number, rows, columns, channels)).permute(0, 3, 1, 2)
    pixels, size = number * rows * columns, weight.shape[-1]
    with torch.cuda.device_of(maps):
        _convolve[_grid(pixels, channels)](
            maps,
            _by_tap(weight),
            result,
            pixels,
            rows,
            columns,
            height,
            width,
            channels,
            dilation,
            SIZE=size,
            STRIDE=stride,
            PIXELS=PIXELS,
            CHANNELS=CHANNELS,
        )
    return result


def input_gradient(
    gradient: torch.Tensor, weight: torch.Tensor, size: list[int], stride: int, dilation: int
) -> torch.Tensor:
    """Return the gradient of `convolve`'s maps, (N, C, *size), given that of its result."""
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    number, channels, rows, columns = gradient.shape
    height, width = size
    result = gradient.new_empty((number, height, width, channels)).permute(0, 3, 1, 2)
    pixels = number * height * width
    with torch.cuda.device_of(gradient):
        _input_gradient[_grid(pixels, channels)](
            gradient,
            _by_tap(weight),
            result,
            pixels,
            rows,
            columns,
            height,
            width,
            channels,
            dilation,
            SIZE=weight.shape[-1],
            STRIDE=stride,
            PIXELS=PIXELS,
            CHANNELS=CHANNELS,
        )
    return result


def weight_gradient(
    maps: torch.Tensor, gradient: torch.Tensor, size: int, stride: int, dilation: int
) -> torch.Tensor:
    """Return the gradient (C, 1, size, size) of `convolve`'s weight, of the maps' type."""
    maps = maps.contiguous(memory_format=torch.channels_last)
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    number, channels, height, width = maps.shape
    rows, columns = gradient.shape[2:]
    pixels = number * rows * columns
    parts = maps.new_empty((CHUNKS, size * size, channels), dtype=torch.float32)
    with torch.cuda.device_of(maps):
        _weight_gradient[(CHUNKS, triton.cdiv(channels, CHANNELS // 2))](
            maps,
            gradient,
            parts,
            pixels,
            triton.cdiv(pixels, CHUNKS),
            rows,
            columns,
            height,
            width,
            channels,
            dilation,
            SIZE=size,
            STRIDE=stride,
            TAPS=triton.next_power_of_2(size * size),
            PIXELS=PIXELS // 4,
            CHANNELS=CHANNELS // 2,
        )
    return parts.sum(0).T.contiguous().view(channels, 1, size, size).to(maps.dtype)


def _grid(pixels: int, channels: int) -> tuple[int, int]:
    return triton.cdiv(pixels, PIXELS), triton.cdiv(channels, CHANNELS)


def _by_tap(weight: torch.Tensor) -> torch.Tensor:
    """Return a weight (C, 1, k, k) as (k², C)."""
    return weight.flatten(1).T.contiguous()
