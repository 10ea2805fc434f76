"""SBD's masks: the one matrix that we need out of a MATLAB 5 file.

SciPy's reader crashes the process on some damaged files and trusts whatever size a file claims, so
this one reads nothing but GTcls.Segmentation, and never past the end of the data. Source of the
format: MathWorks, "MAT-File Format", level 5; of the layout: Hariharan et al., ICCV 2011.
"""

import struct
import zlib
from typing import NamedTuple

import numpy as np

from bpg.data.masks import PIXEL_LIMIT
from bpg.errors import BPGError

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15  # types of elements
_STRUCT, _UINT8 = 2, 9  # classes of arrays
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4"}  # whole numbers, by element type
_UNPACKED_LIMIT = PIXEL_LIMIT + 2**24
"""Bytes of all unpacked variables: a mask of the largest image, and outlines beside it."""

_ELEMENTS_LIMIT = 1000  # side by side, and fields of a struct; SBD's have five and three
_AXES_LIMIT = 32


class _Broken(Exception):  # noqa: N818
    """What is wrong with the file."""


class _Element(NamedTuple):
    kind: int
    data: memoryview


def read_segmentation(data: bytes, name: str) -> np.ndarray:
    """Return GTcls.Segmentation of one of SBD's .mat files.

    Args:
        data: Content of the file.
        name: What errors call the file.

    Returns:
        Labels, uint8 (H, W).

    Raises:
        BPGError: The file is cut off, damaged or not one of SBD's.
    """
    try:
        return _segmentation(data)
    except _Broken as problem:
        raise BPGError(f"{name}: broken .mat file, or none of SBD's ({problem})") from problem


def _segmentation(data: bytes) -> np.ndarray:
    order = {b"IM": "<", b"MI": ">"}.get(data[126:_HEADER])
    if order is None:
        raise _Broken("no MATLAB 5 file")
    room = _UNPACKED_LIMIT
    for element in _elements(memoryview(data)[_HEADER:], order):
        kind, content = element
        if kind == _COMPRESSED:
            unpacked = _unpacked(content, room)
            room -= len(unpacked)
            kind, content = _first(memoryview(unpacked), order)
        if kind == _MATRIX:
            array_class, shape, name, rest = _array(content, order)
            if name == b"GTcls":
                if array_class != _STRUCT or 0 in shape:
                    raise _Broken("GTcls is no struct")
                return _pixels(_field(rest, b"Segmentation", order), order)
    raise _Broken("no GTcls")


def _elements(data: memoryview, order: str) -> list[_Element]:
    found: list[_Element] = []
    while len(data):
        if len(data) < 8:
            raise _Broken("cut off")
        if len(found) == _ELEMENTS_LIMIT:
            raise _Broken("too many elements")
        (word,) = struct.unpack_from(f"{order}I", data)
        if word >> 16:  # a small element: length and type in one word, the data in the next
            kind, length, start = word & 0xFFFF, word >> 16, 4
            end = 8
            if length > 4:
                raise _Broken("an element of impossible length")
        else:
            kind, (length,), start = word, struct.unpack_from(f"{order}I", data, 4), 8
            padding = 0 if kind == _COMPRESSED else -length % 8
            end = start + length + padding
        if start + length > len(data):
            raise _Broken("cut off")
        found.append(_Element(kind, data[start : start + length]))
        data = data[end:]
    return found


def _first(data: memoryview, order: str) -> _Element:
    found = _elements(data, order)
    if not found:
        raise _Broken("an empty element")
    return found[0]


def _unpacked(data: memoryview, limit: int) -> bytes:
    inflater = zlib.decompressobj()
    try:
        unpacked = inflater.decompress(data, max(1, limit))
    except zlib.error as error:
        raise _Broken("damaged") from error
    if not inflater.eof:
        raise _Broken("cut off, or far too large")
    return unpacked


def _array(content: memoryview, order: str) -> tuple[int, tuple[int, ...], bytes, list[_Element]]:
    """Return an array's class, shape, name and its further elements."""
    elements = _elements(content, order)
    if len(elements) < 3 or len(elements[0].data) < 4:
        raise _Broken("an array without head")
    flags, dimensions, name, *rest = elements
    (word,) = struct.unpack_from(f"{order}I", flags.data)
    if dimensions.kind != 5 or len(dimensions.data) % 4 or len(dimensions.data) > 4 * _AXES_LIMIT:
        raise _Broken("an array without size")
    shape = struct.unpack(f"{order}{len(dimensions.data) // 4}i", dimensions.data)
    if min(shape, default=-1) < 0:
        raise _Broken("an array of negative size")
    return word & 0xFF, shape, bytes(name.data), rest


def _field(rest: list[_Element], name: bytes, order: str) -> memoryview:
    """Return the array in this field of the first entry of a struct."""
    if len(rest) < 2 or len(rest[0].data) != 4:
        raise _Broken("a struct without fields")
    (width,) = struct.unpack(f"{order}i", rest[0].data)
    listed, arrays = bytes(rest[1].data), rest[2:]
    if width < 1 or len(listed) > width * _ELEMENTS_LIMIT:
        raise _Broken("a struct without fields, or with too many")
    names = [listed[i : i + width].rstrip(b"\0") for i in range(0, len(listed), width)]
    if name not in names or names.index(name) >= len(arrays):
        raise _Broken(f"no {name.decode()}")
    element = arrays[names.index(name)]
    if element.kind != _MATRIX:
        raise _Broken(f"{name.decode()} is no array")
    return element.data


def _pixels(content: memoryview, order: str) -> np.ndarray:
    array_class, shape, _, rest = _array(content, order)
    if array_class != _UINT8 or len(shape) != 2 or not rest:
        raise _Broken("Segmentation is no uint8 matrix")
    stored, height, width = rest[0], *shape
    if stored.kind not in _STORED:
        raise _Broken("Segmentation does not hold whole numbers")
    kind = np.dtype(f"{order}{_STORED[stored.kind]}")
    # Python's integers: as int32 the product could overflow.
    if height * width * kind.itemsize != len(stored.data):
        raise _Broken("Segmentation has another size than its pixels")
    values = np.frombuffer(stored.data, kind)
    if values.size and not 0 <= values.min() <= values.max() <= 255:
        raise _Broken("Segmentation holds labels beyond 255")
    # MATLAB stores column by column; a copy does not keep the whole file alive.
    return values.astype(np.uint8).reshape(width, height).T.copy()
