"""Scribbles: ScribbleSup's XML files, and how to draw them as label maps.

Source of the format: Lin et al., "ScribbleSup", CVPR 2016, `scribble_annotation/pascal_2012`:
`annotation/size/{width,height}` and one `polygon/{tag, point/{X,Y}...}` per stroke.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError
from xml.sax.saxutils import escape

import numpy as np
from defusedxml.ElementTree import fromstring
from PIL import Image, ImageDraw

from bpg.constants import IGNORE
from bpg.data.masks import PIXEL_LIMIT
from bpg.errors import BPGError

FILE_LIMIT = 16 * 2**20
"""Larger XML files are refused unread (ScribbleSup's have a few kilobytes)."""


@dataclass(frozen=True)
class Stroke:
    """A polyline of (x, y) in pixels, x to the right from 0 and y downwards, and its class name."""

    tag: str
    points: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Strokes:
    """All strokes on an image of `width` x `height` pixels, in drawing order."""

    width: int
    height: int
    strokes: tuple[Stroke, ...]


def read_strokes(path: Path) -> Strokes:
    """Read a ScribbleSup XML file.

    A stroke of a single point is allowed: it is drawn as a dot. Points may lie beyond the image's
    border, where annotators slip; but every stroke must touch the image, and no point may lie
    further out than the image is long on that axis. Fractional coordinates are rounded.

    Raises:
        BPGError: The file is missing, larger than FILE_LIMIT, cut off, not XML, or has entities; an
            element is missing or not a number; the size is below 1 or above PIXEL_LIMIT; a stroke
            has no points or lies outside the image. The message is one line that names the file and
            the stroke (counted from 1).
    """
    try:
        root = _parse(path)
        width, height = _size(root)
        polygons = root.findall("polygon")
        strokes = tuple(_stroke(p, n, width, height) for n, p in enumerate(polygons, 1))
    except BPGError as error:
        raise BPGError(f"{path}: {error}") from error
    return Strokes(width, height, strokes)


def write_strokes(path: Path, strokes: Strokes) -> None:
    """Write ScribbleSup's XML format; equal strokes give equal bytes.

    Not atomic: files are written many at a time, into resumable work (`bpg.resumable`) or into a
    folder that appears as a whole.

    Args:
        path: File to write; its stem is the image's name.
        strokes: What to write, with the image's size.
    """
    lines = [
        f"<annotation><filename>{escape(path.stem)}</filename>"
        f"<size><width>{strokes.width}</width><height>{strokes.height}</height>"
        "<depth>3</depth></size><segmented>1</segmented>"
    ]
    for stroke in strokes.strokes:
        points = "".join(f"<point><X>{x}</X><Y>{y}</Y></point>" for x, y in stroke.points)
        lines.append(f"<polygon><tag>{escape(stroke.tag)}</tag>{points}</polygon>")
    lines.append("</annotation>\n")
    path.write_text("\n".join(lines), encoding="utf-8")


def rasterise(strokes: Strokes, classes: Sequence[str], line_width: int) -> np.ndarray:
    """Draw strokes as a label map.

    Lines have round ends and joints; later strokes lie on top; what lies beyond the border is
    clipped.

    Args:
        strokes: What to draw, and the size of the image.
        classes: Class names; a stroke's label is the index of its tag among them.
        line_width: Width of the lines in pixels.

    Returns:
        Labels, uint8 (H, W), 255 where nothing is drawn.

    Raises:
        BPGError: A tag is not in `classes`; the message names the stroke and the valid tags.
    """
    labels = {name: label for label, name in enumerate(classes)}
    picture = Image.new("L", (strokes.width, strokes.height), IGNORE)
    draw = ImageDraw.Draw(picture)
    for number, stroke in enumerate(strokes.strokes, 1):
        if stroke.tag not in labels:
            raise BPGError(
                f"stroke {number}: unknown tag {stroke.tag[:40]!r}; "
                f"the tags are {', '.join(classes)}"
            )
        _draw(draw, stroke.points, labels[stroke.tag], line_width)
    return np.array(picture)


def label_map(
    xml_path: Path, image_size: tuple[int, int], classes: Sequence[str], line_width: int
) -> np.ndarray:
    """Read an XML file of strokes and draw it as a label map, as `rasterise` does.

    Args:
        xml_path: A ScribbleSup XML file.
        image_size: (width, height) of the image in pixels.
        classes: Class names; a stroke's label is the index of its tag among them.
        line_width: Width of the lines in pixels.

    Returns:
        Labels, uint8 (H, W), 255 where nothing is drawn.

    Raises:
        BPGError: As for `read_strokes` and `rasterise`; or the file's size is not `image_size`; or
            no pixel is labelled at all. The message names the file.
    """
    strokes = read_strokes(xml_path)
    size = (strokes.width, strokes.height)
    if size != tuple(image_size):
        raise BPGError(
            f"{xml_path}: drawn on {size[0]}x{size[1]} pixels, "
            f"but the image has {image_size[0]}x{image_size[1]}"
        )
    try:
        labels = rasterise(strokes, classes, line_width)
    except BPGError as error:
        raise BPGError(f"{xml_path}: {error}") from error
    if (labels == IGNORE).all():
        raise BPGError(f"{xml_path}: no pixel is labelled; draw at least one stroke")
    return labels


def _parse(path: Path) -> Element:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_LIMIT + 1)
    except OSError as error:
        raise BPGError(f"cannot be read ({error.strerror})") from error
    if len(data) > FILE_LIMIT:
        raise BPGError(f"larger than {FILE_LIMIT:,} bytes, so no scribble file")
    try:
        root = fromstring(data)
    # ValueError: defusedxml's refusals, and encodings that expat does not know.
    except (ParseError, ValueError, LookupError) as error:
        raise BPGError(f"no valid XML, or cut off ({_one_line(error)})") from error
    if root.tag != "annotation":
        raise BPGError(f"the outermost element is <{root.tag[:40]}> instead of <annotation>")
    return root


def _size(root: Element) -> tuple[int, int]:
    width = _number(root, "size/width", "the image")
    height = _number(root, "size/height", "the image")
    if min(width, height) < 1 or width * height > PIXEL_LIMIT:
        raise BPGError(
            f"an image of {width:.9g}x{height:.9g} pixels is impossible "
            f"(at least 1x1, at most {PIXEL_LIMIT:,} pixels)"
        )
    return width, height


def _stroke(polygon: Element, number: int, width: int, height: int) -> Stroke:
    place = f"stroke {number}"
    tag = (polygon.findtext("tag") or "").strip()
    if not tag:
        raise BPGError(f"{place}: <tag> is missing or empty")
    points = tuple(
        (_number(p, "X", f"{place}, point {n}"), _number(p, "Y", f"{place}, point {n}"))
        for n, p in enumerate(polygon.findall("point"), 1)
    )
    if not points:
        raise BPGError(f"{place}: has no points")
    for n, (x, y) in enumerate(points, 1):
        if not (-width <= x <= 2 * width and -height <= y <= 2 * height):
            raise BPGError(f"{place}, point {n}: ({x:.9g}, {y:.9g}) lies far outside the image")
    # The far border counts as inside: some tools count pixels from 1.
    if not any(0 <= x <= width and 0 <= y <= height for x, y in points):
        raise BPGError(f"{place}: lies wholly outside the {width}x{height} image")
    return Stroke(tag, points)


def _number(parent: Element, path: str, place: str) -> int:
    text = parent.findtext(path)
    if text is None:
        raise BPGError(f"{place}: <{path}> is missing")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BPGError(f"{place}: <{path}> is {text[:40]!r} instead of a number")
    return round(value)


def _draw(
    draw: ImageDraw.ImageDraw, points: tuple[tuple[int, int], ...], label: int, width: int
) -> None:
    draw.line(points, fill=label, width=width)
    # Pillow rounds joints only of lines wider than 4 pixels, and never the ends, hence a dot on
    # each point. Its 1x1 ellipse is empty, hence the plain points.
    draw.point(points, fill=label)
    before, after = (width - 1) // 2, width // 2
    for x, y in points:
        draw.ellipse((x - before, y - before, x + after, y + after), fill=label)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
