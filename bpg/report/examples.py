"""Which images the figures show: a rule based on their masks, so that nobody cherry-picks."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from bpg.constants import IGNORE
from bpg.data.masks import read_mask


def choose_images(ids: Sequence[str], masks: Path, count: int, *, nth: int = 0) -> list[str]:
    """Choose images by `rule`; a run of ids with too few objects gives none.

    Args:
        ids: Names of the images to choose from.
        masks: Folder of label maps, ID.png.
        count: How many to choose at most.
        nth: Which image of each run, from 0. With the same `count`, another `nth` gives other
            images.

    Returns:
        Up to `count` ids, sorted.

    Raises:
        BPGError: A mask cannot be read; the message names it.
    """
    if not ids:
        return []
    runs = [list(map(str, run)) for run in np.array_split(sorted(ids), min(count, len(ids)))]
    chosen: list[str] = []
    for run in runs:
        with_object = (image_id for image_id in run if _shows_object(masks / f"{image_id}.png"))
        chosen.extend(islice(with_object, nth, nth + 1))
    # Masks that show no object anywhere: those of a data set with strokes alone.
    return chosen or ([run[0] for run in runs] if nth == 0 else [])


def rule(count: int, nth: int = 0) -> str:
    """Say for a caption how `choose_images` chooses.

    Args:
        count: As given there.
        nth: As given there.
    """
    ordinal = ("first", "second", "third")[nth] if nth < 3 else f"{nth + 1}th"
    return (
        f"the sorted ids are cut into {count} equal runs, and of each the {ordinal} image whose "
        "ground truth shows an object is taken (the first image, if none of all does)"
    )


def _shows_object(path: Path) -> bool:
    mask = read_mask(path)
    return bool(((mask != 0) & (mask != IGNORE)).any())
