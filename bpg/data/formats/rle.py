"""Run-length codes of annotation tools, as the pixels that they cover.

A decoder's cost follows the code's length and the box that is covered, not the size that the code
claims: a file of a few bytes may claim many images of 40 million pixels.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bpg.data.masks import PIXEL_LIMIT
from bpg.data.strokes import Pixels
from bpg.errors import BPGError
from bpg.opencv import cv2

TOTAL_LIMIT = 2_000_000_000
"""Pixels of all masks of a file, each cut to what it covers: a byte of memory each."""

_Numbers = NDArray[np.int64]

_GROUPS = 6
"""Characters of a number in COCO's strings: 5 bits each, so that six hold any size of an image."""

_HEADER = 32 + 5 + 4 * 4
_WORD = 8
_BYTES_AT_ONCE = 2**16
"""Of a Label Studio code: for each of their bits, some 60 bytes are held."""


class BudgetError(BPGError):
    """A file's masks take too much, so that no more of it is read."""


class Budget:
    """How many pixels the masks of a file may still take."""

    def __init__(self, name: str):
        self._name, self._left = name, TOTAL_LIMIT

    def spend(self, pixels: int) -> None:
        """Take these pixels from the budget.

        Raises:
            BudgetError: Fewer are left; the message names the file.
        """
        self._left -= pixels
        if self._left < 0:
            raise BudgetError(
                f"{self._name}: its masks take more than {TOTAL_LIMIT:,} pixels; export it in parts"
            )


def decode_coco(counts: Any, height: int, width: int, place: str) -> Pixels:
    """Decode a mask of COCO, compressed (text) or not (a list of counts).

    The runs go down the columns, the first one not covered.

    Source: `maskApi.c` of pycocotools. Its C code isn't used because it trusts its input: for runs
    that add up to less than the mask, version 2.0 returned memory that it had never written.

    Args:
        counts: What stands under "counts".
        height: Of the mask.
        width: Of the mask.
        place: What errors call the mask.

    Raises:
        BPGError: The mask has too many pixels, or `counts` is of another type, broken, or does not
            add up to the mask's size.
    """
    _check_size(height, width, place)
    runs = _text_runs(counts, place) if isinstance(counts, str) else _list_runs(counts, place)
    turned = _covered(*_odd_runs(runs, height * width, place), height)
    if not turned.mask.size:
        return turned
    # OpenCV transposes in blocks, several times as fast as NumPy for large masks.
    mask = cv2.transpose(turned.mask.view(np.uint8)).view(bool)
    return Pixels(turned.top, turned.left, mask)


def encode_coco(mask: NDArray[np.bool_]) -> list[int]:
    """Encode a mask as COCO's list of counts: lengths of runs, the first one not covered.

    Args:
        mask: bool (h, w).
    """
    changes = np.flatnonzero(np.diff(mask.T.ravel(), prepend=False))
    counts: list[int] = np.diff(changes, prepend=0, append=mask.size).tolist()
    return counts


def decode_cvat(text: str, height: int, width: int, place: str) -> Pixels:
    """Decode a mask of CVAT's XML: counts with commas between, along the rows of the shape's box.

    Source: CVAT's `mask` element, <https://docs.cvat.ai/docs/other/xml_format>.

    Args:
        text: The attribute `rle`.
        height: Of the shape's box.
        width: Of the shape's box.
        place: What errors call the mask.

    Returns:
        The pixels, as columns and rows of the box.

    Raises:
        BPGError: As for `decode_coco`.
    """
    _check_size(height, width, place)
    try:
        counts = [int(count) for count in text.split(",")]
    except ValueError as error:
        raise BPGError(f"{place}: its rle is no list of numbers") from error
    runs = _list_runs(counts, place)
    return _covered(*_odd_runs(runs, height * width, place), width)


def decode_label_studio(code: Any, height: int, width: int, place: str) -> Pixels:
    """Decode a brush mask of Label Studio.

    The code is an image of RGBA bytes along the rows, and alpha is the mask. Its edges are soft:
    pixels with at least half of the mask's largest alpha count as covered, that is from 128 on for
    what the brush draws.

    Source: `decode` of @thi.ng/rle-pack: the number of bytes (32 bits), word size - 1 (5), four
    sizes - 1 (4 each); then, until all bytes are there, 1 for a run or 0 for a list, which of the
    sizes (2), length - 1 (of that size), and one word or as many as the length says.

    Args:
        code: What stands under "rle".
        height: Of the image that was drawn on.
        width: Of the image that was drawn on.
        place: What errors call the mask.

    Raises:
        BPGError: The mask has too many pixels, or `code` is no list of bytes, is cut off, or does
            not hold 4 bytes a pixel.
    """
    _check_size(height, width, place)
    data = _bytes(code, place)
    if 8 * len(data) < _HEADER:
        raise BPGError(f"{place}: its rle is cut off")
    header = int.from_bytes(data[:7].tobytes()) >> (56 - _HEADER)
    total, word = header >> 21, (header >> 16 & 31) + 1
    if word != _WORD:
        raise BPGError(f"{place}: its rle has words of {word} bits instead of {_WORD}")
    if total != 4 * height * width:
        raise BPGError(
            f"{place}: its rle holds {total:,} bytes, but {width}x{height} pixels have "
            f"{4 * height * width:,}"
        )
    sizes = np.array([(header >> shift & 15) + 1 for shift in (12, 8, 4, 0)])
    parts = []
    for begin, end, value in _byte_runs(data, sizes, total, place):
        # Alpha is the last byte of four: a run holds that of pixel q if it holds byte 4 q + 3.
        some = (end // 4 > begin // 4) & (value > 0)
        parts.append(np.stack([begin[some] // 4, end[some] // 4, value[some]]))
    first, last, alphas = np.concatenate(parts, 1)
    solid = 2 * alphas >= alphas.max(initial=0)
    return _covered(first[solid], last[solid], width)


def _check_size(height: int, width: int, place: str) -> None:
    if min(height, width) < 1 or height * width > PIXEL_LIMIT:
        raise BPGError(
            f"{place}: a mask of {width}x{height} pixels is impossible "
            f"(at least 1x1, at most {PIXEL_LIMIT:,} pixels)"
        )


def _list_runs(counts: Any, place: str) -> _Numbers:
    if not isinstance(counts, list) or not all(
        type(count) is int and 0 <= count <= PIXEL_LIMIT for count in counts
    ):
        raise BPGError(f"{place}: its rle is no list of counts, or has one that is impossible")
    return np.array(counts, np.int64)


def _text_runs(text: str, place: str) -> _Numbers:
    """Return the counts that COCO's compressed text holds.

    A number is a little-endian series of 5-bit groups, 0x20 marks that more follow, the last one's
    0x10 is the sign. From the fourth on, numbers are differences to the count before the last.
    """
    # What is no ASCII becomes bytes from 128 on, which are refused.
    groups = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8).astype(np.int64) - 48
    bad = BPGError(f"{place}: its rle is no text of COCO's, or cut off")
    if len(groups) == 0:
        return groups
    if groups.min() < 0 or groups.max() > 63 or groups[-1] & 0x20:
        raise bad
    ends = np.flatnonzero(groups & 0x20 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    if (ends - starts).max() >= _GROUPS:
        raise bad
    shifts = 5 * (np.arange(len(groups)) - np.repeat(starts, ends - starts + 1))
    values = np.add.reduceat((groups & 0x1F) << shifts, starts)
    values[groups[ends] & 0x10 != 0] -= 1 << (5 * (ends - starts + 1)[groups[ends] & 0x10 != 0])
    if abs(values).max() > PIXEL_LIMIT:
        raise bad
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    if values.min() < 0 or values.max() > PIXEL_LIMIT:
        raise bad
    return values


def _odd_runs(runs: _Numbers, total: int, place: str) -> tuple[_Numbers, _Numbers]:
    """Return begin and end of every second run, without the empty ones."""
    ends = np.cumsum(runs)
    found = int(ends[-1]) if len(ends) else 0
    if found != total:
        raise BPGError(
            f"{place}: the runs of its rle add up to {found:,} instead of {total:,} pixels"
        )
    first, last = ends[:-1:2], ends[1::2]
    some = last > first
    return first[some], last[some]


def _covered(first: _Numbers, last: _Numbers, width: int) -> Pixels:
    """Return runs of pixels, which don't overlap, as the smallest box that holds them.

    Args:
        first: Number of each run's first pixel, counted along the rows; ascending.
        last: Number of the pixel behind each run.
        width: Length of a row.
    """
    if not len(first):
        return Pixels(0, 0, np.zeros((0, 0), bool))
    final = last - 1
    if (first // width == final // width).all():
        left, right = int((first % width).min()), int((final % width).max()) + 1
    else:  # what runs over the end of a row covers the last column and the first
        left, right = 0, width
    top, bottom = int(first[0]) // width, int(final[-1]) // width + 1
    across = right - left
    begin, end = (
        (pixel // width - top) * across + pixel % width - left + behind
        for pixel, behind in ((first, 0), (final, 1))
    )
    edges = np.stack([begin, end], 1).ravel()
    lengths = np.diff(edges, prepend=0, append=(bottom - top) * across)
    values = np.arange(len(lengths)) % 2 == 1
    return Pixels(left, top, np.repeat(values, lengths).reshape(bottom - top, across))


def _bytes(code: Any, place: str) -> NDArray[np.uint8]:
    try:
        if not isinstance(code, list):
            raise TypeError
        return np.frombuffer(bytes(code), np.uint8)
    except (TypeError, ValueError) as error:
        raise BPGError(f"{place}: its rle is no list of bytes") from error


def _byte_runs(
    data: NDArray[np.uint8], sizes: _Numbers, total: int, place: str
) -> Iterator[tuple[_Numbers, _Numbers, _Numbers]]:
    """Yield begin, end and value of the runs in a Label Studio code; a list has runs of 1.

    Where a run or list ends follows from its first bits. This is worked out for all bits of a part
    at once, and a loop then follows the chain.
    """
    bit, done, available = _HEADER, 0, 8 * len(data)
    while done < total:
        bits = np.arange(bit, min(bit + 8 * _BYTES_AT_ONCE, available))
        if not len(bits):
            raise BPGError(f"{place}: its rle is cut off")
        head = _window(data, bits)
        size = sizes[head >> 29 & 3]
        lengths = ((head << 3 & 0xFFFFFFFF) >> (32 - size)) + 1
        words = np.where(head >> 31 == 1, 1, lengths)
        starts = bits + 3 + size
        behind = (starts + words * _WORD).tolist()
        chain, base, end = [], bit, bit + len(bits)
        while bit < end:
            chain.append(bit - base)
            bit = behind[bit - base]
        ends = done + np.cumsum(lengths[chain])
        chain = chain[: int(np.searchsorted(ends, total)) + 1]
        lengths, words, starts = lengths[chain], words[chain], starts[chain]
        before, done = done, int(ends[len(chain) - 1])
        if done > total:
            raise BPGError(f"{place}: the runs of its rle do not add up to {total:,} bytes")
        if starts[-1] + words[-1] * _WORD > available:
            raise BPGError(f"{place}: its rle is cut off")
        token = np.repeat(np.arange(len(chain)), words)
        within = np.arange(len(token)) - np.repeat(np.cumsum(words) - words, words)
        values = _window(data, starts[token] + within * _WORD) >> (32 - _WORD)
        run = np.where(words == lengths, 1, lengths)[token]
        ends = before + np.cumsum(run)
        yield ends - run, ends, values


def _window(data: NDArray[np.uint8], bits: _Numbers) -> _Numbers:
    """Return the 32 bits from each of these on, zeros behind the end."""
    byte = bits >> 3
    value = np.zeros(len(bits), np.int64)
    for step in range(5):
        at = byte + step
        value = value << 8 | np.where(at < len(data), data[np.minimum(at, len(data) - 1)], 0)
    shifted: _Numbers = value >> (8 - (bits & 7)) & 0xFFFFFFFF
    return shifted
