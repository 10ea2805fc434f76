"""The training loop."""

import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from tqdm import tqdm

from bpg.data.dataset import TrainingImages
from bpg.devices import Execution
from bpg.distributed import any_of, from_first, is_loss_of_a_process, size
from bpg.errors import BPGError
from bpg.models.network import Network
from bpg.ranks import rank
from bpg.training.checkpoint import Progress, read_checkpoint, restore, save_checkpoint
from bpg.training.loading import batches, dead_workers_named, make_loader
from bpg.training.mean_teacher import Teacher, make_teacher
from bpg.training.meter import Meter
from bpg.training.objective import (
    Objective,
    gradient_ratios,
    make_gradients,
    optimizer_step,
)
from bpg.training.optim import make_optimizer, poly_lr, set_lrs
from bpg.training.options import OptimizerOptions
from bpg.training.sampler import EpochSampler
from bpg.training.signals import deferred_interrupts
from bpg.training.summary import summarise, warn, write_curves
from bpg.training.synchronised_norm import synchronise_norms

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
    """Minimise the objective and return a summary.

    With a mean teacher (`Objective.teacher_decay`), the network has the teacher's weights at the
    end.

    Every epoch sees each image once, in an order that follows from the seed; an incomplete last
    batch is dropped. A first interrupt (Ctrl-C, SIGTERM) ends the training after the step under
    way with KeyboardInterrupt, a second one at once.

    Several processes that have joined (`bpg.distributed`) train the network together, each on its
    share of every batch: up to rounding, the result is that of one process. Batch norm that is not
    frozen takes its statistics over all of them. Process 0 reads and writes the checkpoint, and
    writes the curves.

    Args:
        network: What is trained, in place.
        images: What it is trained on.
        curves: The folder for the curves, one point an epoch, in DVCLive's layout.
        objective: What is minimised (Eq. 4).
        options: The optimizer's; the learning rates fall by `poly_lr`.
        epochs: How many.
        first_epoch: How many the network has been trained for before: these follow in the same
            sequence of random draws, but the schedule starts anew.
        batch_size: Images in a step.
        execution: Device and precision.
        num_workers: Loading processes; 0 loads in this one.
        seed: Of the order and of what is drawn for each image.
        title: What the training is called on the progress bar and in messages.
        checkpoint: A file that gets the state every `checkpoint_seconds`, at an interrupt and at
            the end. Where it is there at the start, the training resumes from it, to the same
            result on the CPU as without the stop; one that cannot be read is said and not used.
            That it belongs to the same settings and images is the caller's to know.
        checkpoint_seconds: Seconds between two checkpoints.

    Returns:
        "epochs" and "steps"; the mean losses of the last epoch (a regulariser's without its
        weight) and, as a rule, its NAME_gradient (`gradient_ratios`); "edge_loss", the squared
        error per pixel over the last epoch (Table 2), None without a BRN; "blank_batches", how many
        had no labelled pixel; "unseen_classes", those of which no crop had one; "seconds", over all
        starts.

    Raises:
        BPGError: The loss or a weight is no longer finite; no crop of an epoch has a labelled
            pixel; there are fewer images than a batch, or fewer in a batch than processes; a
            loading process or another training process died.
    """
    steps = len(images) // batch_size
    if steps == 0:
        raise BPGError(
            f"{len(images)} training images do not fill one batch of {batch_size}; lower "
            "training.batch_size in the recipe, raise train_share, or add images"
        )
    if batch_size < size():
        raise BPGError(
            f"training.batch_size {batch_size} is less than one image for each of {size()} "
            "processes; start fewer in machine.launcher"
        )
    total = epochs * steps

    # The stub has no overload for both at once.
    network.to(execution.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    if size() > 1:
        synchronise_norms(network, execution.device)
    teacher = make_teacher(network, objective.teacher_decay)
    if execution.compiled:
        network.compile(dynamic=False)
    optimizer = make_optimizer(network, options)
    gradients = make_gradients(network, objective, execution, teacher)
    training = _Training(network, optimizer, teacher, checkpoint, steps, title)
    order = EpochSampler(len(images), batch_size, epochs, seed, first_epoch, skip=training.done)
    loader = make_loader(images, order, num_workers, execution.device)
    saved = time.monotonic()

    with (
        deferred_interrupts() as interrupted,
        dead_workers_named(interrupted),
        training.saved_when_a_process_is_lost(),
        tqdm(
            total=total * batch_size,
            initial=training.done * batch_size,
            unit="image",
            desc=title,
            mininterval=2,
            disable=rank() > 0,
        ) as bar,
    ):
        for items in batches(loader):
            set_lrs(optimizer, poly_lr(training.done, total))
            with training.buffers_kept():
                terms = optimizer_step(
                    network, items, gradients, optimizer, options.max_grad_norm, teacher
                )
            # Reading the loss waits for the device, so not at every step.
            if training.done % SHOWN_EVERY == 0:
                bar.set_postfix(loss=f"{float(terms['loss']):.3f}", refresh=False)
            if training.count(terms):
                ratios = gradient_ratios(network, items, objective, execution, teacher)
                training.end_epoch(first_epoch, ratios)
            bar.update(batch_size)
            if any_of(interrupted()):
                break
            if time.monotonic() - saved >= checkpoint_seconds:
                training.save()
                saved = time.monotonic()
        training.save()
        if any_of(interrupted()):  # all wait here until the checkpoint is written
            raise KeyboardInterrupt(
                f"after step {training.done} of {total}; the next start resumes there"
            )
    if teacher is not None:
        network.load_state_dict(teacher.network.state_dict())
    progress = training.progress
    if rank() == 0:
        write_curves(curves, first_epoch, progress.epochs)
    classes = network.architecture.classes
    return summarise(progress, classes, epochs=epochs, steps=total, title=title)


class _Training:
    """The state of a training, which starts where the checkpoint says.

    `steps` are those of an epoch, `done` those of all epochs so far.
    """

    def __init__(
        self,
        network: Network,
        optimizer: torch.optim.Optimizer,
        teacher: Teacher | None,
        checkpoint: Path | None,
        steps: int,
        title: str,
    ):
        self.network, self.optimizer, self.teacher = network, optimizer, teacher
        self.checkpoint, self.steps, self.title = checkpoint, steps, title
        self.progress = _resume(checkpoint, network, optimizer, teacher, title)
        self.done = self.progress.step
        self.meter = Meter(self.progress.sums, self.progress.summed)
        self.started = time.monotonic() - self.progress.seconds

    def count(self, terms: dict[str, torch.Tensor]) -> bool:
        """Count a step; say whether it was the last one of an epoch."""
        self.done += 1
        self.meter.add(terms)
        return self.done % self.steps == 0

    def end_epoch(self, first_epoch: int, ratios: Mapping[str, float]) -> None:
        where = f"{self.title}, epoch {first_epoch + self.done // self.steps}"
        self.meter.end_epoch(self.progress, where, ratios)
        self.meter = Meter()

    def save(self) -> None:
        """Write the checkpoint, if there was a step since the last one."""
        if self.done == self.progress.step:
            return
        # The losses are those before each step: the last one's outcome is in the weights alone.
        self.meter.check(f"{self.title}, step {self.done}")
        _check_weights(self.network, f"{self.title}, step {self.done}")
        self.progress.step, self.progress.seconds = self.done, time.monotonic() - self.started
        self.progress.sums, self.progress.summed = self.meter.sums, self.meter.steps
        if self.checkpoint is not None and rank() == 0:
            save_checkpoint(
                self.checkpoint, self.network, self.optimizer, self.progress, self.teacher
            )

    @contextmanager
    def buffers_kept(self) -> Iterator[None]:
        """Undo what a forward pass did to running statistics, if another process is lost."""
        buffers = [(one, one.clone()) for one in self.network.buffers()] if size() > 1 else []
        try:
            yield
        except RuntimeError:
            for one, before in buffers:
                one.copy_(before)
            raise

    @contextmanager
    def saved_when_a_process_is_lost(self) -> Iterator[None]:
        """Save what this process has, once another one has ended.

        Raises:
            BPGError: It has.
        """
        try:
            yield
        except RuntimeError as error:
            if not is_loss_of_a_process(error):
                raise
            # Not between the last step of an epoch and the end of the epoch. A GPU may have begun
            # steps that never end.
            whole = self.meter.steps < self.steps
            if whole and next(self.network.parameters()).device.type == "cpu":
                self.save()
            # Every process says it, for it may be process 0 that is gone; and at once, for the
            # launcher's SIGTERM is on its way and may come before an error is printed.
            text = (
                f"{self.title}: another process of this training ended, after step {self.done}; "
                "the next start resumes from the last checkpoint"
            )
            tqdm.write(text, file=sys.stderr)
            raise BPGError(text) from error


def _resume(
    checkpoint: Path | None,
    network: Network,
    optimizer: torch.optim.Optimizer,
    teacher: Teacher | None,
    title: str,
) -> Progress:
    """Load the checkpoint where there is one; process 0 has it."""
    data = from_first(_read(checkpoint, title))
    if data is None:
        return Progress()
    try:
        progress = restore(data, checkpoint or Path("checkpoint"), network, optimizer, teacher)
    except BPGError as error:
        warn(f"{title}: starts over: {error}")
        return Progress()
    warn(f"{title}: resumes after step {progress.step}")
    return progress


def _read(checkpoint: Path | None, title: str) -> bytes | None:
    if checkpoint is None or not checkpoint.exists():
        return None
    try:
        return read_checkpoint(checkpoint)
    except BPGError as error:
        warn(f"{title}: starts over: {error}")
        return None


def _check_weights(network: Network, where: str) -> None:
    if not all(value.isfinite().all() for value in network.state_dict().values()):
        raise BPGError(f"{where}: the weights are not finite; lower the learning rate")
