"""What the benchmarks share: taking turns, the machine's speeds, photographs, the table's row."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import skimage
import torch

from bpg.opencv import cv2

WIDTH, HEIGHT, CLASSES = 500, 375, 21  # a VOC image


@dataclass(frozen=True)
class Row:
    """One path: ours and theirs in `unit`; `target` is the ratio aimed at; floor and quality."""

    path: str
    ours: float
    theirs: float
    target: str
    floor: str
    quality: str
    unit: str = "ms"

    @property
    def ratio(self) -> float:
        """How many times as much the usual way takes."""
        return self.theirs / self.ours


def in_turns(
    ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int = 5
) -> tuple[float, float]:
    """Return the median milliseconds of either, after a round that does not count.

    They take turns, so that a slow spell of the machine hits both.
    """
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        for times, run in zip(taken, (ours, theirs), strict=True):
            started = time.perf_counter()
            run()
            if number:
                times.append(1000 * (time.perf_counter() - started))
    return median(taken[0]), median(taken[1])


def copy_bandwidth() -> float:
    """Return the bytes a millisecond that one thread reads while it copies what fits no cache."""
    source = np.ones(2**28, np.uint8)
    target = np.empty_like(source)
    times = []
    for _ in range(6):
        started = time.perf_counter()
        np.copyto(target, source)
        times.append(1000 * (time.perf_counter() - started))
    return source.nbytes / median(times[1:])


def matrix_rate(dtype: torch.dtype) -> float:
    """Return the multiply-accumulates a millisecond of a large matrix product."""
    size = 3072
    one, other = (torch.randn(size, size).to(dtype) for _ in range(2))
    times = []
    for _ in range(6):
        started = time.perf_counter()
        one @ other
        times.append(1000 * (time.perf_counter() - started))
    return size**3 / median(times[1:])


def photographs() -> list[np.ndarray]:
    """Return scikit-image's photographs and their mirror images: uint8 (375, 500, 3)."""
    folder = Path(skimage.__file__).parent / "data"
    found = []
    for name in ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg"):
        image = cv2.imread(str(folder / name), cv2.IMREAD_COLOR_RGB)
        image = cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        found += [image, np.ascontiguousarray(image[:, ::-1])]
    return found


def regions(seed: int) -> np.ndarray:
    """Return labels uint8 (375, 500): smooth regions of up to 21 classes."""
    rng = np.random.default_rng(seed)
    fields = rng.normal(size=(5, HEIGHT, WIDTH)).astype(np.float32)
    smooth = np.stack([cv2.GaussianBlur(field, (0, 0), 25) for field in fields])
    return rng.permutation(CLASSES)[smooth.argmax(0)].astype(np.uint8)


def probabilities(labels: np.ndarray, sharpness: float, noise: float, seed: int) -> np.ndarray:
    """Return what a network might think of `labels`: float32 (21, 375, 500), from an 8-pixel grid.

    A sharpness of 12 with a noise of 0.5 is sure of 2 to 5 classes; 8 with 1 is unsure, so that
    nearly all classes reach 5 % somewhere.
    """
    rng = np.random.default_rng(seed)
    grid = (WIDTH // 8 + 1, HEIGHT // 8 + 1)
    planes = []
    for label in range(CLASSES):
        blurred = cv2.GaussianBlur((labels == label).astype(np.float32), (0, 0), 4)
        coarse = sharpness * cv2.resize(blurred, grid, interpolation=cv2.INTER_AREA)
        coarse += noise * rng.standard_normal(coarse.shape, np.float32)
        planes.append(cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR))
    return torch.from_numpy(np.stack(planes)).softmax(0).numpy()


def show(rows: list[Row]) -> None:
    """Print rows, one a line; as JSON with --json."""
    if "--json" in sys.argv:
        print(json.dumps([asdict(row) for row in rows]))
        return
    for row in rows:
        print(
            f"{row.path}: {row.ours:.4g} {row.unit}, theirs {row.theirs:.4g}, "
            f"× {row.ratio:.1f} (target {row.target}); floor: {row.floor}; {row.quality}"
        )
