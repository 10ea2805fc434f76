"""Images and label masks, as files and as arrays."""

import struct
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from bpg.errors import BPGError
from bpg.opencv import cv2

PIXEL_LIMIT = 40_000_000
"""Images of more pixels are refused before they are decoded (VOC's have at most 0.25 million)."""

FILE_LIMIT = 200 * 2**20
"""Files of more bytes are refused unread: an image of PIXEL_LIMIT has fewer."""

# Pillow promises no closed list; a broken PNG may raise any of these.
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)
_PALETTE_TYPE, _GREY_OF_8_BITS = 3, (0, 8)  # PNG colour types and bit depths
# How whole files end; what was cut off does not.
_JPEG_END, _PNG_END = b"\xff\xd9", b"\0\0\0\0IEND\xaeB`\x82"
_SMOOTH = (
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_PAETH),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
)
_COLOUR_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}


def _voc_palette() -> np.ndarray:
    """VOC's colour map: bit b of a label goes to bit 7 - b // 3 of channel b % 3."""
    labels = np.arange(256)
    colours = np.zeros((256, 3), dtype=np.uint8)
    for bit in range(8):
        colours[:, bit % 3] |= ((labels >> bit & 1) << (7 - bit // 3)).astype(np.uint8)
    colours.flags.writeable = False
    return colours


PALETTE = _voc_palette()
"""VOC's colour map, uint8 (256, 3), RGB by label; from VOC's development kit (VOClabelcolormap)."""


def read_mask(path: Path) -> np.ndarray:
    """Return the labels of a palette PNG or an 8-bit grey PNG: uint8 (H, W).

    Raises BPGError, naming the file, if it is missing, cut off, of another type or too large.
    """
    return decode_mask(_read_bytes(path), str(path))


def decode_mask(data: bytes, name: str) -> np.ndarray:
    """Return the labels in the PNG `data`, as `read_mask` does; errors call the file `name`."""
    with _open(data, name, ("PNG",)) as picture:
        # A PNG's bit depth and colour type stand at a fixed place. Grey of less than 8 bits would
        # be scaled by Pillow, which changes the labels; palette indices are not.
        depth, colour_type = data[24], data[25]
        if colour_type != _PALETTE_TYPE and (colour_type, depth) != _GREY_OF_8_BITS:
            raise BPGError(
                f"{name}: a mask must be a palette PNG or an 8-bit grey PNG of labels, "
                f"this PNG has colour type {colour_type} with {depth} bits"
            )
        return _pixels(picture, name)


def read_grey(path: Path) -> np.ndarray:
    """Return the values of an 8-bit grey PNG, such as an edge map: uint8 (H, W).

    Raises BPGError, naming the file, as `read_mask` does; a palette PNG is another type.
    """
    name, data = str(path), _read_bytes(path)
    with _open(data, name, ("PNG",)) as picture:
        if (data[25], data[24]) != _GREY_OF_8_BITS:
            raise BPGError(f"{name}: must be an 8-bit grey PNG, its pixel format is {picture.mode}")
        if data.endswith(_PNG_END):
            pixels = _decode(data, cv2.IMREAD_GRAYSCALE)
            if pixels is not None and pixels.shape == picture.size[::-1]:
                return pixels
        return _pixels(picture, name)


def write_mask(path: Path, mask: np.ndarray) -> None:
    """Write labels uint8 (H, W) as a palette PNG in VOC's colours; equal masks give equal bytes.

    Not atomic: many masks are written at a time, into a work (`bpg.resumable`) or a whole folder.
    """
    if mask.dtype != np.uint8 or mask.ndim != 2:
        raise ValueError(f"a mask is uint8 (H, W), not {mask.dtype} {mask.shape}")
    picture = Image.fromarray(mask)
    picture.putpalette(PALETTE.tobytes())
    picture.save(path, format="PNG")


def write_grey(path: Path, values: np.ndarray) -> None:
    """Write uint8 (H, W) as an 8-bit grey PNG, such as an edge map; equal values, equal bytes.

    Not atomic, as `write_mask`. Of smooth maps, Pillow's files are as large and take six times as
    long.
    """
    if values.dtype != np.uint8 or values.ndim != 2:
        raise ValueError(f"a grey image is uint8 (H, W), not {values.dtype} {values.shape}")
    done, png = cv2.imencode(".png", values, _SMOOTH)
    if not done:
        raise BPGError(f"{path}: OpenCV cannot write a PNG of {values.shape} pixels")
    path.write_bytes(png.tobytes())


def read_image(path: Path) -> np.ndarray:
    """Return a JPEG or PNG as RGB: uint8 (H, W, 3), pixels as stored (EXIF is not applied).

    Raises BPGError, naming the file, if it is missing, cut off, of another type, of more than 8
    bits a channel, or of more than PIXEL_LIMIT pixels. Damage inside a JPEG is not always noticed.
    """
    name, data = str(path), _read_bytes(path)
    with _open(data, name, ("JPEG", "PNG")) as picture:
        if picture.mode not in _COLOUR_MODES:
            raise BPGError(f"{name}: pixel format {picture.mode} is not read; save it as 8-bit RGB")
        if picture.format == "JPEG" and picture.mode == "RGB" and data.endswith(_JPEG_END):
            pixels = _decode(data, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
            if pixels is not None and pixels.shape == (*picture.size[::-1], 3):
                return pixels
        return _pixels(picture, name, "RGB")


def image_size(data: bytes, name: str) -> tuple[int, int]:
    """Return (width, height) of the JPEG or PNG `data` from its header; errors as `read_image`."""
    with _open(data, name, ("JPEG", "PNG")) as picture:
        return picture.size


def image_path(folder: Path, image_id: str) -> Path:
    """Return `folder`/ID.jpg or else `folder`/ID.png; raises BPGError when there is neither."""
    for suffix in (".jpg", ".png"):
        path = folder / f"{image_id}{suffix}"
        if path.is_file():
            return path
    raise BPGError(f"{folder}: neither {image_id}.jpg nor {image_id}.png is there")


def _read_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_LIMIT + 1)
    except OSError as error:
        raise BPGError(f"{path}: cannot be read ({error.strerror})") from error
    if len(data) > FILE_LIMIT:
        raise BPGError(f"{path}: larger than {FILE_LIMIT:,} bytes, so no image")
    return data


def _open(data: bytes, name: str, formats: tuple[str, ...]) -> Image.Image:
    try:
        picture = Image.open(BytesIO(data), formats=formats)
    except Image.DecompressionBombError as error:
        raise BPGError(f"{name}: {error}") from error
    except _BROKEN as error:
        raise BPGError(f"{name}: no {' or '.join(formats)} image, or cut off") from error
    width, height = picture.size
    if width * height > PIXEL_LIMIT:
        raise BPGError(
            f"{name}: {width}x{height} pixels are more than the limit of {PIXEL_LIMIT:,}; shrink it"
        )
    return picture


def _decode(data: bytes, flags: int) -> np.ndarray | None:
    """Decode by OpenCV: the same pixels as Pillow's in three quarters of the time.

    Only of files that end as they should: it passes over what is missing, which Pillow refuses.
    None where it cannot; Pillow then says why.
    """
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None


def _pixels(picture: Image.Image, name: str, mode: Literal["RGB"] | None = None) -> np.ndarray:
    try:
        return np.array(picture.convert(mode) if mode else picture)
    except _BROKEN as error:
        raise BPGError(f"{name}: broken or cut off ({error})") from error
