"""The training loop."""

import math
import time
from pathlib import Path

import torch
from tqdm import tqdm

from bpg.data.dataset import TrainingImages
from bpg.devices import Execution
from bpg.errors import BPGError
from bpg.models.network import Network
from bpg.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from bpg.training.loading import batches, dead_workers_named, make_loader
from bpg.training.meter import Meter
from bpg.training.objective import Objective, make_gradients, optimizer_step
from bpg.training.optim import make_optimizer, poly_lr, set_lrs
from bpg.training.options import OptimizerOptions
from bpg.training.sampler import EpochSampler
from bpg.training.signals import deferred_interrupts
from bpg.training.summary import summarise, warn, write_curves

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

    Every epoch sees each image once, in an order that follows from the seed; an incomplete last
    batch is dropped. A first interrupt (Ctrl-C, SIGTERM) ends the training after the step under
    way with KeyboardInterrupt, a second one at once.

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
        weight); "edge_loss", the squared error per pixel over the last epoch (Table 2), None
        without a BRN; "blank_batches", how many had no labelled pixel; "unseen_classes", those of
        which no crop had one; "seconds", over all starts.

    Raises:
        BPGError: The loss or a weight is no longer finite; no crop of an epoch has a labelled
            pixel; there are fewer images than a batch; a loading process died.
    """
    steps = len(images) // batch_size
    if steps == 0:
        raise BPGError(
            f"{len(images)} training images do not fill one batch of {batch_size}; lower "
            "training.batch_size in the recipe, or add images"
        )
    total = epochs * steps

    # The stub has no overload for both at once.
    network.to(execution.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    if execution.compiled:
        network.compile(dynamic=False)
    optimizer = make_optimizer(network, options)
    gradients = make_gradients(network, objective, execution)
    progress = _resume(checkpoint, network, optimizer, title)
    done, meter = progress.step, Meter(progress.sums, progress.summed)
    order = EpochSampler(len(images), batch_size, epochs, seed, first_epoch, skip=done)
    loader = make_loader(images, order, num_workers, execution.device)
    started, saved = time.monotonic() - progress.seconds, time.monotonic()

    def save() -> None:
        # The losses are those before each step: the last one's outcome is in the weights alone.
        meter.check(f"{title}, step {done}")
        _check_weights(network, f"{title}, step {done}")
        progress.step, progress.seconds = done, time.monotonic() - started
        progress.sums, progress.summed = meter.sums, meter.steps
        if checkpoint is not None:
            save_checkpoint(checkpoint, network, optimizer, progress)

    with (
        deferred_interrupts() as interrupted,
        dead_workers_named(interrupted),
        tqdm(
            total=total * batch_size,
            initial=done * batch_size,
            unit="image",
            desc=title,
            mininterval=2,
        ) as bar,
    ):
        for items in batches(loader):
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
            if time.monotonic() - saved >= checkpoint_seconds:
                save()
                saved = time.monotonic()
        if done > progress.step:
            save()
        if interrupted():
            raise KeyboardInterrupt(f"after step {done} of {total}; the next start resumes there")
    write_curves(curves, first_epoch, progress.epochs)
    classes = network.architecture.classes
    return summarise(progress, classes, epochs=epochs, steps=total, title=title)


def _resume(
    checkpoint: Path | None, network: Network, optimizer: torch.optim.Optimizer, title: str
) -> Progress:
    """Load the checkpoint where there is one."""
    if checkpoint is None or not checkpoint.exists():
        return Progress()
    try:
        progress = load_checkpoint(checkpoint, network, optimizer)
    except BPGError as error:
        warn(f"{title}: starts over: {error}")
        return Progress()
    warn(f"{title}: resumes after step {progress.step}")
    return progress


def _check_weights(network: Network, where: str) -> None:
    if not all(value.isfinite().all() for value in network.state_dict().values()):
        raise BPGError(f"{where}: the weights are not finite; lower the learning rate")
