"""CVAT's XML, "CVAT for images 1.1" and what can be read of "CVAT for video 1.1".

Source: <https://docs.cvat.ai/docs/other/xml_format>. (0, 0) is the upper left corner of the image.
Images are known by their names: ids are neither in order nor always there.
"""

from collections import Counter
from xml.etree.ElementTree import Element

from bpg.data.formats.annotations import (
    Annotations,
    Faults,
    ImageStrokes,
    check_inside,
    checked_size,
    kind_text,
    number,
    optional_size,
)
from bpg.data.formats.names import label_text, relative_names
from bpg.data.formats.rle import Budget, decode_cvat
from bpg.data.strokes import Area, Line, Pixels, Point, Shape, Stroke
from bpg.errors import BPGError

TOOL = "CVAT"

_STROKES = ("polyline", "points", "polygon", "mask")


def is_cvat(root: Element) -> bool:
    """Say whether XML is CVAT's."""
    return root.tag == "annotations" and any(
        root.find(tag) is not None for tag in ("version", "meta", "image", "track")
    )


def cvat_strokes(root: Element, name: str) -> Annotations:
    """Return what CVAT's XML holds.

    Strokes are polylines, points, polygons and masks. Each point of a `points` element is a stroke
    of its own: a line through them would cover what nobody marked. What has the larger `z_order`
    lies on top. Everything else is counted in `left_out`, the tracks of videos too. What is
    missing, broken, or lies outside its image is among the `faults`, with the image and the number
    of the shape (counted from 1).

    Args:
        root: The parsed XML.
        name: Its path, for messages.

    Raises:
        BPGError: The masks take too many pixels. The message is one line that names the file.
    """
    left_out: Counter[str] = Counter()
    if tracks := len(root.findall("track")):
        left_out["track"] = tracks
    budget, faults = Budget(name), Faults(name)
    images = []
    for count, element in enumerate(root.findall("image"), 1):
        with faults.noted():
            images.append(_image(element, count, name, left_out, budget, faults))
    return Annotations(TOOL, tuple(images), _classes(root), left_out, faults.lines())


def _classes(root: Element) -> tuple[str, ...]:
    """Return the declared labels, without skeletons and their joints."""
    names = (
        label_text(label.findtext("name"))
        for label in root.iterfind("meta/*/labels/label")
        if label.findtext("type") != "skeleton" and not (label.findtext("parent") or "").strip()
    )
    return tuple(dict.fromkeys(filter(None, names)))


def _image(
    image: Element,
    count: int,
    name: str,
    left_out: Counter[str],
    budget: Budget,
    faults: Faults,
) -> ImageStrokes:
    title, subset = image.get("name", ""), image.get("subset")
    names = relative_names(title, f"{subset}/{title}" if subset else None)
    if not names:
        raise BPGError(f"{name}: image {count}: the attribute name is missing or empty")
    place = f"{name}: image {title[:80]!r}"
    size = optional_size(image.get("width"), image.get("height"), place)
    drawn: list[tuple[float, Stroke, str]] = []
    for position, element in enumerate(image, 1):
        kind = element.tag
        if kind not in _STROKES:
            left_out[kind_text(kind)] += 1
        elif element.get("outside") == "1":
            left_out[f"{kind} marked as outside"] += 1
        elif not (label := label_text(element.get("label"))):
            left_out[f"{kind} without a label"] += 1
        else:
            where = f"{place}: shape {position}"
            with faults.noted():
                order = number(element.get("z_order", "0"), f"{where}: z_order")
                shapes = _shapes(element, where, budget)
                if isinstance(shapes, str):
                    left_out[shapes] += 1
                    continue
                for shape in shapes:
                    if size is not None:
                        check_inside(shape, *size, where)
                    drawn.append((order, Stroke(label, shape), where))
    drawn.sort(key=lambda one: one[0])
    strokes = tuple(stroke for _, stroke, _ in drawn)
    return ImageStrokes(names, size, strokes, place, tuple(where for _, _, where in drawn))


def _shapes(element: Element, place: str, budget: Budget) -> list[Shape] | str:
    """Return an element's shapes, or why it is left out."""
    if element.tag == "mask":
        mask = _mask(element, place)
        budget.spend(mask.mask.size)
        return [mask] if mask.mask.size else "empty mask"
    points = _points(element, place)
    if element.tag == "points":
        return [Line((point,)) for point in points]
    if element.tag == "polyline":
        return [Line(points)]
    return [Area((points,))] if len(points) > 2 else "polygon with fewer than 3 points"


def _points(element: Element, place: str) -> tuple[Point, ...]:
    found = []
    for count, pair in enumerate(element.get("points", "").split(";"), 1):
        values = pair.split(",")
        if len(values) != 2:
            raise BPGError(f"{place}, point {count}: is {pair[:40]!r} instead of two numbers")
        x, y = (number(value, f"{place}, point {count}") for value in values)
        found.append((x, y))
    return tuple(found)


def _mask(element: Element, place: str) -> Pixels:
    width, height = checked_size(element.get("width"), element.get("height"), place, "mask")
    left, top = (round(number(element.get(side), f"{place}: {side}")) for side in ("left", "top"))
    pixels = decode_cvat(element.get("rle", ""), height, width, place)
    return Pixels(left + pixels.left, top + pixels.top, pixels.mask)
