"""A user's folder, brought into the layout that every training reads."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from tqdm import tqdm

from bpg.constants import IGNORE
from bpg.data.colours import bright_colours
from bpg.data.description import Description
from bpg.data.folder import Folder, as_strokes
from bpg.data.folder_checks import read_full_mask
from bpg.data.folder_split import Split
from bpg.data.formats.labelme import write_labelme
from bpg.data.masks import write_image, write_mask
from bpg.data.strokes import paint
from bpg.resize import shrink
from bpg.resumable import Work


def prepare_folder(work: Work, folder: Folder, split: Split) -> None:
    """Write what a training needs into resumable work: `images`, `masks` and `strokes`.

    Images are upright, and shrunk to the folder's `longest_side`. A validation image's mask is its
    full mask, or its held-out strokes with 255 elsewhere, also where a stroke that is learnt from
    runs over them. A training image without a mask gets one of 255 alone.

    Args:
        work: Where the files go; those that are already done are not written again.
        folder: What `read_folder` returns.
        split: What `split_folder` returns.
    """
    train, scored = set(split.train), set(split.val)
    left: list[tuple[str, list[str], list[Path]]] = []
    for name in sorted({*train, *scored, *split.pool}):
        identity = folder.photos[name].id
        files = [f"images/{identity}.png"]
        if name in train or name in scored:
            files.append(f"masks/{identity}.png")
        if name in train:
            files.append(f"strokes/{identity}.json")
        if not work.done(*files):
            left.append((name, files, work.begin(*files)))
    # Threads: decoding and encoding release the GIL. They write, too: after an error, what another
    # one has begun is not in the journal, and the next start writes it again.
    written = Parallel(n_jobs=-1, prefer="threads", return_as="generator")(
        delayed(_write)(folder, split, name, paths) for name, _, paths in left
    )
    bar = tqdm(written, "prepare", len(left), unit="image", disable=None)
    for (_, files, _), _ in zip(left, bar, strict=True):
        work.add(*files)


def _write(folder: Folder, split: Split, name: str, paths: Sequence[Path]) -> None:
    for path in paths:
        match path.parent.name:
            case "images":
                width, height = folder.size(name)
                write_image(path, shrink(folder.photos[name].read(), (height, width)))
            case "masks":
                write_mask(path, _mask(folder, split, name))
            case "strokes":
                kept = as_strokes(folder, name, split.kept(folder, name))
                write_labelme(path, kept, f"{folder.photos[name].id}.png")


def ids(folder: Folder, names: Sequence[str]) -> list[str]:
    """Return the names' ids, sorted."""
    return sorted(folder.photos[name].id for name in names)


def describe_folder(folder: Folder, split: Split) -> Description:
    """Return what the labels of a folder mean."""
    chosen = folder.options.colours
    colours = zip(folder.classes, bright_colours(len(folder.classes)), strict=True)
    return Description(
        folder.classes, tuple(chosen.get(name, usual) for name, usual in colours), split.truth
    )


def _mask(folder: Folder, split: Split, name: str) -> NDArray[np.uint8]:
    if split.truth == "masks" and name in folder.masks:
        return read_full_mask(folder, name)
    width, height = folder.size(name)
    mask = np.full((height, width), IGNORE, np.uint8)
    if name not in split.held_out:
        return mask
    pixels = folder.pixels(name)
    strokes = folder.strokes[name]
    out = split.held_out[name]
    for place in sorted(out):
        tag = strokes[place].tag
        if tag is not None:
            paint(mask, pixels[place], folder.classes.index(tag))
    for place in range(len(strokes)):
        if place not in out:
            paint(mask, pixels[place], IGNORE)
    return mask
