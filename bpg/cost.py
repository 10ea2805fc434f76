"""What a variant costs: parameters, arithmetic, memory and time of a training step.

The paper (section 3.1) says that the PRN "only imports small amount computations and GPU
memories"; here that is measured against the baseline, on the training loop's own step.
"""

import copy
import gc
import os
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import NamedTuple, TypeVar

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.flop_counter import FlopCounterMode

from bpg.constants import IGNORE
from bpg.devices import Execution
from bpg.models.network import Architecture, Network
from bpg.training.mean_teacher import make_teacher
from bpg.training.objective import Objective, make_gradients, optimizer_step
from bpg.training.optim import OptimizerOptions, make_optimizer

Step = Callable[[], None]
Key = TypeVar("Key", bound=Hashable)

DROPPED = 2  # rounds: the first ones choose kernels and build the optimizer's state
# Of a step. ResNet-101 with PRN and BRN then peaks at 2.3 GB (3.7 GB for the whole process).
PIXELS_ON_CPU = 2 * 321**2
_MARK = "bpg.cost: the measured step"


class Counts(NamedTuple):
    """What `parameters`, `parameters_at_test` and `macs` count."""

    parameters: int
    parameters_at_test: int
    macs: int


@dataclass(frozen=True)
class Cost:
    """The cost of one variant; the functions of the same names say what is counted.

    Attributes:
        macs: For one image of the size of the crop.
        memory: Peak of a training step, in bytes (`peak_memory`).
        seconds: Of a training step, the median over the rounds.
        ratio: The median over the rounds of its time divided by the baseline's in the same round.
    """

    variant: str
    parameters: int
    parameters_at_test: int
    macs: int
    memory: int
    seconds: float
    ratio: float


def parameters(network: nn.Module) -> int:
    """Count the weights, trained and frozen, with the BRN, without the statistics of batch norm."""
    return sum(parameter.numel() for parameter in network.parameters())


def parameters_at_test(network: Network) -> int:
    """Count the weights as `parameters` does, without the BRN, which only training uses."""
    return parameters(network) - (parameters(network.brn) if network.brn is not None else 0)


def macs(network: nn.Module, size: int) -> int:
    """Count the multiply-accumulates of one forward pass in training mode.

    The count is exact and the same everywhere: it follows from the shapes, and nothing is computed.
    It includes convolutions (a padded border like any other pixel, but no tap of the ASPP that sees
    nothing but padding) and matrix products, except those of bilinear upsampling (`bpg.grid`). It
    excludes biases, batch norm, activations, softmax, maxima, pooling, upsampling, copies, and the
    backward pass, which takes about twice as many as the forward pass.

    Args:
        network: Stays as it is.
        size: Side of the one square image, in pixels.
    """
    shapes = copy.deepcopy(network).to("meta").train()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        shapes(torch.empty(1, 3, size, size, device="meta"))
    counts = counter.get_flop_counts()["Global"]
    return sum(count for operator, count in counts.items() if operator != torch.ops.aten.bmm) // 2


def counts(architecture: Architecture, size: int) -> Counts:
    """Count what follows from the shapes alone: the same everywhere, in a second.

    Args:
        architecture: The network's.
        size: Side of the image, in pixels.
    """
    with torch.device("meta"):
        network = Network(architecture)
    return Counts(parameters(network), parameters_at_test(network), macs(network, size))


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
    """Return a function that does one whole step of `bpg.training.train` on synthetic data.

    A step is forward pass (with a mean teacher, both), all losses, backward pass, clipping,
    optimizer and, with one, the teacher's update.

    Args:
        network: Moved to the device and trained by each step.
        batch_size: Noise images in the batch.
        crop: Their side, in pixels.
        execution: As in `train`.
        objective: As in `train`.
        options: The optimizer's, as in `train`.
        labelled: Share of labelled pixels, in 0..1.
        seed: Of the synthetic data.
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
    teacher = make_teacher(network, objective.teacher_decay)
    if execution.compiled:
        network.compile(dynamic=False)
    optimizer = make_optimizer(network, options)
    gradients = make_gradients(network, objective, execution, teacher)

    def step() -> None:
        optimizer_step(network, items, gradients, optimizer, options.max_grad_norm, teacher)

    return step


def peak_memory(make: Callable[[], Step], device: torch.device) -> int:
    """Measure the peak memory in tensors during the second call of a step.

    What `make` allocates counts (weights, batch), and so does what the first call leaves behind
    (gradients, the optimizer's state); what was there before does not. On CUDA it is the caching
    allocator's count of allocated memory, without what it holds in reserve. On a CPU it is
    PyTorch's allocator, including the kernels' scratch memory, without Python, the libraries and
    what the C library keeps back. On a CPU the result repeats to the byte for a given version of
    PyTorch, processor and number of threads; on a GPU, as long as cuDNN does not benchmark its
    kernels.

    Args:
        make: Returns the step. It is called here so that what it allocates is counted.
        device: Where the step runs.

    Returns:
        Bytes.
    """
    # Older garbage must not be freed meanwhile: it is in the level that the peak is compared to.
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
    # Freed now, cycles included, and not during the measurement of the next variant.
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
        # The profiler only tracks what is allocated and freed while it runs: a block freed
        # later would stay in its sums.
        del step
        gc.collect()
    return _peak(profiler.profiler.kineto_results.experimental_event_tree())


def _peak(roots: list) -> int:
    """Return the allocator's peak during the marked call, above where it stood at the start."""
    # PyTorch's public summaries give sums by operator, not how much was allocated at one moment.
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
    """Time the steps in rounds, after two rounds that are not counted.

    The steps take turns, so that a slow spell of the machine affects all of them alike. CUDA is
    synchronised before and after each step.

    Args:
        steps: {key: step}.
        rounds: How many are counted.

    Returns:
        {key: seconds of each round}.
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
    """Limit the batch size on the CPU to the pixels of two images of 321×321.

    Args:
        batch: The batch size asked for.
        crop: Side of the images, in pixels.
        device: On CUDA there is no limit.

    Returns:
        The batch size, at least 1.
    """
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
    """Measure the cost of each variant's training step.

    Networks are randomly initialised. Variants with the same network, objective and share of
    labelled pixels are measured once and share the figures. Memory is measured with one network on
    the device. Time is measured with the baseline beside it, and the two take turns: no device
    needs room for more.

    Args:
        architectures: {variant: its architecture}.
        baseline: The variant to which `Cost.ratio` compares.
        labelled: {variant: its share of labelled pixels, in 0..1}.
        objectives: {variant: its objective}.
        rounds: Timed rounds (`step_times`).
        batch_size: Images in a step.
        crop: Their side, in pixels.
        execution: Device and precision. Memory is measured without CUDA graphs.
        options: The optimizer's.

    Returns:
        One entry per variant, in the order of `architectures`.
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

    # A captured step lives in the graph's own memory pool, where nothing records what is in use.
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
        seconds = times[keys[name]][keys[name]]
        costs.append(
            Cost(
                name,
                **counts(architecture, crop)._asdict(),
                memory=memory[keys[name]],
                seconds=median(seconds),
                ratio=_ratio(seconds, times[keys[name]][keys[baseline]]),
            )
        )
    return costs
