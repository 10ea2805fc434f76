"""The training loop."""

import math
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from dvclive import Live
from torch.utils.data import DataLoader
from tqdm import tqdm

from bpg.atomic import whole_directory
from bpg.data.dataset import TrainingImages
from bpg.devices import Execution
from bpg.errors import BPGError
from bpg.models.network import Network
from bpg.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from bpg.training.meter import Meter
from bpg.training.objective import Objective, make_gradients, optimizer_step
from bpg.training.optim import OptimizerOptions, make_optimizer, poly_lr, set_lrs
from bpg.training.sampler import EpochSampler
from bpg.training.signals import deferred_interrupts, leave_interrupts_to_the_parent

SHOWN_EVERY = 20  # steps between two losses on the progress bar


def train(
    network: Network,
    images: TrainingImages,
    curves: Path,
    *,
    objective: Objective,
    options: OptimizerOptions,
    epochs: int,
    first_epoch: int,
    batch_size: int,
    execution: Execution,
    num_workers: int,
    seed: int,
    title: str,
    checkpoint: Path | None = None,
    checkpoint_seconds: float = math.inf,
) -> dict:
    """Minimise the objective over `epochs` epochs and return a summary.

    Every epoch sees each image once, in an order that follows from the seed; an incomplete last
    batch is dropped. `first_epoch` counts the epochs that the network has been trained before, so
    that these go on in the same sequence of random draws; the schedule starts anew. The curves
    (one point an epoch) go to the folder `curves` in DVCLive's layout.

    The file `checkpoint` gets the state every `checkpoint_seconds`, at an interrupt and at the
    end. Where it is there at the start, training goes on from it, to the same result on the CPU
    as without the stop; one that cannot be read is said and not used. That it belongs to the same
    settings and images is the caller's to know. A first interrupt (Ctrl-C, SIGTERM) ends the
    training after the step under way with KeyboardInterrupt, a second one at once.

    The summary holds the number of steps and of epochs, the mean losses of the last epoch (a
    regulariser's without its weight), `edge_loss`: the squared error per pixel over the last
    epoch (Table 2), None without a BRN; `blank_batches`: how many had no labelled pixel;
    `unseen_classes`: those of which no crop had a labelled pixel; and `seconds`, over all starts.
    The two kinds of trouble are said on standard error as well.

    Raises BPGError when the loss or a weight stops being finite, when no crop of an epoch has a
    labelled pixel, when there are fewer images than a batch, and when a loading process dies.
    """
    device = execution.device
    steps = len(images) // batch_size
    if steps == 0:
        raise BPGError(f"{len(images)} training images do not fill one batch of {batch_size}")
    # The stub has no overload for both at once.
    network.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    if execution.compiled:
        network.compile(dynamic=False)
    optimizer = make_optimizer(network, options)
    gradients = make_gradients(network, objective, execution)
    progress = _start(checkpoint, network, optimizer, title)
    meter = Meter(progress.sums, progress.summed)
    loader = DataLoader(
        images,
        batch_sampler=EpochSampler(
            len(images), batch_size, epochs, seed, first_epoch, progress.step
        ),
        num_workers=num_workers,
        persistent_workers=False,
        pin_memory=device.type == "cuda",
        worker_init_fn=leave_interrupts_to_the_parent,
        # Its own, so that a second start draws nothing from the state that is gone on with.
        generator=torch.Generator(),
    )
    clock = _Clock(progress.seconds)

    total = epochs * steps
    done = progress.step

    def keep() -> None:
        # The losses are those before each step: the last one's outcome is in the weights alone.
        meter.check(f"{title}, step {done}")
        _check_weights(network, f"{title}, step {done}")
        progress.step, progress.seconds = done, clock.total()
        progress.sums, progress.summed = meter.sums, meter.steps
        if checkpoint is not None:
            save_checkpoint(checkpoint, network, optimizer, progress)
        clock.mark()

    with (
        deferred_interrupts() as interrupted,
        _dead_workers_named(interrupted),
        tqdm(
            total=total * batch_size,
            initial=done * batch_size,
            unit="image",
            desc=title,
            mininterval=2,
        ) as bar,
    ):
        for items in _loaded(loader):
            set_lrs(optimizer, poly_lr(done, total))
            terms = optimizer_step(network, items, gradients, optimizer, options.max_grad_norm)
            # Reading the loss waits for the device, so not at every step.
            if done % SHOWN_EVERY == 0:
                bar.set_postfix(loss=f"{float(terms['loss']):.3f}", refresh=False)
            done += 1
            meter.add(terms)
            bar.update(batch_size)
            if done % steps == 0:
                meter.end_epoch(progress, f"{title}, epoch {first_epoch + done // steps}")
                meter = Meter()
            if interrupted():
                break
            if clock.since_mark() >= checkpoint_seconds:
                keep()
        if done > progress.step:
            keep()
        if interrupted():
            raise KeyboardInterrupt(f"after step {done} of {total}; the next start goes on there")
    _write_curves(curves, first_epoch, progress.epochs)
    unseen = [
        name
        for name, count in zip(network.architecture.classes, progress.labelled, strict=True)
        if count == 0
    ]
    if unseen:
        _warn(f"{title}: no crop had a labelled pixel of {', '.join(unseen)}: never learnt")
    if progress.blank:
        _warn(f"{title}: {progress.blank} of {total} batches had no labelled pixel")
    return {
        "epochs": epochs,
        "steps": total,
        **progress.epochs[-1],
        "blank_batches": progress.blank,
        "unseen_classes": unseen,
        "seconds": progress.seconds,
    }


def _start(
    checkpoint: Path | None, network: Network, optimizer: torch.optim.Optimizer, title: str
) -> Progress:
    """Go on from the checkpoint where there is one."""
    if checkpoint is None or not checkpoint.exists():
        return Progress()
    try:
        progress = load_checkpoint(checkpoint, network, optimizer)
    except BPGError as error:
        _warn(f"{title}: starts over: {error}")
        return Progress()
    _warn(f"{title}: goes on after step {progress.step}")
    return progress


def _loaded(loader: DataLoader) -> Iterator[list[torch.Tensor]]:
    """Yield the batches; an error of a loading process comes as its one line, as without one."""
    try:
        yield from loader
    except BPGError as error:
        # Otherwise the stack trace keeps the loading processes, which then take 10 s to end.
        traceback.clear_frames(error.__traceback__)
        # PyTorch wraps the error into the process's own stack trace, of which it is the last line.
        line = str(error).strip().splitlines()[-1]
        raise BPGError(line.removeprefix("bpg.errors.BPGError: ")) from error


@contextmanager
def _dead_workers_named(interrupted: Callable[[], bool]) -> Iterator[None]:
    """Name the death of a loading process, which PyTorch raises at any point of the block."""
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:
        word = str(error)
        if isinstance(error, (ConnectionError, EOFError)):
            # What it was sending has broken off; PyTorch's own word for it is on its way.
            try:
                time.sleep(1)
            except RuntimeError as later:
                word = str(later)
        elif "DataLoader worker" not in word:
            raise
        place = "the next start goes on from the last checkpoint"
        if interrupted():  # SIGTERM goes to all processes of a job
            raise KeyboardInterrupt(f"in the midst of a step; {place}") from error
        raise BPGError(
            f"a loading process died ({word.splitlines()[0]}): out of memory? Lower "
            f"machine.num_workers or training.batch_size; {place}"
        ) from error


def _check_weights(network: Network, where: str) -> None:
    if not all(value.isfinite().all() for value in network.state_dict().values()):
        raise BPGError(f"{where}: the weights are not finite; lower the learning rate")


def _write_curves(
    curves: Path, first_epoch: int, epochs: Sequence[Mapping[str, float | None]]
) -> None:
    with (
        whole_directory(curves) as folder,
        Live(str(folder), dvcyaml=False, save_dvc_exp=False, report=None) as live,
    ):
        for epoch, means in enumerate(epochs, first_epoch + 1):
            live.step = epoch
            for name, value in means.items():
                if value is not None:
                    live.log_metric(f"train/{name}", round(value, 6), plot=True)
            live.make_summary()


def _warn(line: str) -> None:
    tqdm.write(line, file=sys.stderr)


class _Clock:
    """Seconds in all, those of earlier starts with them, and since the last mark."""

    def __init__(self, before: float):
        self.before = before
        self.started = self.marked = time.monotonic()

    def total(self) -> float:
        return self.before + time.monotonic() - self.started

    def mark(self) -> None:
        self.marked = time.monotonic()

    def since_mark(self) -> float:
        return time.monotonic() - self.marked
