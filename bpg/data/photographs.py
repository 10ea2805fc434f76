"""Images as people have them: JPEG, PNG, TIFF or WebP of any kind, as upright 8-bit RGB."""

import struct
import warnings
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from bpg.data.masks import ORIENTATION
from bpg.errors import BPGError
from bpg.files import read_limited

PIXEL_LIMIT = 150_000_000
"""Images of more pixels are refused before they are decoded."""

FILE_LIMIT = 2**30
"""Files of more bytes are refused unread: an image of PIXEL_LIMIT has fewer."""

FORMATS = ("JPEG", "PNG", "TIFF", "WEBP")
UPRIGHT: dict[int, tuple[bool, tuple[int, ...]]] = {
    1: (False, ()),
    2: (False, (1,)),
    3: (False, (0, 1)),
    4: (False, (0,)),
    5: (True, ()),
    6: (True, (1,)),
    7: (True, (0, 1)),
    8: (True, (0,)),
}
"""How what is stored with an EXIF orientation is put upright: whether it is transposed, and along
which axes it is mirrored then (0: top to bottom, 1: left to right)."""

SIDEWAYS = tuple(orientation for orientation, (transposed, _) in UPRIGHT.items() if transposed)
"""EXIF orientations that exchange width and height."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp")
"""By which images are found in a folder, in lower case; what a file is, its content says."""

# Pillow promises no closed list; a broken file may raise any of these.
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    OverflowError,
    RuntimeError,
    struct.error,
    MemoryError,
    ZeroDivisionError,
    Image.DecompressionBombError,
)
_BITS_PER_SAMPLE = 0x0102  # a tag of TIFF
_MODES = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"}
_GREY_OF_16_BITS = {"I;16", "I;16B", "I;16L", "I;16N"}
_PNG_DEPTH = 24  # its fixed offset


class Photograph(NamedTuple):
    """An image, upright.

    Attributes:
        pixels: uint8 (H, W, 3), RGB, EXIF orientation applied.
        orientation: The EXIF orientation that was applied, 1 to 8 (1: as stored). What was drawn on
            the stored pixels, `upright` turns in the same way.
    """

    pixels: np.ndarray
    orientation: int


def read_photograph(path: Path) -> Photograph:
    """Read a JPEG, PNG, TIFF or WebP of any common pixel format as upright RGB.

    Grey and palette images become RGB. What is transparent lies on white, as a viewer shows it. Of
    16 bits per channel the upper 8 are kept. CMYK is converted without its profile, and colour
    profiles are ignored. Of a camera's JPEG with previews (MPO), the main image is read.

    Args:
        path: The file; its content says what it is, not its name.

    Raises:
        BPGError: The file is missing, broken, cut off, of another kind, of several pages or frames,
            of more than PIXEL_LIMIT pixels, of 32 bits or floating-point numbers, or its 16 bits
            hold 12-bit values or fewer, which would come out black; the message names it.
    """
    return decode_photograph(read_photograph_file(path), str(path))


def read_photograph_file(path: Path) -> bytes:
    """Read the bytes of an image's file.

    Raises:
        BPGError: It cannot be read, or is larger than `FILE_LIMIT`; the message names it.
    """
    return read_limited(path, FILE_LIMIT, "; give a smaller image")


def decode_photograph(data: bytes, name: str) -> Photograph:
    """Decode an image, as `read_photograph` does.

    Args:
        data: Content of the file.
        name: What errors call the file.

    Raises:
        BPGError: As for `read_photograph`.
    """
    with warnings.catch_warnings():
        # Of odd metadata, and of sizes that `PIXEL_LIMIT` allows.
        warnings.simplefilter("ignore")
        with _open(data, name) as opened:
            _check_kind(opened, name)
            orientation = _orientation(opened)
            wide = _of_16_bits(opened, data)
            try:
                pixels = _rgb(opened)
            except _BROKEN as error:
                raise BPGError(f"{name}: broken or cut off ({_first(error)})") from error
            if wide and pixels.max() < 16:
                raise BPGError(
                    f"{name}: its 16-bit values stay below 4096, which would be shown as black; "
                    "save it as 8-bit RGB"
                )
            if opened.format != "TIFF":  # those, Pillow has turned already
                pixels = upright(pixels, orientation)
    return Photograph(np.ascontiguousarray(pixels), orientation)


def upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """Turn what was drawn on an image's stored pixels as the image itself is turned.

    Args:
        array: (H, W) or (H, W, C), as stored.
        orientation: Of EXIF, 1 to 8.

    Returns:
        A view, (H, W, ...) or (W, H, ...).
    """
    transposed, mirrored = UPRIGHT[orientation]
    turned = np.swapaxes(array, 0, 1) if transposed else array
    return np.flip(turned, mirrored)


def _open(data: bytes, name: str) -> Image.Image:
    try:
        opened = Image.open(BytesIO(data), formats=FORMATS)
        width, height = opened.size
    except Image.DecompressionBombError as error:
        raise BPGError(f"{name}: {error}; shrink it") from error
    except _BROKEN as error:
        raise BPGError(
            f"{name}: no JPEG, PNG, TIFF or WebP image, or cut off; save it as one of these"
        ) from error
    if width * height > PIXEL_LIMIT:
        raise BPGError(
            f"{name}: {width}x{height} pixels are more than the limit of {PIXEL_LIMIT:,}; shrink it"
        )
    return opened


def _check_kind(opened: Image.Image, name: str) -> None:
    if opened.mode not in _MODES | _GREY_OF_16_BITS:
        raise BPGError(f"{name}: pixel format {opened.mode} is not read; save it as 8-bit RGB")
    if opened.format == "MPO":  # its first frame is the photograph, the others are previews
        return
    try:
        frames = getattr(opened, "n_frames", 1)
    except _BROKEN as error:
        raise BPGError(f"{name}: broken or cut off ({_first(error)})") from error
    if frames > 1:
        raise BPGError(f"{name}: holds {frames} pages or frames; save each as a file of its own")


def _orientation(opened: Image.Image) -> int:
    try:
        value = opened.getexif().get(ORIENTATION, 1)
        return int(value) if value in UPRIGHT else 1
    except _BROKEN:  # damaged metadata say nothing
        return 1


def _of_16_bits(opened: Image.Image, data: bytes) -> bool:
    if opened.format == "PNG":
        return data[_PNG_DEPTH] == 16
    if opened.format != "TIFF":
        return False
    bits = getattr(opened, "tag_v2", {}).get(_BITS_PER_SAMPLE, ())
    return 16 in (bits if isinstance(bits, tuple) else (bits,))


def _rgb(opened: Image.Image) -> np.ndarray:
    if opened.mode in _GREY_OF_16_BITS:
        # Of 16 bits in colour, Pillow itself keeps the upper 8.
        grey = (np.asarray(opened) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if opened.has_transparency_data:
        layer = opened.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return np.array(Image.alpha_composite(white, layer).convert("RGB"))
    return np.array(opened.convert("RGB"))


def _first(error: BaseException) -> str:
    return " ".join((str(error) or type(error).__name__).split())[:200]
