"""What a set of label maps holds: images and pixels by class, and what cannot be right."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from bpg.constants import IGNORE
from bpg.data.masks import read_mask


@dataclass(frozen=True)
class Survey:
    """A set of label maps.

    Attributes:
        classes: Class names, background first.
        images: By class, in how many maps it occurs, int64 (K+1,).
        pixels: By class, its pixels in all maps, int64 (K+1,).
        unlabelled: Pixels with 255.
        number: How many maps there are.
    """

    classes: tuple[str, ...]
    images: NDArray[np.int64]
    pixels: NDArray[np.int64]
    unlabelled: int
    number: int

    @property
    def present(self) -> list[str]:
        """The classes that occur."""
        return [name for name, count in zip(self.classes, self.pixels, strict=True) if count]

    @property
    def absent(self) -> list[str]:
        """The classes that do not occur."""
        return [name for name in self.classes if name not in self.present]

    def mistake(self) -> str | None:
        """Say why nothing can be learnt from these labels, or scored on them; None if it can."""
        share = 100 * self.unlabelled / max(1, self.unlabelled + int(self.pixels.sum()))
        if not self.present:
            return "no pixel has a label: all are 255"
        if len(self.present) == 1:
            return (
                f"the only class is {self.present[0]} ({share:.0f} % of the pixels are 255, "
                "unlabelled). Binary masks of 0 and 255? Give each object its class's number, "
                f"1 to {len(self.classes) - 1}"
            )
        return None


def survey(paths: Iterable[Path], classes: Sequence[str]) -> Survey:
    """Count the labels of label maps, over all cores.

    Args:
        paths: Palette or 8-bit grey PNGs of labels 0..K and 255.
        classes: Class names, background first; K + 1 of them.

    Raises:
        BPGError: A map cannot be read; the message names it.
    """
    # Threads: decoding and counting release Python's lock.
    parallel = Parallel(n_jobs=-1, prefer="threads", return_as="generator")
    images = np.zeros(len(classes), np.int64)
    pixels = np.zeros(len(classes), np.int64)
    unlabelled = number = 0
    for counts in parallel(delayed(_count)(path) for path in paths):
        images += counts[: len(classes)] > 0
        pixels += counts[: len(classes)]
        unlabelled += int(counts[IGNORE])
        number += 1
    return Survey(tuple(classes), images, pixels, unlabelled, number)


def _count(path: Path) -> NDArray[np.int64]:
    return np.bincount(read_mask(path).ravel(), minlength=256)


def survey_table(surveys: dict[str, Survey]) -> str:
    """Return a table to print: by class and set, images and the share of the labelled pixels."""
    classes = next(iter(surveys.values())).classes
    width = max(map(len, (*classes, "unlabelled (255)")))

    def line(heading: str, cells: Iterable[str]) -> str:
        return f"{heading:<{width}}" + "".join(f"{cell:>24}" for cell in cells)

    def share(one: Survey, index: int) -> float:
        return 100 * one.pixels[index] / max(1, one.pixels.sum())

    def unlabelled(one: Survey) -> float:
        return 100 * one.unlabelled / max(1, one.unlabelled + one.pixels.sum())

    lines = [line("", surveys)]
    for index, name in enumerate(classes):
        cells = (
            f"{one.images[index]:,} images {share(one, index):3.0f} %" for one in surveys.values()
        )
        lines.append(line(name, cells))
    lines.append(
        line("unlabelled (255)", (f"{unlabelled(one):.1f} % of all" for one in surveys.values()))
    )
    return "\n".join(lines)
