"""Which images the figures show: a rule on their masks, so that nobody picks them by hand."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from bpg.constants import IGNORE
from bpg.data.masks import read_mask


def choose_images(ids: Sequence[str], masks: Path, count: int, *, nth: int = 0) -> list[str]:
    """Choose up to `count` ids by `rule`, sorted; a run with too few objects gives none.

    `nth` counts from 0: with the same `count`, another `nth` gives other images. Reads
    `masks`/ID.png; BPGError names one that cannot be read.
    """
    if not ids:
        return []
    chosen: list[str] = []
    for run in np.array_split(sorted(ids), min(count, len(ids))):
        with_object = (image_id for image_id in run if _shows_object(masks / f"{image_id}.png"))
        chosen.extend(str(image_id) for image_id in islice(with_object, nth, nth + 1))
    return chosen


def rule(count: int, nth: int = 0) -> str:
    """How `choose_images` chooses, for a caption; arguments as given there."""
    ordinal = ("first", "second", "third")[nth] if nth < 3 else f"{nth + 1}th"
    return (
        f"the sorted ids are cut into {count} equal runs, and of each the {ordinal} image whose "
        "ground truth shows an object is taken"
    )


def _shows_object(path: Path) -> bool:
    mask = read_mask(path)
    return bool(((mask != 0) & (mask != IGNORE)).any())
