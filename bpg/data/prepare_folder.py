"""A user's folder, brought into the layout that every training reads."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from bpg.constants import IGNORE
from bpg.data.description import Description
from bpg.data.folder import Folder, as_strokes
from bpg.data.folder_checks import read_full_mask
from bpg.data.folder_split import Split
from bpg.data.formats.labelme import write_labelme
from bpg.data.masks import default_colours, write_image, write_mask
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
    names = sorted({*split.train, *split.val, *split.pool})
    for name in tqdm(names, "prepare", unit="image", disable=None):
        identity = folder.photos[name].id
        files = [f"images/{identity}.png"]
        if name in split.train or name in split.val:
            files.append(f"masks/{identity}.png")
        if name in split.train:
            files.append(f"strokes/{identity}.json")
        if work.done(*files):
            continue
        paths = dict(zip(files, work.begin(*files), strict=True))
        for file, path in paths.items():
            match file.partition("/")[0]:
                case "images":
                    width, height = folder.size(name)
                    write_image(path, shrink(folder.photos[name].read(), (height, width)))
                case "masks":
                    write_mask(path, _mask(folder, split, name))
                case "strokes":
                    kept = as_strokes(folder, name, split.kept(folder, name))
                    write_labelme(path, kept, f"{identity}.png")
        work.add(*files)


def ids(folder: Folder, names: Sequence[str]) -> list[str]:
    """Return the names' ids, sorted."""
    return sorted(folder.photos[name].id for name in names)


def describe_folder(folder: Folder, split: Split) -> Description:
    """Return what the labels of a folder mean."""
    chosen = folder.options.colours
    colours = zip(folder.classes, default_colours(len(folder.classes)), strict=True)
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
