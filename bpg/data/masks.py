"""Images and label maps, as files and as arrays."""

import struct
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from bpg.errors import BPGError
from bpg.files import read_limited
from bpg.opencv import cv2

PIXEL_LIMIT = 40_000_000
"""Images of more pixels are refused before they are decoded (VOC's have at most 0.25 million)."""

FILE_LIMIT = 200 * 2**20
"""Files of more bytes are refused unread: an image of PIXEL_LIMIT has fewer."""

ORIENTATION = 0x0112
"""The EXIF tag that says how an image is to be turned."""

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
# How complete files end; truncated ones do not.
_JPEG_END, _PNG_END = b"\xff\xd9", b"\0\0\0\0IEND\xaeB`\x82"
_SMOOTH = (
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_PAETH),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
)
_COLOUR_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}


def _voc_palette() -> np.ndarray:
    """Return VOC's colour map: bit b of a label goes to bit 7 - b // 3 of channel b % 3."""
    labels = np.arange(256)
    colours = np.zeros((256, 3), dtype=np.uint8)
    for bit in range(8):
        colours[:, bit % 3] |= ((labels >> bit & 1) << (7 - bit // 3)).astype(np.uint8)
    colours.flags.writeable = False
    return colours


PALETTE = _voc_palette()
"""VOC's colour map, uint8 (256, 3), RGB by label; from VOC's development kit (VOClabelcolormap)."""


def default_colours(number: int) -> tuple[str, ...]:
    """Return VOC's colours of the labels 0..`number` - 1, "#rrggbb"."""
    return tuple("#{:02x}{:02x}{:02x}".format(*colour) for colour in PALETTE[:number].tolist())


def read_mask(path: Path) -> np.ndarray:
    """Read the labels of a palette PNG or an 8-bit greyscale PNG.

    Returns:
        Labels, uint8 (H, W).

    Raises:
        BPGError: The file is missing, cut off, of another type or too large; the message names it.
    """
    return decode_mask(_read(path), str(path))


def decode_mask(data: bytes, name: str) -> np.ndarray:
    """Decode the labels in a PNG, as `read_mask` does.

    Args:
        data: Content of the PNG file.
        name: What errors call the file.

    Returns:
        Labels, uint8 (H, W).

    Raises:
        BPGError: The file is cut off, of another type or too large.
    """
    with _open(data, name, ("PNG",)) as opened:
        # A PNG's bit depth and colour type are at fixed offsets. Pillow would scale greys of fewer
        # than 8 bits, which changes the labels; it does not scale palette indices.
        depth, colour_type = data[24], data[25]
        if colour_type != _PALETTE_TYPE and (colour_type, depth) != _GREY_OF_8_BITS:
            raise BPGError(
                f"{name}: a mask must be a palette PNG or an 8-bit grey PNG of labels, "
                f"this PNG has colour type {colour_type} with {depth} bits"
            )
        return _pixels(opened, name)


def decode_labels(data: bytes, name: str) -> tuple[np.ndarray, bool]:
    """Decode a mask that others have made: its indices and its colours must mean the same.

    PNG optimisers drop unused entries of a palette and number the others anew: VOC's colours stay,
    the indices change. Then the labels are those of the colours.

    Args:
        data: Content of the PNG file.
        name: What errors call the file.

    Returns:
        Labels, uint8 (H, W), and whether they were taken from the colours.

    Raises:
        BPGError: As for `decode_mask`; or the palette has other colours than VOC's, so that it does
            not say which label an index means.
    """
    mask = decode_mask(data, name)
    with _open(data, name, ("PNG",)) as opened:
        stored = opened.getpalette("RGB")
    if stored is None:
        return mask, False
    palette = np.full((256, 3), -1)
    palette[: len(stored) // 3] = np.reshape(stored, (-1, 3))
    used = np.unique(mask)
    colours = palette[used]
    # A ramp of greys is how some tools store indices without colours.
    if (colours == PALETTE[used]).all() or (colours == used[:, None]).all():
        return mask, False
    label_of = {tuple(colour): label for label, colour in enumerate(PALETTE.tolist())}
    labels = np.arange(256, dtype=np.uint8)
    for index, colour in zip(used.tolist(), colours.tolist(), strict=True):
        if tuple(colour) not in label_of:
            raise BPGError(
                f"{name}: index {index} has the colour {tuple(colour)}, which is none of VOC's, so "
                "its meaning is unknown; save the mask as 8-bit grey, labels as values"
            )
        labels[index] = label_of[tuple(colour)]
    return labels[mask], True


def decode_painted(data: bytes, name: str) -> np.ndarray:
    """Decode which pixels of a PNG of any type are painted.

    With a layer that is transparent in places, those that are opaque, in whatever colour; without
    one, those that are not black.

    Args:
        data: Content of the PNG file.
        name: What errors call the file.

    Returns:
        Bool (H, W).

    Raises:
        BPGError: The file is cut off, no PNG or too large.
    """
    with _open(data, name, ("PNG",)) as opened:
        if opened.mode.startswith("I") or opened.mode == "F":  # 16 bits of grey
            return _pixels(opened, name) > 0
        try:
            layers = np.array(opened.convert("RGBA"))
        except _BROKEN as error:
            raise BPGError(f"{name}: broken or cut off ({error})") from error
    opaque = layers[..., 3] >= 128
    return opaque if not opaque.all() else layers[..., :3].max(2) > 0


def read_grey(path: Path) -> np.ndarray:
    """Read the values of an 8-bit greyscale PNG, such as an edge map.

    Returns:
        Values, uint8 (H, W).

    Raises:
        BPGError: As for `read_mask`; a palette PNG is of another type, too.
    """
    name, data = str(path), _read(path)
    with _open(data, name, ("PNG",)) as opened:
        if (data[25], data[24]) != _GREY_OF_8_BITS:
            raise BPGError(f"{name}: must be an 8-bit grey PNG, its pixel format is {opened.mode}")
        if data.endswith(_PNG_END):
            pixels = _decode(data, cv2.IMREAD_GRAYSCALE)
            if pixels is not None and pixels.shape == opened.size[::-1]:
                return pixels
        return _pixels(opened, name)


def write_mask(path: Path, mask: np.ndarray) -> None:
    """Write labels as a palette PNG in VOC's colours; equal masks give equal bytes.

    Not atomic: masks are written many at a time, into resumable work (`bpg.resumable`) or into a
    folder that appears as a whole.

    Args:
        path: File to write.
        mask: Labels, uint8 (H, W).

    Raises:
        ValueError: `mask` has another type or shape.
    """
    if mask.dtype != np.uint8 or mask.ndim != 2:
        raise ValueError(f"a mask is uint8 (H, W), not {mask.dtype} {mask.shape}")
    opened = Image.fromarray(mask)
    opened.putpalette(PALETTE.tobytes())
    opened.save(path, format="PNG")


def write_grey(path: Path, values: np.ndarray) -> None:
    """Write an 8-bit greyscale PNG, such as an edge map; equal values give equal bytes.

    Not atomic, like `write_mask`. For smooth maps, Pillow's files are as large and take six times
    as long.

    Args:
        path: File to write.
        values: uint8 (H, W).

    Raises:
        ValueError: `values` has another type or shape.
        BPGError: OpenCV cannot write an image of this size.
    """
    if values.dtype != np.uint8 or values.ndim != 2:
        raise ValueError(f"a grey image is uint8 (H, W), not {values.dtype} {values.shape}")
    done, png = cv2.imencode(".png", values, _SMOOTH)
    if not done:
        raise BPGError(f"{path}: OpenCV cannot write a PNG of {values.shape} pixels")
    path.write_bytes(png.tobytes())


def write_image(path: Path, pixels: np.ndarray) -> None:
    """Write an image as PNG; equal pixels give equal bytes. Not atomic, like `write_mask`.

    Args:
        path: File to write.
        pixels: uint8 (H, W, 3), RGB.

    Raises:
        ValueError: `pixels` has another type or shape.
        BPGError: OpenCV cannot write an image of this size.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"an image is uint8 (H, W, 3), not {pixels.dtype} {pixels.shape}")
    done, png = cv2.imencode(".png", pixels[..., ::-1])
    if not done:
        raise BPGError(f"{path}: OpenCV cannot write a PNG of {pixels.shape} pixels")
    path.write_bytes(png.tobytes())


def read_image(path: Path) -> np.ndarray:
    """Read a JPEG or PNG as RGB.

    Returns:
        Pixels, uint8 (H, W, 3), as stored: EXIF orientation is not applied.

    Raises:
        BPGError: The file is missing, cut off, of another type, of more than 8 bits per channel, or
            of more than PIXEL_LIMIT pixels; the message names it. Damage inside a JPEG is not
            always noticed.
    """
    return decode_image(_read(path), str(path))


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Decode a JPEG or PNG as RGB, as `read_image` does.

    Args:
        data: Content of the file.
        name: What errors call the file.

    Returns:
        Pixels, uint8 (H, W, 3).

    Raises:
        BPGError: As for `read_image`.
    """
    with _open(data, name, ("JPEG", "PNG")) as opened:
        if opened.mode not in _COLOUR_MODES:
            raise BPGError(f"{name}: pixel format {opened.mode} is not read; save it as 8-bit RGB")
        if opened.format == "JPEG" and opened.mode == "RGB" and data.endswith(_JPEG_END):
            pixels = _decode(data, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
            if pixels is not None and pixels.shape == (*opened.size[::-1], 3):
                return pixels
        return _pixels(opened, name, "RGB")


def image_size(data: bytes, name: str) -> tuple[int, int]:
    """Read the size of a JPEG or PNG from its header.

    Args:
        data: Content of the file.
        name: What errors call the file.

    Returns:
        (width, height) in pixels.

    Raises:
        BPGError: The file is of another type, or too large, or its header is broken.
    """
    with _open(data, name, ("JPEG", "PNG")) as opened:
        return opened.size


def is_rotated(data: bytes, name: str) -> bool:
    """Say whether a JPEG or PNG asks to be shown turned or mirrored, by its EXIF orientation.

    Args:
        data: Content of the file.
        name: What errors call the file.

    Raises:
        BPGError: As for `image_size`.
    """
    with _open(data, name, ("JPEG", "PNG")) as opened:
        try:
            return opened.getexif().get(ORIENTATION, 1) not in (0, 1)
        except _BROKEN:  # what it says of the image is not needed
            return False


def image_path(folder: Path, image_id: str) -> Path:
    """Return `folder`/ID.jpg or else `folder`/ID.png.

    Raises:
        BPGError: Neither is there.
    """
    for suffix in (".jpg", ".png"):
        path = folder / f"{image_id}{suffix}"
        if path.is_file():
            return path
    raise BPGError(f"{folder}: neither {image_id}.jpg nor {image_id}.png is there")


def _read(path: Path) -> bytes:
    return read_limited(path, FILE_LIMIT, ", so no image")


def _open(data: bytes, name: str, formats: tuple[str, ...]) -> Image.Image:
    try:
        opened = Image.open(BytesIO(data), formats=formats)
    except Image.DecompressionBombError as error:
        raise BPGError(f"{name}: {error}") from error
    except _BROKEN as error:
        raise BPGError(f"{name}: no {' or '.join(formats)} image, or cut off") from error
    width, height = opened.size
    if width * height > PIXEL_LIMIT:
        raise BPGError(
            f"{name}: {width}x{height} pixels are more than the limit of {PIXEL_LIMIT:,}; shrink it"
        )
    return opened


def _decode(data: bytes, flags: int) -> np.ndarray | None:
    """Decode with OpenCV: the same pixels as Pillow's in three quarters of the time.

    Only for files that end as they should: OpenCV ignores what is missing, where Pillow refuses the
    file. Returns None if it fails; Pillow then says why.
    """
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None


def _pixels(opened: Image.Image, name: str, mode: Literal["RGB"] | None = None) -> np.ndarray:
    try:
        return np.array(opened.convert(mode) if mode else opened)
    except _BROKEN as error:
        raise BPGError(f"{name}: broken or cut off ({error})") from error
