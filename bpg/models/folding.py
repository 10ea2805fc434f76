"""Frozen batch norm as part of the convolution before it."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, cast

from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bpg.models.fast_convolutions import FoldedConv2d, FoldedNorm


def fold_frozen_norms(network: nn.Module) -> None:
    """Make one operation of every convolution of `network` and the batch norm that follows it.

    A norm that keeps to its statistics is the linear map s·x + t by channel, so that the
    convolution does it with the weights s·W and the bias t: the same numbers but for rounding,
    without two passes over the largest tensors of a step, and without keeping one of them for the
    gradient. W is trained as before; names and shapes in the network's state stay.

    A norm stays what it is where it follows no convolution, or one whose result has other users.
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
    except Exception:  # a network that takes decisions as it runs: any kind of error
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
