"""Probability files against 8-bit PNGs by Pillow: `python -m bench.probability_files`.

The same codes of the same classes, one image below the other. Floor: the bytes of the kept
classes, read once, at the bandwidth of a copy.
"""

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from bench.measure import Row, copy_bandwidth, in_turns, probabilities, regions, show
from bpg.inference.probabilities import FLOOR, read_probabilities, write_probabilities

COUNT = 4


def measure(name: str, sharpness: float, noise: float) -> Row:
    given = [probabilities(regions(seed), sharpness, noise, seed) for seed in range(COUNT)]
    with tempfile.TemporaryDirectory() as temporary:
        ours = [Path(temporary) / f"{number}.zst" for number in range(COUNT)]
        theirs = [Path(temporary) / f"{number}.png" for number in range(COUNT)]

        def write_ours() -> None:
            for path, one in zip(ours, given, strict=True):
                write_probabilities(path, one)

        def write_theirs() -> None:
            for path, one in zip(theirs, given, strict=True):
                kept = one[one.reshape(len(one), -1).max(1) >= FLOOR]
                coded = (np.sqrt(kept) * 255).round().astype(np.uint8).reshape(-1, one.shape[2])
                Image.fromarray(coded).save(path, format="PNG", compress_level=4)

        times = [taken / COUNT for taken in in_turns(write_ours, write_theirs)]
        sizes = [np.mean([p.stat().st_size for p in paths]) / 1000 for paths in (ours, theirs)]
        worst = 0.0
        kept_bytes = 0
        for path, one in zip(ours, given, strict=True):
            classes, stored = read_probabilities(path)
            kept_bytes += one[classes].nbytes / COUNT
            shares = one[classes] / one[classes].sum(0)
            worst = max(worst, float(np.abs(stored - shares).max()))
    return Row(
        f"writing a probability file, {name} network",
        *times,
        "≥ 4",
        f"{kept_bytes / copy_bandwidth():.2f} ms",
        f"{sizes[0]:.0f} kB, theirs {sizes[1]:.0f}; off by {worst:.4f} at most, either way",
    )


def rows() -> list[Row]:
    return [measure("a sure", 12, 0.5), measure("an unsure", 8, 1)]


if __name__ == "__main__":
    show(rows())
