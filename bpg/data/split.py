"""What is held out of training: strokes, or images with masks, by a rule that more data keep."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import ceil

Key = tuple[str, int]
"""A stroke: its image and its place among the image's strokes."""


def draw(names: Iterable[str], share: float, seed: int) -> set[str]:
    """Choose a share of names, at least one; a name keeps its place when others are added.

    Args:
        names: What to choose from.
        share: 0..1.
        seed: Another seed is another choice.
    """
    ranked = sorted(names, key=lambda name: _rank(name, seed))
    return set(ranked[: max(1, round(share * len(ranked)))])


def hold_out_strokes(tags: Mapping[str, Sequence[str | None]], share: float, seed: int) -> set[Key]:
    """Choose whole strokes to be held out, a share of those of each class.

    A class keeps a stroke to be learnt from, and so does an image, unless too few images have
    several strokes.

    Args:
        tags: By image, the class of each of its strokes; None is never held out.
        share: 0..1 of the strokes of each class, rounded up.
        seed: Another seed is another choice.

    Returns:
        (image, place of the stroke) of each.
    """
    by_class: dict[str, list[Key]] = defaultdict(list)
    for image, listed in tags.items():
        for place, tag in enumerate(listed):
            if tag is not None:
                by_class[tag].append((image, place))
    left = {image: sum(tag is not None for tag in listed) for image, listed in tags.items()}
    chosen: set[Key] = set()
    # Rare classes first: they have the least choice of images.
    for tag in sorted(by_class, key=lambda tag: (len(by_class[tag]), tag)):
        keys = sorted(by_class[tag], key=lambda key: _rank(f"{key[0]}\0{tag}\0{key[1]}", seed))
        wanted = min(ceil(share * len(keys)), len(keys) - 1)
        for least in (2, 1):  # strokes that the image must have left before
            for key in keys:
                if wanted > 0 and key not in chosen and left[key[0]] >= least:
                    chosen.add(key)
                    left[key[0]] -= 1
                    wanted -= 1
    return chosen


def _rank(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogateescape")).digest()
