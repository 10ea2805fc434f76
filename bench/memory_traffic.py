"""Bytes that a training step moves, and how far that is from the machine's bandwidth.

    python -m bench.memory_traffic [RECIPE] [VARIANT ...]

Counted are the tensors that each PyTorch operator of one step reads and writes, views left out:
what the step would move if nothing stayed in a cache between two operators. Floor: these bytes at
the bandwidth of copying a tensor that fits no cache. A step below its floor lives in the caches;
one far above it computes, or waits for the interpreter.
"""

import math
import sys
import time
from collections.abc import Iterator
from statistics import median

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bench.training_step import read
from bpg.cost import affordable_batch, step_times, training_step
from bpg.devices import Execution, choose_bf16, set_up
from bpg.models.network import Network
from pipeline.build import architecture, objective
from pipeline.params import Parameters
from stages.cost import LABELLED

CPU = torch.device("cpu")


class Traffic(TorchDispatchMode):
    """Sums the bytes that operators read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        returned = [one.alias_info for one in func._schema.returns]
        if not any(alias is not None and not alias.is_write for alias in returned):
            # `out` is written, not read.
            given = {name: value for name, value in (kwargs or {}).items() if name != "out"}
            read = {tensor.data_ptr(): tensor for tensor in _tensors((args, given))}
            self.bytes += sum(map(_size, read.values())) + sum(map(_size, _tensors(result)))
        return result


def _tensors(tree) -> Iterator[torch.Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor))


def _size(tensor: torch.Tensor) -> int:
    # A dimension of stride 0 repeats the same bytes.
    sizes = (n for n, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride)
    return math.prod(sizes) * tensor.element_size()


def bandwidth() -> float:
    """Bytes a second of a copy: those read and those written."""
    source = torch.ones(100_000_000)
    target = torch.empty_like(source)
    times = []
    for _ in range(7):
        started = time.perf_counter()
        target.copy_(source)
        times.append(time.perf_counter() - started)
    return 2 * _size(source) / median(times)


def make(parameters: Parameters, name: str):
    training = parameters.recipe.training
    crop = training.augmentation.crop
    torch.manual_seed(0)
    return training_step(
        Network(architecture(parameters, parameters.variants[name])),
        batch_size=affordable_batch(training.batch_size, crop, CPU),
        crop=crop,
        execution=Execution(CPU, choose_bf16(parameters.recipe.machine.bf16, CPU)),
        objective=objective(parameters, parameters.variants[name], boundary_weight=1.0),
        labelled=LABELLED,
        options=parameters.recipe.training,
    )


def main() -> None:
    parameters = read(sys.argv[1] if len(sys.argv) > 1 else "tiny")
    threads = parameters.recipe.machine.threads
    set_up(CPU, threads=threads, seed=0, deterministic=True, fixed_size=True)
    steps = {n: make(parameters, n) for n in sys.argv[2:] or ("scribble", "prn", "brn", "bpg")}
    speed = bandwidth()
    print(f"copy: {speed / 1e9:.1f} GB/s, {torch.get_num_threads()} threads")
    for name, seconds in step_times(steps, rounds=15).items():
        with Traffic() as traffic:
            steps[name]()
        floor = traffic.bytes / speed
        print(
            f"{name:18}{traffic.bytes / 1e6:9.0f} MB{1000 * floor:9.1f} ms at that speed"
            f"{1000 * median(seconds):9.1f} ms measured ×{median(seconds) / floor:5.2f}"
        )


if __name__ == "__main__":
    main()
