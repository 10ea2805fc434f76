"""What a training run leaves besides its network: curves, a summary, warnings."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dvclive import Live
from tqdm import tqdm

from bpg.atomic import whole_directory
from bpg.ranks import rank
from bpg.training.checkpoint import Progress


def summarise(
    progress: Progress, classes: Sequence[str], *, epochs: int, steps: int, title: str
) -> dict[str, Any]:
    """Return the summary of a finished training run, and warn of missing labels on standard error.

    Args:
        progress: At the end.
        classes: Their names, the background first.
        epochs: How many.
        steps: How many, over all epochs.
        title: What the training is called in the warnings.

    Returns:
        The entries that `bpg.training.train.train` describes.
    """
    labelled = zip(classes, progress.labelled, strict=True)
    unseen = [name for name, count in labelled if count == 0]
    if unseen:
        warn(f"{title}: no crop had a labelled pixel of {', '.join(unseen)}: never learnt")
    if progress.blank:
        warn(f"{title}: {progress.blank} of {steps} batches had no labelled pixel")
    return {
        "epochs": epochs,
        "steps": steps,
        **progress.epochs[-1],
        "blank_batches": progress.blank,
        "unseen_classes": unseen,
        "seconds": progress.seconds,
    }


def write_curves(
    curves: Path, first_epoch: int, epochs: Sequence[Mapping[str, float | None]]
) -> None:
    """Write the training curves in DVCLive's layout: for each mean loss, one point per epoch.

    Args:
        curves: The folder, which appears whole or not at all.
        first_epoch: Epochs before these; the first point is at `first_epoch` + 1.
        epochs: The mean losses of each epoch; None is left out.
    """
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


def warn(line: str) -> None:
    """Print a line on standard error, above the progress bar; process 0 speaks for all."""
    if rank() > 0:
        return
    tqdm.write(line, file=sys.stderr)
