"""Batches from loading processes, and what their errors and deaths are called."""

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch.utils.data import DataLoader

from bpg.data.dataset import TrainingImages
from bpg.errors import BPGError
from bpg.training.sampler import EpochSampler
from bpg.training.signals import leave_interrupts_to_the_parent


def make_loader(
    images: TrainingImages, sampler: EpochSampler, num_workers: int, device: torch.device
) -> DataLoader:
    """Return what loads the sampler's batches in `num_workers` processes, 0 for this one."""
    return DataLoader(
        images,
        batch_sampler=sampler,
        num_workers=num_workers,
        persistent_workers=False,
        pin_memory=device.type == "cuda",
        worker_init_fn=leave_interrupts_to_the_parent,
        # Its own, so that a resumed training draws nothing from the state that was restored.
        generator=torch.Generator(),
    )


def batches(loader: DataLoader) -> Iterator[list[torch.Tensor]]:
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
def dead_workers_named(interrupted: Callable[[], bool]) -> Iterator[None]:
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
        place = "the next start resumes from the last checkpoint"
        if interrupted():  # SIGTERM goes to all processes of a job
            raise KeyboardInterrupt(f"in the midst of a step; {place}") from error
        raise BPGError(
            f"a loading process died ({word.splitlines()[0]}): out of memory? Lower "
            f"machine.num_workers or training.batch_size; {place}"
        ) from error
