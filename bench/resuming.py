"""Measure what it costs to be able to resume: checkpoints, and the journal of kept files.

    python -m bench.resuming [FOLDER]

A checkpoint is held against writing as many bytes to the disk of FOLDER (here, if none is given)
and flushing them, which is its floor; a kept mask against writing it alone. The last column is
the share of a training's time at the recipe's `machine.checkpoint_seconds`.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch

from bench.training_step import read
from bpg.data.masks import write_mask
from bpg.models.network import Network
from bpg.resumable import open_work
from bpg.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from bpg.training.optim import make_optimizer
from pipeline.build import architecture

ROUNDS = 5
IMAGES = 300


def seconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return median(times)


def checkpoints(folder: Path) -> None:
    for recipe in ("tiny", "small", "paper"):
        parameters = read(recipe)
        network = Network(architecture(parameters, parameters.variants["bpg"]))
        optimizer = make_optimizer(network, parameters.recipe.training)
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        path, plain = folder / "checkpoint", folder / "plain"
        saved = seconds(lambda: save_checkpoint(path, network, optimizer, Progress()))  # noqa: B023
        data = path.read_bytes()

        def floor() -> None:
            with plain.open("wb") as file:  # noqa: B023
                file.write(data)  # noqa: B023
                os.fsync(file.fileno())

        lowest = seconds(floor)
        fresh = make_optimizer(network, parameters.recipe.training)
        loaded = seconds(lambda: load_checkpoint(path, network, fresh))  # noqa: B023
        every = parameters.recipe.machine.checkpoint_seconds
        print(
            f"{recipe:6}{len(data) / 1e6:8.1f} MB  saved in {saved:6.3f} s, "
            f"× {saved / lowest:.1f} of the bytes alone; loaded in {loaded:6.3f} s; "
            f"every {every:.0f} s: {100 * saved / every:.2f} % of the time"
        )


def kept_files(folder: Path) -> None:
    mask = np.random.default_rng(0).integers(0, 3, (375, 500)).astype(np.uint8)
    number = iter(range(100))

    def alone() -> None:
        target = folder / f"alone-{next(number)}"
        target.mkdir()
        for image in range(IMAGES):
            write_mask(target / f"{image}.png", mask)

    def kept() -> None:
        run = next(number)
        with open_work(folder / f"work-{run}", {}, [], print) as work:
            for image in range(IMAGES):
                write_mask(*work.begin(f"masks/{image}.png"), mask)
                work.add(f"masks/{image}.png")
            work.publish({"masks": folder / f"kept-{run}"})

    first, second = seconds(alone), seconds(kept)
    print(
        f"a mask of 500x375: {1000 * first / IMAGES:.2f} ms; kept and published "
        f"{1000 * second / IMAGES:.2f} ms, × {second / first:.2f}"
    )


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else ".") as folder:
        checkpoints(Path(folder))
        kept_files(Path(folder))


if __name__ == "__main__":
    main()
