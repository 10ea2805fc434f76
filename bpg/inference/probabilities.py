"""Probability files: an 8-bit PNG of the classes that can win somewhere, one below the other.

A VOC picture of 500x375 pixels with 21 classes is 15.8 MB as float32. Kept are the classes that
reach `FLOOR` somewhere (3 to 5 as a rule), as 255·sqrt(p): the square root spends the eight bits
on small probabilities, which is where the CRF's -log p is sensitive. PNG then takes care of the
smoothness. `docs/formats.md` has the measured sizes.
"""

from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from bpg.data.masks import IGNORE
from bpg.errors import BPGError

FLOOR = 0.05

# Pillow itself refuses more than 179 million pixels: 45 classes of the largest picture.
_BROKEN = (
    OSError,
    UnidentifiedImageError,
    Image.DecompressionBombError,
    SyntaxError,  # Pillow's word for a broken PNG
    KeyError,
    ValueError,
    AttributeError,
)


def write_probabilities(path: Path, probabilities: np.ndarray) -> None:
    """Write float (K+1, H, W) in 0..1; classes that stay under `FLOOR` everywhere are dropped.

    The winner of every pixel is kept even where it is under the floor. Not atomic: many files are
    written at a time, into a work (`bpg.work`).
    """
    peaks = probabilities.reshape(len(probabilities), -1).max(1)
    kept = set(np.flatnonzero(peaks >= FLOOR)) | set(np.unique(probabilities.argmax(0)))
    kept = sorted(int(k) for k in kept)
    coded = np.sqrt(probabilities[kept]) * 255
    picture = Image.fromarray(coded.round().astype(np.uint8).reshape(-1, coded.shape[2]))
    note = PngImagePlugin.PngInfo()
    note.add_text("classes", " ".join(map(str, kept)))
    note.add_text("of", str(len(probabilities)))
    picture.save(path, format="PNG", pnginfo=note, compress_level=4)


def read_probabilities(path: Path) -> tuple[list[int], np.ndarray]:
    """Return the stored classes and their probabilities float32 (classes, H, W).

    They are scaled to sum to one in each pixel. Raises BPGError where the file is missing, cut
    off or of another kind.
    """
    if not path.is_file():
        raise BPGError(f"{path}: no such file; run the predict stage")
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            if picture.mode != "L":
                raise ValueError(f"pixel format {picture.mode}")
            picture.load()
            classes = [int(k) for k in picture.text["classes"].split()]
            if not classes or classes != sorted({k for k in classes if 0 <= k < IGNORE}):
                raise ValueError(f"classes {classes}")
            coded = np.asarray(picture)
        coded = coded.reshape(len(classes), -1, coded.shape[1])
    except _BROKEN as error:
        raise BPGError(f"{path}: not a probability file; delete it and predict again") from error
    # Half a code below the smallest stands for zero, so that logarithms stay finite.
    probabilities = np.square(np.maximum(coded, 0.5) / np.float32(255), dtype=np.float32)
    return classes, probabilities / probabilities.sum(0)
