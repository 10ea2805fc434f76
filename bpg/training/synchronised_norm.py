"""Batch norm over the batches of several processes."""

import torch
from timm.layers import convert_sync_batchnorm
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bpg.distributed import total


def synchronise_norms(network: nn.Module, device: torch.device) -> None:
    """Let every norm that is in training mode take its statistics over all processes.

    Args:
        network: Changed in place; names, parameters and running statistics stay.
        device: Where it is.
    """
    if device.type == "cuda":
        for name, child in network.named_children():
            if not _is_frozen(child):
                setattr(network, name, convert_sync_batchnorm(child))
        return
    # PyTorch's own works on GPUs only.
    for module in network.modules():
        if isinstance(module, _BatchNorm) and module.training:
            kind = type(module)
            module.__class__ = type(f"Synchronised{kind.__name__}", (_Synchronised, kind), {})


def _is_frozen(part: nn.Module) -> bool:
    norms = [module for module in part.modules() if isinstance(module, _BatchNorm)]
    return not any(norm.training for norm in norms)


class _Sum(torch.autograd.Function):
    """The sum over all processes; the gradient of each value is the sum of theirs."""

    @staticmethod
    def forward(ctx, value: torch.Tensor) -> torch.Tensor:
        return total(value)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        return total(gradient)


class _Synchronised(nn.Module):
    """What a batch norm does in training mode, over all processes and on any device."""

    running_mean: torch.Tensor
    running_var: torch.Tensor
    num_batches_tracked: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor
    momentum: float
    eps: float
    act: nn.Module
    drop: nn.Module

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(maps)
        values = maps.float()
        number = values.new_tensor([values.numel() / values.shape[1]])
        sums = _Sum.apply(torch.cat([values.sum((0, 2, 3)), number]))
        count = sums[-1].detach()
        centred = values - (mean := sums[:-1] / count)[:, None, None]
        variance = _Sum.apply(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        result = centred * scale[:, None, None] + self.bias[:, None, None]
        # timm's norms contain the activation that follows them.
        result = result.to(maps.dtype)
        return self.act(self.drop(result)) if hasattr(self, "act") else result
