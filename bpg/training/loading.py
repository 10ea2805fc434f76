"""Batches from loading processes, and how their errors and deaths are reported."""

import shutil
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import joblib
import torch
from torch.utils.data import DataLoader

from bpg.data.dataset import TrainingImages
from bpg.errors import BPGError
from bpg.ranks import local_size
from bpg.training.sampler import EpochSampler
from bpg.training.signals import leave_interrupts_to_the_parent
from bpg.training.summary import warn

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 only looked at
_PREFETCHED = 2  # batches of a process, PyTorch's default
_SHARE = 0.8  # of the free shared memory: others use it, too
_BYTES_PER_PIXEL = 6  # RGB, label, edge, valid


def make_loader(
    images: TrainingImages, sampler: EpochSampler, num_workers: int, device: torch.device
) -> DataLoader:
    """Return a loader of the sampler's batches.

    Args:
        images: What is loaded.
        sampler: Which images, in which order; a resumed training passes one that skips the batches
            it has seen.
        num_workers: Loading processes, but no more than cores that may be used; 0 loads in this
            one.
        device: Where the batches will be used: for CUDA they are loaded into pinned memory.
    """
    crop = images.augmentation.crop
    batch_bytes = sampler.batch * crop * crop * _BYTES_PER_PIXEL
    # More would only wait for each other.
    num_workers = min(num_workers, max(1, joblib.cpu_count() // local_size()))
    fitting = fitting_workers(num_workers, batch_bytes, _free_shared_memory())
    if fitting < num_workers:
        warn(
            f"{SHARED_MEMORY} has room for the batches of {fitting} loading processes, not of "
            f"{num_workers}: loading with {fitting} (same result). A container gets more by "
            "--shm-size"
        )
    return DataLoader(
        images,
        batch_sampler=sampler,
        num_workers=fitting,
        persistent_workers=False,
        pin_memory=device.type == "cuda",
        worker_init_fn=leave_interrupts_to_the_parent,
        # Its own, so that a resumed training draws nothing from the restored random state.
        generator=torch.Generator(),
    )


def fitting_workers(num_workers: int, batch_bytes: int, free: int | None) -> int:
    """Return how many loading processes shared memory has room for.

    Their batches travel through it: each process prepares `_PREFETCHED` at a time. Docker's default
    of 64 MB is less than eight processes need for ten crops of 321 pixels.

    Args:
        num_workers: How many are asked for.
        batch_bytes: Bytes of a batch.
        free: Bytes of shared memory that are free; None if that is not known.
    """
    if free is None:
        return num_workers
    return min(num_workers, int(_SHARE * free) // (_PREFETCHED * batch_bytes))


def _free_shared_memory() -> int | None:
    try:
        return shutil.disk_usage(SHARED_MEMORY).free
    except OSError:
        return None


def batches(loader: DataLoader) -> Iterator[list[torch.Tensor]]:
    """Yield the batches, with errors of a loading process reduced to their one line.

    Args:
        loader: From `make_loader`.

    Yields:
        Items of `TrainingImages`, batched: images uint8 (N, c, c, 3), labels and edges uint8
        (N, c, c), valid bool (N, c, c).

    Raises:
        BPGError: An image cannot be used; the message is the same with and without loading
            processes.
    """
    try:
        yield from loader
    except BPGError as error:
        # Otherwise the traceback keeps the loading processes alive, which then take 10 s to end.
        traceback.clear_frames(error.__traceback__)
        # PyTorch wraps the error in the traceback of the process, where it is the last line.
        line = str(error).strip().splitlines()[-1]
        raise BPGError(line.removeprefix("bpg.errors.BPGError: ")) from error


@contextmanager
def dead_workers_named(interrupted: Callable[[], bool]) -> Iterator[None]:
    """Report the death of a loading process, which PyTorch may raise at any point of the block.

    Args:
        interrupted: Says whether the training was asked to stop; from `deferred_interrupts`.

    Raises:
        BPGError: A loading process died.
        KeyboardInterrupt: A loading process died after the training was asked to stop.
    """
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:
        word = str(error)
        if isinstance(error, (ConnectionError, EOFError)):
            # Its transfer broke off; PyTorch's own message about it is on its way.
            try:
                time.sleep(1)
            except RuntimeError as later:
                word = str(later)
        elif "DataLoader worker" not in word:
            raise
        place = "the next start resumes from the last checkpoint"
        if interrupted():  # SIGTERM goes to all processes of a job
            raise KeyboardInterrupt(f"in the midst of a step; {place}") from error
        # PyTorch wraps an error of a process in its traceback, whose last line is the cause.
        cause = word.strip().splitlines()[-1]
        remedy = "out of memory? Lower machine.num_workers or training.batch_size"
        if any(hint in word for hint in ("shared memory", "shm", "No space left", "Bus error")):
            remedy = (
                f"{SHARED_MEMORY} is full: give the container more (--shm-size), or lower "
                "machine.num_workers"
            )
        raise BPGError(f"a loading process died ({cause}): {remedy}; {place}") from error
