"""Probability files: the classes that can win somewhere, in eight bits, compressed.

A VOC image of 500×375 pixels with 21 classes takes 15.8 MB as float32. Only the classes that
reach `FLOOR` somewhere are kept (3 to 5 as a rule), as codes 255·sqrt(p): the square root spends
the eight bits on small probabilities, where the CRF's -log p is sensitive. The file holds the
difference of each code from its prediction by the three neighbours above and to the left,
compressed with Zstandard: smaller than a PNG of the codes, and written in a fifth of the time.
`docs/formats.md` describes the format.
"""

import struct
from pathlib import Path

import numpy as np
import zstandard

from bpg.constants import IGNORE
from bpg.data.masks import PIXEL_LIMIT
from bpg.errors import BPGError
from bpg.opencv import cv2

FLOOR = 0.05
SUFFIX = ".zst"

_MAGIC = b"BPGP"
# Magic, all classes, stored classes, height, width; then the stored classes, a byte each.
_HEADER = struct.Struct("<4sBBII")
_SIZE_LIMIT = 2**30
"""No file holds more bytes, and one that claims to is refused unread: 26 classes of the largest
image."""


def write_probabilities(path: Path, probabilities: np.ndarray) -> None:
    """Write class probabilities, without the classes that stay below `FLOOR` everywhere.

    The most probable class of every pixel is kept even where it is below. The write is not atomic:
    many files are written at a time, into a `bpg.resumable.Work`.

    Args:
        path: The file.
        probabilities: float (K+1, H, W) in 0..1.

    Raises:
        BPGError: A probability is not finite, or the image is too large for one file.
    """
    peaks = probabilities.reshape(len(probabilities), -1).max(1)
    if not np.isfinite(peaks).all():
        raise BPGError(f"{path}: the network's probabilities are not finite; train it again")
    classes = set(np.flatnonzero(peaks >= FLOOR).tolist())
    if probabilities.max(0).min() < FLOOR:
        classes |= set(np.unique(probabilities.argmax(0)).tolist())
    kept = sorted(classes)
    _, height, width = probabilities.shape
    if _HEADER.size + len(kept) * (1 + height * width) > _SIZE_LIMIT:
        raise BPGError(f"{path}: {len(kept)} classes of {width}x{height} pixels are too many")
    header = _HEADER.pack(_MAGIC, len(probabilities), len(kept), height, width) + bytes(kept)
    # Rounds, and saturates at 255.
    roots = np.sqrt(probabilities[kept], dtype=np.float32)
    codes = cv2.convertScaleAbs(roots.reshape(-1, width), alpha=255).reshape(roots.shape)
    down = codes.copy()
    down[:, 1:] -= codes[:, :-1]
    both = down.copy()
    both[:, :, 1:] -= down[:, :, :-1]
    compressor = zstandard.ZstdCompressor(level=1, write_checksum=True)
    path.write_bytes(compressor.compress(header + both.tobytes()))


def read_probabilities(path: Path) -> tuple[list[int], np.ndarray]:
    """Read a file written by `write_probabilities`.

    Args:
        path: The file.

    Returns:
        The stored classes, ascending, and their probabilities float32 (classes, H, W), above 0 and
        scaled to sum to 1 at each pixel.

    Raises:
        BPGError: The file is missing, unreadable, truncated, or not a probability file.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise BPGError(f"{path}: no such file; run the predict stage") from error
    except OSError as error:
        raise BPGError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        classes, codes = _decode(data)
    except (zstandard.ZstdError, struct.error, ValueError, MemoryError) as error:
        raise BPGError(f"{path}: not a probability file; delete it and predict again") from error
    # Code 0 is read as code 0.5, so that logarithms stay finite.
    table = np.square(np.maximum(np.arange(256), 0.5) / 255).astype(np.float32)
    probabilities = table[codes]
    return classes, probabilities / probabilities.sum(0)


def _decode(data: bytes) -> tuple[list[int], np.ndarray]:
    decompressor = zstandard.ZstdDecompressor()
    first = decompressor.stream_reader(data).read(_HEADER.size)
    magic, number, stored, height, width = _HEADER.unpack(first)
    size = _HEADER.size + stored * (1 + height * width)
    if magic != _MAGIC or not 1 <= height * width <= PIXEL_LIMIT or size > _SIZE_LIMIT:
        raise ValueError("another kind of file")
    if zstandard.get_frame_parameters(data).content_size != size:
        raise ValueError(f"not {size} bytes")
    content = decompressor.decompress(data, allow_extra_data=False)
    start = _HEADER.size + stored
    classes = list(content[_HEADER.size : start])
    if not classes or classes != sorted({k for k in classes if k < min(number, IGNORE)}):
        raise ValueError(f"classes {classes} of {number}")
    differences = np.frombuffer(content, np.uint8, offset=start)
    codes = np.empty((stored, height, width), np.uint8)
    for code, plane in zip(codes, differences.reshape(codes.shape), strict=True):
        # The sum of all above and to the left; its last byte is the code.
        code[:] = cv2.integral(plane)[1:, 1:]
    return classes, codes
