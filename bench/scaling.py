"""Time and cost of every stage for 10⁶ and 10⁸ images against the number of workers: on paper, and
by a simulation that the formula is checked against.

    python -m bench.scaling
    python -m bench.scaling --core-hour 0.04 --gpu-hour 3 --bandwidth 1e9

The rates are those of `bench/rates.json`, which `python -m bench.many_images` measured, with and
without `--photographs`. A stage that goes image by image has one coordinator, which hands out the
images, takes the results in their order, writes the files and keeps the journal, and workers, all
on one file system: the cores of one machine, or, for the stages that `machine.dask` sends there, of
a cluster. On paper:

    seconds = N · start + N · max(work / workers, own, bytes / bandwidth)

with a start that grows with the images (lists, digests), the work on an image, and the
coordinator's own time for it (a mask written, its digest in the journal). The simulation has what
the formula leaves out: images that take unequal time, results that wait for a slow one before
them, and a file system that serves one after the other. Neither has workers that die, each of
which costs its image, nor the memory that results take when the coordinator is behind.

A training divides each batch among its GPUs and then adds up the gradients. On paper:

    seconds = N · start + epochs · N / batch · (⌈batch / GPUs⌉ · image + reduction)

with the all-reduce of a ring. The simulation waits for the slowest GPU of each step.
"""

import argparse
import heapq
import json
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.many_images import RATES

IMAGES = (10**6, 10**8)
WORKERS = (2, 64, 1024, 16384)
GPUS = (1, 8, 64)
SIMULATED = 20_000  # images, once the workers are busy: more take as long, each
SPREAD = 0.5  # standard deviation of an image's time over its mean
PHOTOGRAPH = 300e3  # bytes that a stage reads or writes for an image, with its label maps
# Stages by what they do, as `bench.many_images` ran them; a fifth of its images were scored on.
BY_IMAGE = {
    "prepare": 1.0,
    "scribbles": 0.8,
    "edges": 0.8,
    "predict bpg 0": 0.2,
    "crf bpg 0": 0.2,
    "evaluate bpg 0": 0.2,
}
ON_A_CLUSTER = ("scribbles", "crf bpg", "evaluate bpg")
MACHINE = 64  # cores of the largest machine: the most for the others
DVC = ("dvc commit --force", "dvc repro")
# `python -m bench.gpu_step` on an H200, recipe paper, BPG, from Python, as several processes train:
# images a second, and bytes of gradients of ResNet-101's 44 million weights.
GPU_RATE = 217
GRADIENTS = 4 * 44e6
BATCH, EPOCHS = 10, 25  # of recipe paper


@dataclass(frozen=True)
class Stage:
    """Seconds an image: of the start, of the coordinator, of the work on one core."""

    name: str
    start: float
    own: float
    work: float


@dataclass(frozen=True)
class Site:
    """Bytes a second of the file system and of the network between GPUs; dollars an hour."""

    bandwidth: float
    network: float
    core_hour: float
    gpu_hour: float


def read_stages(rates: Mapping[str, Any]) -> list[Stage]:
    """Return what a thousand more images cost in the measured runs, for an image."""

    def slope(kind: str, command: str, value: str) -> float:
        sizes = sorted(rates[kind], key=int)
        first, last = (rates[kind][size][command][value] or 0 for size in (sizes[0], sizes[-1]))
        return max(0.0, (last - first) / (int(sizes[-1]) - int(sizes[0])))

    stages = []
    for name, share in BY_IMAGE.items():
        start = slope("small", name, "start")
        start /= share
        own = rates["coordinator"]
        if name == "prepare":  # one process that reads a user's folder: nearly all is Python's
            own = slope("small", name, "seconds") / share
        elif name.startswith("evaluate"):  # it adds up counts and writes nothing
            own = 0.0
        work = max(0.0, slope("photographs", name, "cpu") / share - start - own)
        stages.append(Stage(name.removesuffix(" 0"), start, own, work))
    for name in DVC:
        stages.append(Stage(name.removesuffix(" --force"), slope("small", name, "seconds"), 0, 0))
    return stages


def on_paper(stage: Stage, images: int, workers: int, site: Site) -> float:
    """Return the seconds of the formula."""
    each = max(stage.work / workers, stage.own, bytes_of(stage) / site.bandwidth)
    return images * (stage.start + each)


def bytes_of(stage: Stage) -> float:
    return PHOTOGRAPH if stage.work else 0.0


def why(stage: Stage, workers: int, site: Site) -> str:
    """Say what a stage waits for."""
    waits = {
        "workers": stage.work / workers,
        "coordinator": stage.own,
        "file system": bytes_of(stage) / site.bandwidth,
        "start": stage.start,
    }
    return max(waits, key=lambda name: waits[name])


def simulate(stage: Stage, images: int, workers: int, site: Site, seed: int = 0) -> float:
    """Return the seconds that a simulated stage takes.

    As many images as `SIMULATED` are simulated; all take as long as these did at their rate.
    """
    if not stage.work:
        return on_paper(stage, images, workers, site)
    rng = np.random.default_rng(seed)
    # So many that the beginning, when workers are idle, counts for little.
    number = min(images, max(SIMULATED, 16 * workers))
    variance = math.log(1 + SPREAD**2)
    work = rng.lognormal(math.log(stage.work) - variance / 2, math.sqrt(variance), number)
    transfer = bytes_of(stage) / site.bandwidth
    free = [0.0] * workers  # when
    taken = np.zeros(number)  # by the coordinator, in order
    disk = coordinator = 0.0
    for image in range(number):
        disk = max(disk, heapq.heappop(free)) + transfer
        end = disk + work[image]
        heapq.heappush(free, end)
        coordinator = max(coordinator, end) + stage.own
        taken[image] = coordinator
    # From a quarter to three quarters: the beginning and the end are shared by all images.
    first, last = number // 4, 3 * number // 4
    rate = (taken[last] - taken[first]) / (last - first)
    edges = coordinator - rate * number
    return images * (stage.start + rate) + max(0.0, edges)


def training_on_paper(
    images: int, gpus: int, batch: int, start: float, site: Site
) -> tuple[float, float]:
    """Return the seconds of a training, and the share of them in which a GPU computes."""
    share = math.ceil(batch / gpus)
    reduction = 2 * GRADIENTS * (gpus - 1) / gpus / site.network
    step = share / GPU_RATE + reduction
    seconds = images * start + EPOCHS * images / batch * step
    return seconds, EPOCHS * images / GPU_RATE / (gpus * seconds)


def simulate_training(images: int, gpus: int, batch: int, start: float, site: Site) -> float:
    """Return the seconds of a training whose steps wait for the slowest GPU, 3 % unequal."""
    rng = np.random.default_rng(0)
    shares = np.diff([batch * own // gpus for own in range(gpus + 1)])
    unequal = rng.normal(1, 0.03, (1000, gpus)).clip(0.9)
    slowest = (shares * unequal / GPU_RATE).max(axis=1).mean()
    reduction = 2 * GRADIENTS * (gpus - 1) / gpus / site.network
    return images * start + EPOCHS * images / batch * (slowest + reduction)


def duration(seconds: float) -> str:
    for size, unit in ((86400 * 365, "years"), (86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.3g} {unit}"
    return f"{seconds:.2g} s"


def stage_rows(stages: Iterable[Stage], site: Site) -> list[str]:
    head = ["stage", "images", *(f"{workers:,} cores" for workers in WORKERS)]
    lines = [_row([*head, "cores it can use", "cost on them"]), _row(["---"] * (len(head) + 2))]
    for stage in stages:
        floor = max(stage.own, bytes_of(stage) / site.bandwidth)
        most = WORKERS[-1] if stage.name in ON_A_CLUSTER else MACHINE
        useful = min(most, max(1, math.ceil(stage.work / floor) if floor else 1))
        for images in IMAGES:
            cells = []
            for workers in WORKERS:
                if not stage.work and workers > WORKERS[0]:
                    cells.append("the same")
                    continue
                if workers > most:
                    cells.append("one machine")
                    continue
                paper = on_paper(stage, images, workers, site)
                simulated = simulate(stage, images, workers, site)
                off = 100 * (simulated / paper - 1)
                cells.append(
                    f"{duration(paper)} ({off:+.0f} %), {why(stage, workers, site)}"
                    if stage.work
                    else duration(paper)
                )
            hours = useful * on_paper(stage, images, useful, site) / 3600
            cells += [f"{useful:,}", f"{hours * site.core_hour:,.2g} $"]
            lines.append(_row([stage.name, f"{images:.0e}", *cells]))
    return lines


def training_rows(start: float, site: Site) -> list[str]:
    head = ["batch", "images", *(f"{gpus} GPUs" for gpus in GPUS), "cost on these GPUs"]
    lines = [_row(head), _row(["---"] * len(head))]
    for growing in (False, True):
        for images in IMAGES:
            cells, costs = [], []
            for gpus in GPUS:
                batch = BATCH * gpus if growing else BATCH
                if gpus > batch:
                    cells.append(f"no more than {batch}")
                    continue
                paper, busy = training_on_paper(images, gpus, batch, start, site)
                simulated = simulate_training(images, gpus, batch, start, site)
                off = 100 * (simulated / paper - 1)
                cells.append(f"{duration(paper)} ({off:+.0f} %), {100 * busy:.0f} % busy")
                costs.append(f"{gpus * paper / 3600 * site.gpu_hour:,.0f} $")
            batch_text = f"{BATCH} a GPU" if growing else f"{BATCH}"
            lines.append(_row([batch_text, f"{images:.0e}", *cells, ", ".join(costs)]))
    return lines


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.scaling")
    parser.add_argument("--core-hour", type=float, default=0.04, help="dollars; 0.04")
    parser.add_argument("--gpu-hour", type=float, default=3.0, help="dollars; 3")
    parser.add_argument("--bandwidth", type=float, default=1e9, help="file system, B/s; 1e9")
    parser.add_argument("--network", type=float, default=25e9, help="between GPUs, B/s; 25e9")
    given = parser.parse_args()
    site = Site(given.bandwidth, given.network, given.core_hour, given.gpu_hour)
    rates = json.loads(RATES.read_text(encoding="utf-8")) if RATES.exists() else {}
    for kind, option in (("small", ""), ("photographs", " --photographs")):
        if len(rates.get(kind, ())) < 2:
            sys.exit(f"{RATES}: has no two sizes; run python -m bench.many_images{option}")
    stages = read_stages(rates)
    print("\n".join(stage_rows(stages, site)))
    print()
    train = rates["small"]
    sizes = sorted(train, key=int)
    starts = [train[size]["train bpg 0"]["start"] for size in (sizes[0], sizes[-1])]
    share = 0.8  # of the images were trained on
    start = max(0.0, (starts[1] - starts[0]) / (int(sizes[-1]) - int(sizes[0]))) / share
    print("\n".join(training_rows(start, site)))


if __name__ == "__main__":
    main()
