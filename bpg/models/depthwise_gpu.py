"""Depthwise convolutions on a GPU, as operators of PyTorch's over `depthwise_triton`.

cuDNN's kernels for bf16 in `channels_last` are slow, above all with a dilation: with these, a step
of recipe small at crop 225 takes 54 % of the time, BPG's 66 % (bench/GPU.md). As operators with
shapes and a derivative they work on fake tensors and in `torch.compile`, too.
"""

import warnings
from functools import cache
from importlib.util import find_spec

import torch
from torch._subclasses.fake_tensor import unset_fake_temporarily

_INDEX = 2**31
"""The kernels count elements in 32 bits."""


def suits(maps: torch.Tensor) -> bool:
    """Whether `depthwise` can convolve these maps: on CUDA, float32 or shorter, Triton works."""
    return (
        maps.device.type == "cuda"
        and maps.dtype in (torch.float32, torch.bfloat16, torch.float16)
        and maps.numel() < _INDEX
        and triton_works()
    )


@torch.compiler.assume_constant_result
def triton_works() -> bool:
    """Whether Triton can run a kernel on the current GPU; warns once if it is there and cannot.

    It needs a C compiler, Python's headers, a folder to write to and a GPU that it knows.
    """
    return _triton_works()


@cache
def _triton_works() -> bool:
    if find_spec("triton") is None:
        return False
    if not torch.cuda.is_available():
        return True  # for fake tensors
    from bpg.models.depthwise_triton import convolve  # noqa: PLC0415 not without Triton

    try:
        with unset_fake_temporarily():
            one = torch.ones(1, 1, 1, 1, device="cuda")
            convolve(one, one, 1, 1)
    except Exception as error:  # whatever its compiler or the driver says
        reason = str(error).strip().partition("\n")[0]
        warnings.warn(
            f"Triton cannot run here ({type(error).__name__}: {reason}): depthwise convolutions "
            "take cuDNN's kernels, which are slower",
            stacklevel=2,
        )
        return False
    return True


@torch.library.custom_op("bpg::depthwise", mutates_args=(), device_types="cuda")
def depthwise(maps: torch.Tensor, weight: torch.Tensor, stride: int, dilation: int) -> torch.Tensor:
    """Convolve each channel with its own kernel, padded by zeros by half of it.

    Args:
        maps: (N, C, h, w), for which `suits` holds; h and w odd where the stride is 2.
        weight: (C, 1, k, k), k odd, of the maps' type.
        stride: 1 or 2.
        dilation: Of the kernel.

    Returns:
        (N, C, ⌈h/stride⌉, ⌈w/stride⌉), `channels_last`.

    Raises:
        RuntimeError: The weight has another number of channels, another type, or another shape.
    """
    from bpg.models.depthwise_triton import convolve  # noqa: PLC0415 not without Triton

    right = maps.shape[1], 1, *weight.shape[-1:] * 2
    if tuple(weight.shape) != right or weight.dtype != maps.dtype:
        raise RuntimeError(
            f"a weight {tuple(weight.shape)} of {weight.dtype}, not {right} of {maps.dtype}"
        )
    return convolve(maps, weight, stride, dilation)


@torch.library.custom_op("bpg::depthwise_input", mutates_args=(), device_types="cuda")
def _input_gradient(
    gradient: torch.Tensor, weight: torch.Tensor, size: list[int], stride: int, dilation: int
) -> torch.Tensor:
    from bpg.models.depthwise_triton import input_gradient  # noqa: PLC0415

    return input_gradient(gradient, weight, size, stride, dilation)


@torch.library.custom_op("bpg::depthwise_weight", mutates_args=(), device_types="cuda")
def _weight_gradient(
    maps: torch.Tensor, gradient: torch.Tensor, size: int, stride: int, dilation: int
) -> torch.Tensor:
    from bpg.models.depthwise_triton import weight_gradient  # noqa: PLC0415

    return weight_gradient(maps, gradient, size, stride, dilation)


@depthwise.register_fake
def _(maps: torch.Tensor, weight: torch.Tensor, stride: int, dilation: int) -> torch.Tensor:
    number, channels, height, width = maps.shape
    return _empty(maps, number, channels, -(-height // stride), -(-width // stride))


@_input_gradient.register_fake
def _(
    gradient: torch.Tensor, weight: torch.Tensor, size: list[int], stride: int, dilation: int
) -> torch.Tensor:
    return _empty(gradient, len(gradient), gradient.shape[1], *size)


@_weight_gradient.register_fake
def _(
    maps: torch.Tensor, gradient: torch.Tensor, size: int, stride: int, dilation: int
) -> torch.Tensor:
    return maps.new_empty((maps.shape[1], 1, size, size))


def _empty(like: torch.Tensor, number: int, channels: int, rows: int, columns: int) -> torch.Tensor:
    return like.new_empty((number, rows, columns, channels)).permute(0, 3, 1, 2)


def _keep(ctx, inputs: tuple, output: torch.Tensor) -> None:
    maps, weight, ctx.stride, ctx.dilation = inputs
    ctx.save_for_backward(maps, weight)


def _backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    maps, weight = ctx.saved_tensors
    how = ctx.stride, ctx.dilation
    of_maps = of_weight = None
    if ctx.needs_input_grad[0]:
        of_maps = _input_gradient(gradient, weight, list(maps.shape[2:]), *how)
    if ctx.needs_input_grad[1]:
        of_weight = _weight_gradient(maps, gradient, weight.shape[-1], *how)
    return of_maps, of_weight, None, None


depthwise.register_autograd(_backward, setup_context=_keep)
