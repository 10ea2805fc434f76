"""What a variant costs: weights, arithmetic, memory and time of a training step.

The paper (section 3.1) says that the PRN "only imports small amount computations and GPU
memories"; here that is measured, beside the baseline and on the training loop's own step.
"""

import copy
import gc
import os
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import TypeVar

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.flop_counter import FlopCounterMode

from bpg.constants import IGNORE
from bpg.devices import Execution
from bpg.models.network import Architecture, Network
from bpg.training.objective import Objective, make_gradients, optimizer_step
from bpg.training.optim import OptimizerOptions, make_optimizer

Step = Callable[[], None]
Key = TypeVar("Key", bound=Hashable)

DROPPED = 2  # rounds: the first ones choose kernels and build the optimizer's state
# Of a step. ResNet-101 with PRN and BRN then peaks at 2.3 GB (3.7 GB for the whole process).
PIXELS_ON_CPU = 2 * 321**2
_MARK = "bpg.cost: the measured step"


@dataclass(frozen=True)
class Cost:
    """One variant's cost; functions of the same names say what is counted.

    `memory` in bytes; `seconds` of a training step, median over the rounds; `ratio` the median
    over the rounds of its time divided by the baseline's in the same round.
    """

    variant: str
    parameters: int
    parameters_at_test: int
    macs: int
    memory: int
    seconds: float
    ratio: float


def parameters(network: nn.Module) -> int:
    """Number of weights, trained and frozen, with the BRN; batch norm's statistics are none."""
    return sum(parameter.numel() for parameter in network.parameters())


def parameters_at_test(network: Network) -> int:
    """Return `parameters` without the BRN, which is used in training only."""
    return parameters(network) - (parameters(network.brn) if network.brn is not None else 0)


def macs(network: nn.Module, size: int) -> int:
    """Multiply-accumulates of one forward pass, in training mode, of one `size`×`size` image.

    Exact, and the same everywhere: it follows from the shapes, and nothing is computed. Counted
    are convolutions (a padded border like any other pixel, but no tap of the ASPP that meets
    nothing else) and matrix products but for those of the bilinear enlargement
    (`bpg.grid`). Not counted: biases, batch norm, activations, softmax, maxima, pooling,
    enlargement, copies, and the backward pass, which takes about twice the forward pass's.
    `network` stays as it is.
    """
    shapes = copy.deepcopy(network).to("meta").train()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        shapes(torch.empty(1, 3, size, size, device="meta"))
    counts = counter.get_flop_counts()["Global"]
    return sum(count for operator, count in counts.items() if operator != torch.ops.aten.bmm) // 2


def training_step(
    network: Network,
    *,
    batch_size: int,
    crop: int,
    execution: Execution,
    objective: Objective,
    options: OptimizerOptions,
    labelled: float,
    seed: int = 0,
) -> Step:
    """Return a function that does one whole step of `bpg.training.train` on made-up data.

    Whole: forward pass, all losses, backward pass, clipping, optimizer. The data are `batch_size`
    noise images of `crop` pixels from `seed`, of which a share `labelled` in 0..1 has labels. The
    step trains `network`, which is moved to the device; the rest is as in `train`.
    """
    random = torch.Generator().manual_seed(seed)
    device = execution.device
    shape = batch_size, crop, crop
    images = torch.randint(0, 256, (*shape, 3), generator=random, dtype=torch.uint8)
    classes = len(network.architecture.classes)
    labels = torch.randint(0, classes, shape, generator=random, dtype=torch.uint8)
    labels[torch.rand(shape, generator=random) >= labelled] = IGNORE
    edges = torch.randint(0, 256, shape, generator=random, dtype=torch.uint8)
    items = [images, labels, edges, torch.ones(shape, dtype=torch.bool)]
    if device.type == "cuda":
        items = [item.pin_memory() for item in items]
    # The stub has no overload for both at once.
    network.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    if execution.compiled:
        network.compile(dynamic=False)
    optimizer = make_optimizer(network, options)
    gradients = make_gradients(network, objective, execution)

    def step() -> None:
        optimizer_step(network, items, gradients, optimizer, options.max_grad_norm)

    return step


def peak_memory(make: Callable[[], Step], device: torch.device) -> int:
    """Most bytes in tensors at any moment of the second call of the step that `make` returns.

    What `make` allocates counts (weights, batch), and so does what the first call leaves behind
    (gradients, the optimizer's state); what was there before does not. That is why `make` is
    called here. CUDA: the caching allocator's count, not what it holds in reserve. CPU:
    PyTorch's allocator, the kernels' scratch memory included; Python, the libraries and what
    the C library keeps back are not. Without a GPU it repeats to the byte for a given version
    of PyTorch, processor and number of threads; with one, as long as cuDNN's kernels are not
    chosen by trying them out.
    """
    # Garbage of before must not go meanwhile: it is in the level that the peak is compared to.
    gc.freeze()
    try:
        return _peak_on_cuda(make, device) if device.type == "cuda" else _peak_on_cpu(make)
    finally:
        gc.unfreeze()


def _peak_on_cuda(make: Callable[[], Step], device: torch.device) -> int:
    before = torch.cuda.memory_allocated(device)
    step = make()
    step()
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    step()
    torch.cuda.synchronize(device)
    peak = torch.cuda.max_memory_allocated(device) - before
    # Not left to the next variant's measurement, cycles included.
    del step
    gc.collect()
    return peak


def _peak_on_cpu(make: Callable[[], Step]) -> int:
    # Otherwise the profiler reports its start, its end and a missing GPU on standard error.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step = make()
        step()
        with record_function(_MARK):
            step()
        # The profiler only follows what is allocated and freed while it runs: a block freed
        # later would stay in its sums.
        del step
        gc.collect()
    return _peak(profiler.profiler.kineto_results.experimental_event_tree())


def _peak(roots: list) -> int:
    """Return the allocator's peak during the marked call, above where it stood at the start."""
    # PyTorch's public summaries give each operator's sum and lose what was there at one moment.
    from torch._C._profiler import _EventType  # noqa: PLC0415 private: only where it is needed

    totals, span, waiting = [], (0, 0), list(roots)
    while waiting:
        event = waiting.pop()
        waiting.extend(event.children)
        kind, fields = event.typed
        if kind == _EventType.Allocation:
            totals.append((event.start_time_ns, fields.total_allocated, fields.alloc_size))
        elif event.name == _MARK:
            span = event.start_time_ns, event.end_time_ns
    totals.sort()
    start = totals[0][1] - totals[0][2] if totals else 0
    before = [total for moment, total, _ in totals if moment < span[0]]
    during = [total for moment, total, _ in totals if span[0] <= moment <= span[1]]
    level = before[-1] if before else start
    return max([level, *during]) - start


def step_times(steps: Mapping[Key, Step], rounds: int) -> dict[Key, list[float]]:
    """Seconds of each step in each of `rounds` rounds, after two that are not counted.

    The steps take turns, so that a slow spell of the machine hits all of them alike. CUDA is
    waited for.
    """
    times: dict[Key, list[float]] = {name: [] for name in steps}
    for number in range(DROPPED + rounds):
        for name, step in steps.items():
            _wait()
            started = time.perf_counter()
            step()
            _wait()
            if number >= DROPPED:
                times[name].append(time.perf_counter() - started)
    return times


def _ratio(seconds: list[float], beside: list[float]) -> float:
    return median(one / other for one, other in zip(seconds, beside, strict=True))


def _wait() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def affordable_batch(batch: int, crop: int, device: torch.device) -> int:
    """Return `batch`, on the CPU at most what fills two images of 321×321 pixels; at least 1."""
    return batch if device.type == "cuda" else max(1, min(batch, PIXELS_ON_CPU // crop**2))


def measure(
    architectures: Mapping[str, Architecture],
    *,
    baseline: str,
    labelled: Mapping[str, float],
    objectives: Mapping[str, Objective],
    rounds: int,
    batch_size: int,
    crop: int,
    execution: Execution,
    options: OptimizerOptions,
) -> list[Cost]:
    """Measure the variants {name: architecture}; `ratio` is that to the one named `baseline`.

    Weights are from scratch. `batch_size`, `crop`, `execution` and `options` go to `training_step`,
    and so do the variant's share of `labelled` pixels and its objective. Variants that train the
    same network so are measured once and share the figures. For its memory each network is alone;
    for its time the baseline is there, too, and the two take turns: no device needs room for more.
    """
    keys = {
        name: (architecture.to_json(), labelled[name], str(objectives[name]))
        for name, architecture in architectures.items()
    }
    distinct = {keys[name]: name for name in architectures}

    def make(name: str, execution: Execution = execution) -> Step:
        return training_step(
            Network(architectures[name]),
            batch_size=batch_size,
            crop=crop,
            execution=execution,
            labelled=labelled[name],
            objective=objectives[name],
            options=options,
        )

    # The memory of a captured step is the graph's own: what lives in it when is not recorded.
    from_python = replace(execution, captured=False)
    memory = {
        key: peak_memory(partial(make, name, from_python), execution.device)
        for key, name in distinct.items()
    }
    beside = {keys[baseline]: make(baseline)}
    times = {
        key: step_times(beside | ({} if key in beside else {key: make(name)}), rounds)
        for key, name in distinct.items()
    }
    costs = []
    for name, architecture in architectures.items():
        with torch.device("meta"):
            network = Network(architecture)
        seconds = times[keys[name]][keys[name]]
        costs.append(
            Cost(
                name,
                parameters=parameters(network),
                parameters_at_test=parameters_at_test(network),
                macs=macs(network, crop),
                memory=memory[keys[name]],
                seconds=median(seconds),
                ratio=_ratio(seconds, times[keys[name]][keys[baseline]]),
            )
        )
    return costs
