"""labelme's JSON files, one an image.

Source: `labelme/_label_file.py` and `labelme/utils/shape.py` of labelme 6, and the files in its
`examples/`. (0, 0) is the image's upper left corner. Files of before 2019 have no version, no size
and no `shape_type`.
"""

import base64
import json
import math
from collections import Counter
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from bpg.data.formats.annotations import (
    Annotations,
    Faults,
    ImageStrokes,
    check_inside,
    kind_text,
    number,
    optional_size,
    parse_json,
)
from bpg.data.formats.names import label_text, relative_names
from bpg.data.formats.rle import Budget
from bpg.data.masks import decode_image, image_size
from bpg.data.strokes import Area, Line, Pixels, Point, Shape, Stroke, Strokes, covered
from bpg.errors import BPGError

TOOL = "labelme"

_LINES = ("linestrip", "line", "point")
_TAGS = {"__ignore__": None, "_background_": "background"}
_VERSION = "5.5.0"  # the first ones with masks are 5.3 and 5.4


def is_labelme(document: Any) -> bool:
    """Say whether a JSON document is labelme's."""
    return (
        isinstance(document, dict)
        and "shapes" in document
        and ("imagePath" in document or "imageData" in document)
    )


def read_labelme(data: bytes, name: str) -> Annotations:
    """Read a labelme JSON file.

    Strokes are linestrips, lines, points, polygons and masks; the label `__ignore__` stands for
    pixels that stay unlabelled, and `_background_` for the class background. Other shapes are
    counted in `left_out`. Groups, flags and descriptions of shapes have no influence. What is
    missing, of another type, broken, or lies outside the image is among the `faults`, with the
    number of the shape (counted from 1).

    Args:
        data: Content of the file.
        name: Its path, for messages; its stem is the image's last name.

    Raises:
        BPGError: The file is no JSON or no labelme file, its size is impossible, or its masks take
            too many pixels. The message is one line that names the file.
    """
    return labelme_strokes(parse_json(data, name), name)


def labelme_strokes(document: Any, name: str) -> Annotations:
    """Return what a labelme document holds, as `read_labelme` does."""
    shapes = document.get("shapes") if isinstance(document, dict) else None
    if not isinstance(shapes, list):
        raise BPGError(f"{name}: has no list of shapes, so it is no complete labelme file")
    size = optional_size(document.get("imageWidth"), document.get("imageHeight"), name)
    strokes: list[tuple[Stroke, str]] = []
    left_out: Counter[str] = Counter()
    budget, faults = Budget(name), Faults(name)
    for count, found in enumerate(shapes, 1):
        place = f"{name}: shape {count}"
        with faults.noted():
            stroke = _stroke(found, place, budget)
            if isinstance(stroke, str):
                left_out[stroke] += 1
                continue
            if size is not None:
                check_inside(stroke.shape, *size, place)
            strokes.append((stroke, place))
    embedded = None
    if document.get("imageData"):
        with faults.noted():
            embedded = _base64(document["imageData"], f"{name}: imageData")
    image = ImageStrokes(
        relative_names(document.get("imagePath"), PurePosixPath(name).stem),
        size,
        tuple(stroke for stroke, _ in strokes),
        name,
        tuple(place for _, place in strokes),
        embedded,
    )
    return Annotations(TOOL, (image,), left_out=left_out, faults=faults.lines())


def write_labelme(path: Path, strokes: Strokes, image_name: str) -> None:
    """Write a labelme file; equal strokes give equal bytes.

    Lines become linestrips or points, areas with one outline polygons, other areas and pixels
    masks. What covers no pixel of the image has no mask, and is not written. Not atomic, like
    `write_scribblesup`.

    Args:
        path: File to write.
        strokes: What to write, with the image's size.
        image_name: Path of the image, relative to the folder of `path`.
    """
    shapes = [
        shape
        for stroke in strokes.strokes
        if (shape := _written(stroke, strokes.width, strokes.height)) is not None
    ]
    document: dict[str, Any] = {
        "version": _VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": image_name,
        "imageData": None,
        "imageHeight": strokes.height,
        "imageWidth": strokes.width,
    }
    text = json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _written(stroke: Stroke, width: int, height: int) -> dict[str, Any] | None:
    mask = None
    match stroke.shape:
        case Line(points):
            kind = "point" if len(points) == 1 else "linestrip"
        case Area((points,)):
            kind = "polygon"
        case shape:
            kind, found = "mask", covered(shape, width, height, 1)
            if not found.mask.size:
                return None
            bottom, right = np.add(found.mask.shape, (found.top, found.left)).tolist()
            points = ((found.left, found.top), (right - 1, bottom - 1))
            mask = _png(found)
    return {
        "label": "__ignore__" if stroke.tag is None else stroke.tag,
        "points": [[float(x), float(y)] for x, y in points],
        "group_id": None,
        "description": "",
        "shape_type": kind,
        "flags": {},
        "mask": mask,
    }


def _png(pixels: Pixels) -> str:
    file = BytesIO()
    Image.fromarray(pixels.mask).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")


def _stroke(found: Any, place: str, budget: Budget) -> Stroke | str:
    """Return a shape's stroke, or why it is left out."""
    if not isinstance(found, dict):
        raise BPGError(f"{place}: is no JSON object")
    kind = found.get("shape_type") or "polygon"
    if kind not in (*_LINES, "polygon", "mask"):
        return kind_text(kind)
    if not (label := label_text(found.get("label"))):
        return f"{kind} without a label"
    shape = _shape(found, kind, place, budget)
    return shape if isinstance(shape, str) else Stroke(_TAGS.get(label, label), shape)


def _shape(found: dict[str, Any], kind: str, place: str, budget: Budget) -> Shape | str:
    """Return a shape, or why it is left out."""
    points = _points(found.get("points"), place)
    if kind == "mask":
        pixels = _mask(found.get("mask"), points, place, budget)
        return pixels if pixels.mask.any() else "empty mask"
    if kind == "polygon":
        return Area((points,)) if len(points) > 2 else "polygon with fewer than 3 points"
    if kind == "point" and len(points) > 1:
        raise BPGError(f"{place}: a point has 1 point instead of {len(points)}")
    return Line(points)


def _points(points: Any, place: str) -> tuple[Point, ...]:
    if not isinstance(points, list) or not points:
        raise BPGError(f"{place}: has no points")
    found = []
    for count, point in enumerate(points, 1):
        if not isinstance(point, list) or len(point) != 2:
            raise BPGError(f"{place}, point {count}: is no pair of numbers")
        x, y = (number(value, f"{place}, point {count}") for value in point)
        found.append((x, y))
    return tuple(found)


def _mask(mask: Any, corners: tuple[Point, ...], place: str, budget: Budget) -> Pixels:
    """Decode a mask: a PNG of the box between two corners, which are pixels that belong to it."""
    if len(corners) != 2:
        raise BPGError(f"{place}: a mask has 2 points instead of {len(corners)}")
    png = _base64(mask, f"{place}: its mask")
    width, height = image_size(png, f"{place}: its mask")
    budget.spend(width * height)
    left, right = sorted(math.floor(x) for x, _ in corners)
    top, bottom = sorted(math.floor(y) for _, y in corners)
    # Other programs that write this format leave the last row and column out, or round.
    if abs(width - (right - left + 1)) > 1 or abs(height - (bottom - top + 1)) > 1:
        raise BPGError(
            f"{place}: its mask has {width}x{height} pixels, but its points are the corners of "
            "another box"
        )
    red, green, blue = np.moveaxis(decode_image(png, f"{place}: its mask"), 2, 0)
    return Pixels(left, top, (red | green | blue) > 0)


def _base64(text: Any, place: str) -> bytes:
    try:
        if not isinstance(text, str):
            raise ValueError
        return base64.b64decode(text)
    except ValueError as error:
        raise BPGError(f"{place}: is no base64 text, or cut off") from error
