"""Scribbles: an image's stroke file, drawn as a label map."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bpg.constants import IGNORE
from bpg.data.formats.annotations import check_inside, read_bytes
from bpg.data.formats.labelme import read_labelme
from bpg.data.formats.scribblesup import read_scribblesup
from bpg.data.strokes import Strokes, rasterise
from bpg.errors import BPGError


def read_strokes(path: Path) -> Strokes:
    """Read the strokes on one image: a ScribbleSup XML file, or labelme's JSON.

    Raises:
        BPGError: The file is missing or broken, or a stroke lies outside the image; the message
            names the file and the stroke.
    """
    read = read_labelme if path.suffix == ".json" else read_scribblesup
    (image,) = read(read_bytes(path), str(path)).images
    if image.size is None:
        raise BPGError(f"{path}: does not say how large the image is")
    width, height = image.size
    check_inside(image.strokes, width, height, str(path))
    return Strokes(width, height, image.strokes)


def strokes_path(folder: Path, image_id: str) -> Path:
    """Return `folder`/ID.xml or else `folder`/ID.json, which need not be there."""
    path = folder / f"{image_id}.xml"
    return path if path.is_file() else folder / f"{image_id}.json"


def label_map(
    path: Path, image_size: tuple[int, int], classes: Sequence[str], line_width: float
) -> NDArray[np.uint8]:
    """Read an image's stroke file and draw it as a label map, as `rasterise` does.

    Args:
        path: The file.
        image_size: (width, height) of the image in pixels.
        classes: Class names; a stroke's label is the index of its tag among them.
        line_width: Width of the lines in pixels.

    Returns:
        Labels, uint8 (H, W), 255 where nothing is drawn.

    Raises:
        BPGError: As for `read_strokes` and `rasterise`; or the file's size is not `image_size`; or
            no pixel is labelled at all. The message names the file.
    """
    strokes = read_strokes(path)
    size = (strokes.width, strokes.height)
    if size != tuple(image_size):
        raise BPGError(
            f"{path}: drawn on {size[0]}x{size[1]} pixels, "
            f"but the image has {image_size[0]}x{image_size[1]}"
        )
    try:
        labels = rasterise(strokes, classes, line_width)
    except BPGError as error:
        raise BPGError(f"{path}: {error}") from error
    if (labels == IGNORE).all():
        raise BPGError(f"{path}: no pixel is labelled; draw at least one stroke")
    return labels
