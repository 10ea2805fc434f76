"""What a training step keeps in memory at the recipe's own batch, without a GPU.

    python -m bench.gpu_memory [RECIPE]

Counted are the tensors alive at the worst moment of a step on fake tensors (shapes without
contents) under bf16 autocast: weights, gradients, the optimizer's state, activations. A kernel's
scratch memory and what an allocator holds in reserve come on top.
"""

import sys
import weakref

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.measure import Row, show
from bench.training_step import read
from bpg.devices import Execution
from bpg.losses import partial_cross_entropy
from bpg.models.network import Network
from bpg.training.objective import make_gradients, optimizer_step
from bpg.training.optim import make_optimizer
from pipeline.build import architecture, objective

CPU = torch.device("cpu")


class Live(TorchDispatchMode):
    """Follows the bytes of all storages that operators make, and their highest sum."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.follow(leaf.untyped_storage())
        return result

    def follow(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self.known:
            return
        self.known.add(key)
        self.bytes += size
        self.peak = max(self.peak, self.bytes)
        weakref.finalize(storage, self.forget, key, size)

    def forget(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.bytes -= size


def peak(recipe: str, name: str) -> int:
    """Return the most bytes alive during the second step."""
    parameters = read(recipe)
    variant = parameters.variants[name]
    training = parameters.recipe.training
    size = (training.batch_size, *[training.augmentation.crop] * 2)
    with FakeTensorMode(), Live() as live:
        network = Network(architecture(parameters, variant)).train()
        optimizer = make_optimizer(network, parameters.recipe.training)
        items = [torch.zeros(*size, 3, dtype=torch.uint8)]
        items += [torch.zeros(size, dtype=torch.uint8) for _ in range(2)]
        items.append(torch.ones(size, dtype=torch.bool))
        what = objective(parameters, variant, boundary_weight=1.0)
        gradients = make_gradients(network, what, Execution(CPU, bf16=True))
        for _ in range(2):
            live.peak = live.bytes
            optimizer_step(network, items, gradients, optimizer, training.max_grad_norm)
    return live.peak


def rows(recipe: str = "paper") -> list[Row]:
    # As on a GPU; the other form needs values.
    partial_cross_entropy._over_labelled = partial_cross_entropy._over_all
    baseline, bpg = (peak(recipe, name) / 1e6 for name in ("scribble", "bpg"))
    batch = read(recipe).recipe.training.batch_size
    path = f"baseline's step beside BPG's, recipe {recipe}, batch {batch}: tensors alive"
    return [Row(path, baseline, bpg, "≤ 1.10", "1", "counted on fake tensors", unit="MB")]


if __name__ == "__main__":
    show(rows(*[word for word in sys.argv[1:] if word != "--json"]))
