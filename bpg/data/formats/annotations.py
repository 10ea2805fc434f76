"""What every reader returns, and how a reader takes files that may hold anything."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml.ElementTree import fromstring

from bpg.data.formats.rle import BudgetError
from bpg.data.photographs import PIXEL_LIMIT
from bpg.data.strokes import Area, Line, Pixels, Point, Shape, Stroke
from bpg.errors import BPGError
from bpg.files import read_limited

FILE_LIMIT = 256 * 2**20
"""Larger annotation files are refused unread; a thousand brush masks have a tenth of that."""

MOST_FAULTS = 20
"""Faults of a file that are named; those beyond are counted."""


class Faults:
    """What is wrong in a file, fault by fault: at the first one alone, its owner would have to
    check the file as often as it has faults.

    Args:
        name: Path of the file, for messages.
    """

    def __init__(self, name: str):
        self._name, self._found, self._more = name, list[str](), 0

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note a `BPGError` that is raised inside; the code behind runs.

        Raises:
            BudgetError: As raised inside: no more of the file may be read.
        """
        try:
            yield
        except BudgetError:
            raise
        except BPGError as error:
            if len(self._found) < MOST_FAULTS:
                self._found.append(str(error))
            else:
                self._more += 1

    def lines(self) -> tuple[str, ...]:
        """Return a line for each fault, or a last one that says how many more there are."""
        if not self._more:
            return tuple(self._found)
        faults = "faults" if self._more > 1 else "fault"
        return *self._found, f"{self._name}: … and {self._more:,} more {faults}"


@dataclass(frozen=True)
class ImageStrokes:
    """The strokes that one file holds for one image.

    Attributes:
        names: What the file calls the image, the best name first: relative paths with forward
            slashes.
        size: (width, height) of the image that was drawn on; None if the file does not say.
        strokes: In drawing order.
        place: The file and, if it holds several images, which one; for messages.
        places: Where in the file each stroke stands; for messages.
        embedded: The image file itself, where the annotation file contains it.
    """

    names: tuple[str, ...]
    size: tuple[int, int] | None
    strokes: tuple[Stroke, ...]
    place: str
    places: tuple[str, ...]
    embedded: bytes | None = None


@dataclass(frozen=True)
class Annotations:
    """What a file of annotations holds.

    Attributes:
        tool: Whose format it is.
        images: The images that it is about, also those without a stroke.
        classes: Names that the file declares, in its order, used or not.
        left_out: What is no stroke, counted by kind, such as {"rectangle": 2}.
        faults: What is wrong in the file, a line each; the other fields are without it.
    """

    tool: str
    images: tuple[ImageStrokes, ...]
    classes: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    faults: tuple[str, ...] = ()


def read_bytes(path: Path) -> bytes:
    """Read a file of annotations.

    Raises:
        BPGError: It cannot be read, or is larger than `FILE_LIMIT`; the message names it.
    """
    return read_limited(path, FILE_LIMIT, "; export it in parts")


def parse_json(data: bytes, name: str) -> Any:
    """Parse JSON in UTF-8, with or without a byte order mark.

    Args:
        data: The file's content.
        name: What errors call it.

    Raises:
        BPGError: It is not JSON, is nested too deeply, or holds NaN or an infinity.
    """

    def refuse(word: str) -> None:
        raise ValueError(f"{word} is no number")

    try:
        return json.loads(data.decode("utf-8-sig"), parse_constant=refuse)
    except UnicodeDecodeError as error:
        raise BPGError(f"{name}: not UTF-8; save it as UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise BPGError(f"{name}: no valid JSON, or cut off ({one_line(error)})") from error


def parse_xml(data: bytes, name: str) -> Element:
    """Parse XML without entities.

    Args:
        data: The file's content.
        name: What errors call it.

    Raises:
        BPGError: It is not XML, is cut off, or has entities.
    """
    try:
        return fromstring(data)
    # ValueError: defusedxml's refusals, and encodings that expat does not know.
    except (ParseError, ValueError, LookupError) as error:
        raise BPGError(f"{name}: no valid XML, or cut off ({one_line(error)})") from error


def number(value: Any, place: str) -> float:
    """Return a coordinate as a number.

    Args:
        value: A number, or text with one in it.
        place: What errors call it.

    Raises:
        BPGError: It is neither, or is not finite.
    """
    try:
        if isinstance(value, bool):
            raise ValueError
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        # Lists in lists are not shown: they may be nested too deeply for that.
        shown = repr(str(value)[:40]) if _is_simple(value) else f"a {type(value).__name__}"
        raise BPGError(f"{place} is {shown} instead of a number")
    return found


def _is_simple(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


def kind_text(kind: Any) -> str:
    """Return what a file calls a kind of shape, for messages: one short line."""
    return " ".join(kind.split())[:40] if isinstance(kind, str) and kind.strip() else "unknown"


def checked_size(width: Any, height: Any, place: str, of: str = "image") -> tuple[int, int]:
    """Return (width, height) as whole numbers of pixels.

    Args:
        width: What the file says.
        height: What the file says.
        place: What errors call the place of the size.
        of: What it is the size of, for errors.

    Raises:
        BPGError: One of them is no number or below 1, or there are more pixels than are read.
    """
    wide, high = (
        round(number(side, f"{place}: the {of}'s {which}"))
        for side, which in ((width, "width"), (height, "height"))
    )
    if min(wide, high) < 1 or wide * high > PIXEL_LIMIT:
        raise BPGError(
            f"{place}: the {of}'s size of {wide:.9g}x{high:.9g} pixels is impossible "
            f"(at least 1x1, at most {PIXEL_LIMIT:,} pixels)"
        )
    return wide, high


def optional_size(width: Any, height: Any, place: str) -> tuple[int, int] | None:
    """Return what `checked_size` does, or None if the file has neither width nor height."""
    return None if width is None and height is None else checked_size(width, height, place)


def _corners(shape: Shape) -> list[Point]:
    match shape:
        case Line(points):
            return list(points)
        case Area(outlines):
            return [point for outline in outlines for point in outline]
        case Pixels(left, top, mask):
            return [(left, top), (left + mask.shape[1], top + mask.shape[0])]


def reaches_beyond(shape: Shape, width: int, height: int) -> bool:
    """Say whether a shape runs over the image's border by more than a slip of the hand.

    Args:
        shape: A stroke's.
        width: Of the image.
        height: Of the image.
    """
    slip = 3 + 0.05 * max(width, height)
    return any(
        not (-slip <= x <= width + slip and -slip <= y <= height + slip) for x, y in _corners(shape)
    )


def check_inside(shape: Shape, width: int, height: int, place: str) -> None:
    """Check that a stroke touches the image, and does not go far beyond it.

    Points may lie beyond the border, where annotators slip, but not further than the image is long
    on that axis.

    Args:
        shape: The stroke's.
        width: Of the image.
        height: Of the image.
        place: What errors call the stroke.

    Raises:
        BPGError: The stroke lies outside.
    """
    corners = _corners(shape)
    for x, y in corners:
        if not (-width <= x <= 2 * width and -height <= y <= 2 * height):
            raise BPGError(
                f"{place}: ({x:.9g}, {y:.9g}) lies far outside the {width}x{height} image"
            )
    # The far border counts as inside, and a pixel more: some tools count pixels from 1.
    beyond = (
        all(x < 0 for x, _ in corners)
        or all(y < 0 for _, y in corners)
        or all(x > width + 1 for x, _ in corners)
        or all(y > height + 1 for _, y in corners)
    )
    if beyond:
        raise BPGError(f"{place}: lies wholly outside the {width}x{height} image")


def one_line(error: Exception) -> str:
    """Return an error's message as one line."""
    return " ".join(str(error).split()) or type(error).__name__
