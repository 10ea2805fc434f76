"""ScribbleSup's XML files, one an image.

Source: Lin et al., "ScribbleSup", CVPR 2016, `scribble_annotation/pascal_2012`:
`annotation/size/{width,height}` and one `polygon/{tag, point/{X,Y}...}` per stroke. A polygon is
a polyline, and its coordinates are columns and rows of pixels, counted from 0: a point lies in the
middle of its pixel.
"""

from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape

from bpg.data.formats.annotations import (
    Annotations,
    Faults,
    ImageStrokes,
    check_inside,
    checked_size,
    number,
    parse_xml,
)
from bpg.data.strokes import Line, Point, Stroke, Strokes
from bpg.errors import BPGError

TOOL = "ScribbleSup"


def is_scribblesup(root: Element) -> bool:
    """Say whether XML is ScribbleSup's: other tools' annotations and polygons look different."""
    return root.tag == "annotation" and (
        root.find("polygon/tag") is not None
        or (root.find("segmented") is not None and root.find("object") is None)
    )


def read_scribblesup(data: bytes, name: str) -> Annotations:
    """Read a ScribbleSup XML file.

    A stroke of a single point is allowed: it is drawn as a dot. Points may lie beyond the image's
    border, where annotators slip; but every stroke must touch the image, and no point may lie
    further out than the image is long on that axis. What is missing, no number, or lies outside the
    image is among the `faults`, with the number of the stroke (counted from 1).

    Args:
        data: Content of the file.
        name: Its path, for messages; its stem names the image if the file does not.

    Raises:
        BPGError: The file is cut off, not XML, or has entities; the size is missing, below 1 or
            above PIXEL_LIMIT. The message is one line that names the file.
    """
    root = parse_xml(data, name)
    if root.tag != "annotation":
        raise BPGError(
            f"{name}: the outermost element is <{root.tag[:40]}> instead of <annotation>"
        )
    width, height = checked_size(
        _text(root, "size/width", name), _text(root, "size/height", name), name
    )
    faults, strokes, places = Faults(name), list[Stroke](), list[str]()
    for count, polygon in enumerate(root.findall("polygon"), 1):
        place = f"{name}: stroke {count}"
        with faults.noted():
            stroke = _stroke(polygon, place)
            check_inside(stroke.shape, width, height, place)
            strokes.append(stroke)
            places.append(place)
    names = (PurePosixPath(name).stem, (root.findtext("filename") or "").strip())
    image = ImageStrokes(
        tuple(filter(None, names)), (width, height), tuple(strokes), name, tuple(places)
    )
    return Annotations(TOOL, (image,), faults=faults.lines())


def write_scribblesup(path: Path, strokes: Strokes) -> None:
    """Write ScribbleSup's XML format; equal strokes give equal bytes.

    Not atomic: files are written many at a time, into resumable work (`bpg.resumable`) or into a
    folder that appears as a whole.

    Args:
        path: File to write; its stem is the image's name.
        strokes: What to write, lines all of them, with the image's size.

    Raises:
        ValueError: A stroke is no line or has no tag: the format has none of these.
    """
    lines = [
        f"<annotation><filename>{escape(path.stem)}</filename>"
        f"<size><width>{strokes.width}</width><height>{strokes.height}</height>"
        "<depth>3</depth></size><segmented>1</segmented>"
    ]
    for stroke in strokes.strokes:
        if stroke.tag is None or not isinstance(stroke.shape, Line):
            raise ValueError("ScribbleSup's format has lines with a tag, and nothing else")
        points = "".join(
            f"<point><X>{x - 0.5:.12g}</X><Y>{y - 0.5:.12g}</Y></point>"
            for x, y in stroke.shape.points
        )
        lines.append(f"<polygon><tag>{escape(stroke.tag)}</tag>{points}</polygon>")
    lines.append("</annotation>\n")
    path.write_text("\n".join(lines), encoding="utf-8")


def _stroke(polygon: Element, place: str) -> Stroke:
    tag = (polygon.findtext("tag") or "").strip()
    if not tag:
        raise BPGError(f"{place}: <tag> is missing or empty")
    points = tuple(
        _point(point, f"{place}, point {count}")
        for count, point in enumerate(polygon.findall("point"), 1)
    )
    if not points:
        raise BPGError(f"{place}: has no points")
    return Stroke(tag, Line(points))


def _point(point: Element, place: str) -> Point:
    x, y = (number(_text(point, axis, place), f"{place}: <{axis}>") for axis in ("X", "Y"))
    return x + 0.5, y + 0.5


def _text(parent: Element, path: str, place: str) -> str:
    text = parent.findtext(path)
    if text is None:
        raise BPGError(f"{place}: <{path}> is missing")
    return text.strip()
