"""Convolutions faster than PyTorch's own: depthwise, wide 1×1, and with a folded norm."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bpg.compiled import compiled
from bpg.models import depthwise_gpu

_SOURCE = Path(__file__).with_name("depthwise.cpp")

_SLOW_PADDING = 4
"""With more padding, PyTorch's CPU kernel (oneDNN) takes a path that is 20 to 30 times slower."""


_WIDE = 256
"""Number of channels from which a 1×1 convolution is faster as a matrix product."""


class FoldedNorm(_BatchNorm):
    """What remains of a folded batch norm: its parameters, for the model file, and an activation.

    Maps keep their shape (N, C, h, w). Some of timm's norms contain the activation that follows
    them, which still has to be applied.
    """

    weight: nn.Parameter
    bias: nn.Parameter
    running_mean: torch.Tensor
    running_var: torch.Tensor
    act: nn.Module
    drop: nn.Module

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Return the maps after the activation, where the module has one."""
        return self.act(self.drop(maps)) if hasattr(self, "act") else maps


class FoldedConv2d(nn.Conv2d):
    """A convolution that may include the frozen batch norm after it (`bpg.models.folding`).

    Maps (N, C, h, w) to (N, C', h', w').
    """

    folded: tuple[FoldedNorm, ...] = ()
    """That norm. In a tuple, so that it is not registered here: it has its place in the network."""

    def weight_and_bias(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the weight (C', C/groups, kh, kw) and the bias (C',) with the norm folded in."""
        if not self.folded:
            return self.weight, self.bias
        (norm,) = self.folded
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        mean = norm.running_mean if self.bias is None else norm.running_mean - self.bias
        shift = torch.addcmul(norm.bias, mean, scale, value=-1)
        return self.weight * scale[:, None, None, None], shift

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Convolve with `weight_and_bias`."""
        return self._conv_forward(maps, *self.weight_and_bias())


class DepthwiseConv2d(FoldedConv2d):
    """A depthwise convolution of stride 1 that keeps the size and gives `nn.Conv2d`'s numbers.

    Maps (N, C, h, w) to (N, C, h, w). On a CPU it computes its gradients differently: that of the
    input as a convolution with the mirrored kernel, and that of the weights in float32: under bf16,
    in `depthwise.cpp`. On CUDA it uses the kernels of `depthwise_gpu` where they suit. Elsewhere it
    is `nn.Conv2d`.
    """

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Convolve each channel with its own kernel."""
        cpu = maps.device.type == "cpu"
        if not cpu and not depthwise_gpu.suits(maps):
            return super().forward(maps)
        weight, bias = self.weight_and_bias()
        maps, weight = _as_autocast(maps, weight)
        if cpu:
            result = _Depthwise.apply(maps, weight, self.dilation[0])
        else:
            result = depthwise_gpu.depthwise(maps, weight, 1, self.dilation[0])
        return result if bias is None else result + bias[:, None, None].to(result.dtype)


class StridedDepthwiseConv2d(Conv2dSame):
    """A depthwise convolution of stride 2 that gives the numbers of timm's `Conv2dSame`.

    Maps (N, C, 2h+1, 2w+1) to (N, C, h+1, w+1); other sizes are left to timm. Under bf16, oneDNN's
    gradients of such a convolution are 20 times slower than those computed here on a CPU: that of
    the input as a convolution of the gradient with zeros in between, and that of the weights in
    float32. On CUDA it uses the kernels of `depthwise_gpu` where they suit.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve each channel with its own kernel."""
        odd = x.shape[2] % 2 == x.shape[3] % 2 == 1  # the padding is the same on both sides
        cpu = x.device.type == "cpu"
        if not odd or not (cpu or depthwise_gpu.suits(x)):
            return super().forward(x)
        x, weight = _as_autocast(x, self.weight)
        if cpu:
            result = _StridedDepthwise.apply(x, weight)
        else:
            result = depthwise_gpu.depthwise(x, weight, 2, 1)
        return result if self.bias is None else result + self.bias[:, None, None].to(result.dtype)


class PointwiseConv2d(FoldedConv2d):
    """A 1×1 convolution of stride 1 that gives `nn.Conv2d`'s numbers up to rounding.

    Maps (N, C, h, w) to (N, C', h, w) as one matrix product over all pixels. On a CPU this reduces
    the time of a training step of ResNet-101 to two thirds; on a GPU the product adds the bias,
    too.
    """

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Multiply every pixel's channels by the weight matrix."""
        # A compiler does this by itself, and on the meta device it makes no difference.
        if torch.compiler.is_compiling() or maps.is_meta:
            return super().forward(maps)
        device = maps.device.type
        autocast = torch.is_autocast_enabled(device)
        if device == "cuda" and not autocast:
            return super().forward(maps)  # in TF32, which `set_up` allows for convolutions only
        weight, bias = self.weight_and_bias()
        if autocast:
            dtype = torch.get_autocast_dtype(device)
            maps, weight = maps.to(dtype), weight.to(dtype)
            bias = None if bias is None else bias.to(dtype)
        return _Pointwise.apply(maps, weight.flatten(1), bias)


def _as_autocast(maps: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cast both to autocast's type where it is enabled."""
    device = maps.device.type
    if not torch.is_autocast_enabled(device):
        return maps, weight
    dtype = torch.get_autocast_dtype(device)
    return maps.to(dtype), weight.to(dtype)


def with_fast_convolutions(network: nn.Module) -> nn.Module:
    """Turn every suitable convolution of a network into a fast one; weights and names stay.

    Depthwise convolutions become `DepthwiseConv2d` or `StridedDepthwiseConv2d`, wide 1×1 ones
    `PointwiseConv2d`.

    Args:
        network: Changed in place.

    Returns:
        The same network.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and type(module) in (nn.Conv2d, FoldedConv2d):
            if _is_depthwise(module):
                module.__class__ = DepthwiseConv2d
            elif _is_wide_pointwise(module):
                module.__class__ = PointwiseConv2d
        elif type(module) is Conv2dSame and _halves(module):
            module.__class__ = StridedDepthwiseConv2d
    return network


def _is_depthwise(module: nn.Conv2d) -> bool:
    size, dilation = module.kernel_size[0], module.dilation[0]
    return (
        1 < module.groups == module.in_channels == module.out_channels
        and module.kernel_size == (size, size)
        and size % 2 == 1
        and module.dilation == (dilation, dilation)
        and module.stride == (1, 1)
        and module.padding == (size // 2 * dilation,) * 2
        and module.padding_mode == "zeros"
    )


def _halves(module: nn.Conv2d) -> bool:
    size = module.kernel_size[0]
    return (
        1 < module.groups == module.in_channels == module.out_channels
        and module.kernel_size == (size, size)
        and size % 2 == 1
        and module.dilation == (1, 1)
        and module.stride == (2, 2)
    )


def _is_wide_pointwise(module: nn.Conv2d) -> bool:
    return (
        module.kernel_size == module.stride == module.dilation == (1, 1)
        and module.padding == (0, 0)
        and module.groups == 1
        and max(module.in_channels, module.out_channels) >= _WIDE
    )


class _Pointwise(torch.autograd.Function):
    """A function of its own because the result must not be a view.

    The layers after it work in place, and for an in-place operation on a view autograd makes three
    copies.
    """

    @staticmethod
    def forward(
        ctx, maps: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        ctx.save_for_backward(maps, weight)
        result = _empty(maps, len(weight))
        if bias is None:
            torch.mm(_pixels(maps), weight.T, out=_pixels(result))
        else:
            torch.addmm(bias, _pixels(maps), weight.T, out=_pixels(result))
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        maps, weight = ctx.saved_tensors
        of_pixels = _pixels(gradient)
        of_maps = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_maps = _empty(maps, maps.shape[1])
            torch.mm(of_pixels, weight, out=_pixels(of_maps))
        if ctx.needs_input_grad[1]:
            of_weight = of_pixels.T @ _pixels(maps)
        if ctx.needs_input_grad[2]:
            of_bias = of_pixels.sum(0)
        return of_maps, of_weight, of_bias


def _empty(like: torch.Tensor, channels: int) -> torch.Tensor:
    shape = len(like), channels, *like.shape[2:]
    return torch.empty(
        shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last
    )


def _pixels(maps: torch.Tensor) -> torch.Tensor:
    """Reshape (N, C, h, w) to (N·h·w, C), a view where the layout is `channels_last`."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, maps: torch.Tensor, weight: torch.Tensor, dilation: int) -> torch.Tensor:
        ctx.save_for_backward(maps, weight)
        ctx.dilation = dilation
        return _convolve(maps, weight, dilation)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        maps, weight = ctx.saved_tensors
        of_maps = of_weight = None
        if ctx.needs_input_grad[0]:
            of_maps = _convolve(gradient, weight.flip(2, 3), ctx.dilation)
        if ctx.needs_input_grad[1]:
            of_weight = _weight_gradient(maps, gradient, weight, ctx.dilation)
        return of_maps, of_weight, None


def _convolve(maps: torch.Tensor, weight: torch.Tensor, dilation: int) -> torch.Tensor:
    size = weight.shape[2]
    if size // 2 * dilation <= _SLOW_PADDING:
        return F.conv2d(maps, weight, None, 1, size // 2 * dilation, dilation, len(weight))
    phases = F.conv2d(_split(maps, dilation), weight, None, 1, size // 2, 1, len(weight))
    return _join(phases, dilation, maps.shape)


def _weight_gradient(
    maps: torch.Tensor, gradient: torch.Tensor, weight: torch.Tensor, dilation: int
) -> torch.Tensor:
    # oneDNN is faster at 3×3 without dilation only.
    if maps.dtype == torch.bfloat16 and (weight.shape[2] > 3 or dilation > 1):
        by_tap = compiled("_bpg_depthwise", _SOURCE).weight_gradient(
            _bits(maps),
            _bits(gradient),
            size=weight.shape[2],
            dilation=dilation,
            threads=torch.get_num_threads(),
        )
        return torch.from_numpy(by_tap).permute(2, 0, 1)[:, None].to(weight.dtype)
    if weight.shape[2] // 2 * dilation > _SLOW_PADDING:
        maps, gradient, dilation = _split(maps, dilation), _split(gradient, dilation), 1
    return _float_weight_gradient(maps, gradient, weight, stride=1, dilation=dilation)


def _float_weight_gradient(
    maps: torch.Tensor, gradient: torch.Tensor, weight: torch.Tensor, *, stride: int, dilation: int
) -> torch.Tensor:
    if maps.dtype != torch.float64:
        maps, gradient = maps.float(), gradient.float()
    padding = weight.shape[2] // 2 * dilation
    _, of_weight, _ = torch.ops.aten.convolution_backward(
        gradient,
        maps,
        weight.to(maps.dtype),
        None,
        (stride, stride),
        (padding, padding),
        (dilation, dilation),
        False,
        (0, 0),
        len(weight),
        (False, True, False),
    )
    return of_weight.to(weight.dtype)


class _StridedDepthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, maps: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(maps, weight)
        return F.conv2d(maps, weight, None, 2, weight.shape[2] // 2, 1, len(weight))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        maps, weight = ctx.saved_tensors
        of_maps = of_weight = None
        if ctx.needs_input_grad[0]:
            spread = _empty(maps, maps.shape[1]).zero_()
            spread[:, :, ::2, ::2] = gradient
            of_maps = _convolve(spread, weight.flip(2, 3), 1)
        if ctx.needs_input_grad[1]:
            of_weight = _float_weight_gradient(maps, gradient, weight, stride=2, dilation=1)
        return of_maps, of_weight


def _bits(maps: torch.Tensor) -> np.ndarray:
    """Return the bits of bfloat16 maps (N, C, h, w) by pixel, (N, h, w, C); no copy as a rule."""
    return maps.detach().permute(0, 2, 3, 1).contiguous().view(torch.uint16).numpy()


def _split(maps: torch.Tensor, dilation: int) -> torch.Tensor:
    """Split (N, C, h, w) into dilation² phases (dilation² · N, C, ⌈h/dilation⌉, ⌈w/dilation⌉).

    A phase is every `dilation`th row and column from one start: on it, a dilated convolution is a
    plain one.
    """
    number, channels, height, width = maps.shape
    rows, columns = -(-height // dilation), -(-width // dilation)
    below, beside = rows * dilation - height, columns * dilation - width
    by_pixel = F.pad(maps.permute(0, 2, 3, 1), (0, 0, 0, beside, 0, below))
    phases = by_pixel.reshape(number, rows, dilation, columns, dilation, channels)
    phases = phases.permute(2, 4, 0, 1, 3, 5).reshape(-1, rows, columns, channels)
    return phases.permute(0, 3, 1, 2)


def _join(phases: torch.Tensor, dilation: int, shape: torch.Size) -> torch.Tensor:
    """Undo `_split` for maps of `shape`."""
    number, channels, height, width = shape
    rows, columns = phases.shape[2:]
    by_pixel = phases.permute(0, 2, 3, 1).reshape(
        dilation, dilation, number, rows, columns, channels
    )
    by_pixel = by_pixel.permute(2, 3, 0, 4, 1, 5)
    by_pixel = by_pixel.reshape(number, rows * dilation, columns * dilation, channels)
    # A copy where there was padding: batch norm takes five times as long on a view with gaps.
    return by_pixel[:, :height, :width].contiguous().permute(0, 3, 1, 2)
