"""Frozen batch norm as part of the convolution before it."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, cast

from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bpg.models.fast_convolutions import FoldedConv2d, FoldedNorm


def fold_frozen_norms(network: nn.Module) -> None:
    """Merge every convolution of a network with the frozen batch norm that follows it.

    A norm with fixed statistics is the affine map s·x + t in each channel, so that the convolution
    can do it with the weights s·W and the bias t: the same numbers up to rounding, without two
    passes over the largest tensors of a step, and without keeping one of them for the backward
    pass. W is trained as before; names and shapes in the state dict stay.

    A norm is left alone where it follows no convolution, or one whose result is used elsewhere.

    Args:
        network: Changed in place. A network that `torch.fx` cannot trace stays as it is.
    """
    for conv, norm in list(_pairs(network)):
        conv.__class__, norm.__class__ = FoldedConv2d, FoldedNorm
        cast(FoldedConv2d, conv).folded = (cast(FoldedNorm, norm),)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, (nn.Conv2d, _BatchNorm)) or super().is_leaf_module(module, name)


def _pairs(network: nn.Module) -> Iterator[tuple[nn.Conv2d, nn.Module]]:
    modules = dict(network.named_modules())

    def module(node: Any) -> nn.Module | None:
        called = isinstance(node, fx.Node) and node.op == "call_module"
        return modules[node.target] if called else None

    try:
        nodes = list(_Tracer().trace(network).nodes)
    except Exception:  # data-dependent control flow raises any kind of error
        return
    calls = Counter(node.target for node in nodes if node.op == "call_module")
    for node in nodes:
        norm, conv = module(node), module(node.args[0]) if node.args else None
        if (
            isinstance(norm, _BatchNorm)
            and norm.affine
            and norm.track_running_stats
            and type(conv) is nn.Conv2d
            and len(node.args[0].users) == 1
            and calls[node.target] == calls[node.args[0].target] == 1
        ):
            yield conv, norm
