"""What a folder holds, in numbers: by class and by use."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from bpg.constants import IGNORE
from bpg.data.findings import counted
from bpg.data.folder import Folder
from bpg.data.folder_split import Split


@dataclass(frozen=True)
class ClassRow:
    """A class of a folder: images with a stroke of it, strokes, those held out, and pixels."""

    name: str
    images: int
    strokes: int
    held_out: int
    pixels: int


@dataclass(frozen=True)
class FolderSummary:
    """A folder in numbers.

    Attributes:
        rows: By class, background first.
        with_strokes: Images with strokes.
        with_masks: Images with masks.
        with_nothing: Images with neither.
        labelled: Share of the pixels of the images with strokes that strokes cover.
        use: What is trained on and what is scored on; empty if the folder cannot be divided.
    """

    rows: tuple[ClassRow, ...]
    with_strokes: int
    with_masks: int
    with_nothing: int
    labelled: float
    use: str

    def __str__(self) -> str:
        """Return a table to print, and two lines."""
        width = max(map(len, ("class", *(row.name for row in self.rows))))
        lines = [f"{'class':<{width}}  images  strokes  held out   share of labelled pixels"]
        total = max(1, sum(row.pixels for row in self.rows))
        for row in self.rows:
            lines.append(
                f"{row.name:<{width}}  {row.images:6,}  {row.strokes:7,}  {row.held_out:8,}"
                f"   {100 * row.pixels / total:5.1f} %"
            )
        images = self.with_strokes, self.with_masks, self.with_nothing
        lines.append(
            "images: {:,} with strokes, {:,} with masks, {:,} with neither".format(*images)
        )
        if self.with_strokes:
            lines.append(
                f"strokes cover {100 * self.labelled:.1f} % of the pixels of the images that have "
                "any"
            )
        return "\n".join([*lines, *filter(None, [self.use])])


def summarise_folder(folder: Folder, split: Split | None) -> FolderSummary:
    """Count what a folder holds.

    Args:
        folder: What `read_folder` returns.
        split: What `split_folder` returns; None if the folder cannot be divided.
    """
    images: Counter[str] = Counter()
    strokes: Counter[str] = Counter()
    held_out: Counter[str] = Counter()
    pixels = np.zeros(256, np.int64)
    for name in folder.drawn_on:
        tags = [stroke.tag for stroke in folder.strokes[name]]
        strokes.update(tag for tag in tags if tag is not None)
        images.update({tag for tag in tags if tag is not None})
        out = split.held_out.get(name, frozenset()) if split else frozenset()
        held_out.update(tags[place] or "" for place in out)
        pixels += np.bincount(folder.label_map(name).ravel(), minlength=256)
    rows = tuple(
        ClassRow(name, images[name], strokes[name], held_out[name], int(pixels[label]))
        for label, name in enumerate(folder.classes)
    )
    neither = len(folder.photos.keys() - set(folder.drawn_on) - folder.masks.keys())
    labelled = 1 - pixels[IGNORE] / max(1, pixels.sum())
    return FolderSummary(
        rows, len(folder.drawn_on), len(folder.masks), neither, float(labelled), _use(split)
    )


def _use(split: Split | None) -> str:
    if split is None:
        return ""
    if split.truth == "masks":
        return (
            f"trained on the strokes of {counted(len(split.train), 'image')}, "
            f"scored on the masks of {counted(len(split.val), 'other image')}"
        )
    number = sum(map(len, split.held_out.values()))
    return (
        f"trained on the strokes of {counted(len(split.train), 'image')}, scored on "
        f"{counted(number, 'held-out stroke')} on {counted(len(split.val), 'image')}"
    )
