"""Scribbles: an image's stroke file, drawn as a label map."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bpg.constants import IGNORE
from bpg.data.formats.annotations import read_bytes
from bpg.data.formats.labelme import read_labelme
from bpg.data.formats.scribblesup import read_scribblesup
from bpg.data.strokes import Strokes, rasterise, shortened
from bpg.errors import BPGError


def read_strokes(path: Path) -> Strokes:
    """Read the strokes on one image: a ScribbleSup XML file, or labelme's JSON.

    Raises:
        BPGError: The file is missing or broken, or a stroke lies outside the image; the message
            names the file and the stroke.
    """
    return decode_strokes(read_bytes(path), str(path))


def decode_strokes(data: bytes, name: str) -> Strokes:
    """Read the strokes on one image.

    Args:
        data: The content of a ScribbleSup XML file, or of labelme's JSON.
        name: What errors call it; its suffix tells which of the two it is.

    Raises:
        BPGError: It is broken, or a stroke lies outside the image; the message says where.
    """
    read = read_labelme if name.endswith(".json") else read_scribblesup
    annotations = read(data, name)
    if annotations.faults:
        raise BPGError(annotations.faults[0])
    (image,) = annotations.images
    if image.size is None:
        raise BPGError(f"{name}: does not say how large the image is")
    width, height = image.size
    return Strokes(width, height, image.strokes)


def check_size(strokes: Strokes, image_size: tuple[int, int], name: str) -> None:
    """Check that strokes were drawn on an image of the image's size.

    Args:
        strokes: What `read_strokes` returns.
        image_size: (width, height) of the image in pixels.
        name: What errors call the strokes.

    Raises:
        BPGError: They were not.
    """
    size = (strokes.width, strokes.height)
    if size != tuple(image_size):
        raise BPGError(
            f"{name}: drawn on {size[0]}x{size[1]} pixels, "
            f"but the image has {image_size[0]}x{image_size[1]}"
        )


def strokes_path(folder: Path, image_id: str) -> Path:
    """Return `folder`/ID.xml or else `folder`/ID.json, which need not be there."""
    path = folder / f"{image_id}.xml"
    return path if path.is_file() else folder / f"{image_id}.json"


def label_map(
    path: Path,
    image_size: tuple[int, int],
    classes: Sequence[str],
    line_width: float,
    length: float = 1.0,
) -> NDArray[np.uint8]:
    """Read an image's stroke file and draw it as a label map, as `rasterise` does.

    Args:
        path: The file.
        image_size: (width, height) of the image in pixels.
        classes: Class names; a stroke's label is the index of its tag among them.
        line_width: Width of the lines in pixels.
        length: Share of each line that is drawn, around its middle.

    Returns:
        Labels, uint8 (H, W), 255 where nothing is drawn.

    Raises:
        BPGError: As for `read_strokes` and `rasterise`; or the file's size is not `image_size`; or
            no pixel is labelled at all. The message names the file.
    """
    strokes = read_strokes(path)
    parts = (replace(one, shape=shortened(one.shape, length)) for one in strokes.strokes)
    strokes = replace(strokes, strokes=tuple(parts))
    check_size(strokes, image_size, str(path))
    try:
        labels = rasterise(strokes, classes, line_width)
    except BPGError as error:
        raise BPGError(f"{path}: {error}") from error
    if (labels == IGNORE).all():
        remedy = "draw at least one stroke" + (", or raise scribbles.length" if length < 1 else "")
        raise BPGError(f"{path}: no pixel is labelled; {remedy}")
    return labels
