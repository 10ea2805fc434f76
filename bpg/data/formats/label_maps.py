"""Strokes in PNG files: maps of label values, or one file of painted pixels for each class."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from bpg.data.masks import decode_mask, decode_painted
from bpg.data.strokes import Pixels, Stroke
from bpg.errors import BPGError
from bpg.opencv import cv2

_MOST = 0.5
"""No class's strokes cover a larger share of an image; more means that the PNG is inverted."""


def strokes_of_map(
    data: bytes, name: str, unlabelled: int
) -> tuple[tuple[int, int], list[tuple[int, Pixels]]]:
    """Read a map of label values; each connected part of a value is one stroke.

    Args:
        data: A palette PNG, or an 8-bit grey one; the palette's colours mean nothing.
        name: What errors call the file.
        unlabelled: The value of pixels without a label: 255; 0 for tools that count classes from 1.

    Returns:
        The map's (width, height), and by stroke the index of its class and its pixels. The index is
        the value; if 0 is unlabelled, the value minus 1.

    Raises:
        BPGError: The file is broken or of another type; or every pixel has a label, so that this is
            no map of strokes, or `unlabelled` has another value in this tool.
    """
    try:
        values = decode_mask(data, name)
    except BPGError as error:
        if "colour type" not in str(error):
            raise
        raise BPGError(
            f"{name}: a PNG in colours has no labels; save one for each class as IMAGE_CLASS.png, "
            "or convert it to indexed colours or 8-bit grey with labels as values"
        ) from error
    size = (values.shape[1], values.shape[0])
    if not (values == unlabelled).any():
        other = 0 if unlabelled else 255
        raise BPGError(
            f"{name}: no pixel has the value {unlabelled}, which means unlabelled; if {other} does "
            f"in your tool, set source.unlabelled to {other}; full masks belong into the folder of "
            "masks"
        )
    found = []
    for value in np.unique(values).tolist():
        # 255 means unlabelled in every tool that has it; an index of 254 would be a 255th class.
        if value not in (unlabelled, 255):
            index = value if unlabelled else value - 1
            found += [(index, part) for part in parts(values == value)]
    return size, found


def strokes_of_class(
    data: bytes, name: str, tag: str, *, whole: bool = False
) -> tuple[tuple[int, int], list[Stroke]]:
    """Read the painted pixels of one class; each connected part is one stroke.

    Args:
        data: A PNG, see `bpg.data.masks.decode_painted`.
        name: What errors call the file.
        tag: Name of the class.
        whole: Whether all of it is one stroke.

    Returns:
        The image's (width, height), and the strokes.

    Raises:
        BPGError: The file is broken, or most of it is painted.
    """
    painted = decode_painted(data, name)
    share = painted.mean()
    if share > _MOST:
        raise BPGError(
            f"{name}: {100 * share:.0f} % of it is painted; where nothing is drawn, it must be "
            "black or transparent"
        )
    found = [Pixels(0, 0, painted)] if whole and painted.any() else parts(painted)
    strokes = [Stroke(tag, part) for part in found]
    return (painted.shape[1], painted.shape[0]), strokes


def parts(painted: NDArray[np.bool_]) -> list[Pixels]:
    """Return the connected parts of painted pixels, from top to bottom; diagonals connect.

    Args:
        painted: Bool (H, W).
    """
    number, labels, boxes, _ = cv2.connectedComponentsWithStats(
        painted.astype(np.uint8), connectivity=8
    )
    found = []
    for part in range(1, number):
        left, top, width, height = boxes[part, :4].tolist()
        box = labels[top : top + height, left : left + width]
        found.append(Pixels(left, top, box == part))
    return found


def may_be_strokes(data: bytes, name: str, unlabelled: int | None) -> bool:
    """Say whether a PNG's content can be strokes: none of a class covers most of the image.

    Args:
        data: The PNG.
        name: What errors call the file.
        unlabelled: As for `strokes_of_map`; None: for a PNG of one class.
    """
    try:
        if unlabelled is None:
            return bool(strokes_of_class(data, name, "")[1])
        (width, height), found = strokes_of_map(data, name, unlabelled)
    except BPGError:
        return False
    pixels: Counter[int] = Counter()
    for index, part in found:
        pixels[index] += int(part.mask.sum())
    return 0 < max(pixels.values(), default=0) <= _MOST * width * height
