"""Training images with their strokes, checked against each other."""

from pathlib import Path

import numpy as np

from bpg.constants import IGNORE
from bpg.data.masks import image_path, read_image, read_mask
from bpg.errors import BPGError


def read_scribble(path: Path, classes: int) -> np.ndarray:
    """Read strokes that are drawn as a label map.

    Args:
        path: The file.
        classes: How many labels there are, the background included.

    Returns:
        Labels uint8 (H, W), 0..classes-1 and 255 where nothing is drawn.

    Raises:
        BPGError: The file is missing or broken, or has another label.
    """
    scribble = read_mask(path)
    strange = scribble[(scribble >= classes) & (scribble != IGNORE)]
    if strange.size:
        raise BPGError(f"{path}: label {strange.max()}; only 0..{classes - 1} and 255 are known")
    return scribble


def read_scribbled(
    images: Path, scribbles: Path, name: str, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Read an image and its strokes.

    Args:
        images: Folder of images, NAME.jpg or NAME.png.
        scribbles: Folder of strokes as label maps, NAME.png.
        name: Of the image.
        classes: How many labels there are, the background included.

    Returns:
        The image uint8 (H, W, 3), RGB; and the labels uint8 (H, W), 255 where nothing is drawn.

    Raises:
        BPGError: A file is missing or broken, or the two do not agree.
    """
    image = read_image(image_path(images, name))
    path = scribbles / f"{name}.png"
    scribble = read_scribble(path, classes)
    if scribble.shape != image.shape[:2]:
        raise BPGError(f"{path}: not of its image's size; run the stage scribbles again")
    return image, scribble
