"""COCO's JSON for segmentation.

Source: <https://cocodataset.org/#format-data> and `pycocotools/coco.py`. (0, 0) is the upper left
corner of the image.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from bpg.data.formats.annotations import (
    Annotations,
    ImageStrokes,
    check_inside,
    image_size,
    number,
    optional_size,
    parse_json,
)
from bpg.data.formats.names import label_text, relative_names, url_names
from bpg.data.formats.rle import Budget, decode_coco
from bpg.data.strokes import Area, Pixels, Point, Shape, Stroke, covered, paint
from bpg.errors import BPGError

TOOL = "COCO"

_COMPARED = 64
"""Polygons of an annotation that are compared in pairs."""

_DRAWN_FOR_ONE = 4
"""Pixels drawn that take as much of the budget as one that is kept."""

_OUTLINE = 100_000
"""Pixels that could be drawn in the time that an outline of few pixels takes."""

_LISTS = ("images", "annotations", "categories")


def is_coco(document: Any) -> bool:
    """Say whether a JSON document is COCO's: a data set, or a list of results."""
    if isinstance(document, dict):
        return sum(key in document for key in _LISTS) >= 2
    return isinstance(document, list) and any(map(_is_result, document))


def _is_result(entry: Any) -> bool:
    return isinstance(entry, dict) and "image_id" in entry and "category_id" in entry


def read_coco(data: bytes, name: str) -> Annotations:
    """Read a COCO data set: polygons and run-length codes, of crowds or not.

    An annotation is one stroke, however many polygons it has: it covers what any of them encloses.
    Boxes without a segmentation and keypoints are counted in `left_out`.

    Args:
        data: Content of the file.
        name: Its path, for messages.

    Raises:
        BPGError: The file is no JSON, holds results only, or something in it is missing, of another
            type, broken, or lies outside its image. The message is one line that names the file
            and the annotation (counted from 1).
    """
    return coco_strokes(parse_json(data, name), name)


def coco_strokes(document: Any, name: str) -> Annotations:
    """Return what a COCO document holds, as `read_coco` does."""
    if isinstance(document, list):
        raise BPGError(
            f"{name}: COCO results name neither images nor categories; "
            "export a data set, with images, annotations and categories"
        )
    images, annotations, categories = (_dicts(document, key, name) for key in _LISTS)
    tags = _tags(categories, name)
    known = _images(images, name)
    strokes: dict[str, list[Stroke]] = {key: [] for key in known}
    left_out: Counter[str] = Counter()
    budget = Budget(name)
    for count, annotation in enumerate(annotations, 1):
        place = f"{name}: annotation {count}"
        key, category = _id(annotation, "image_id", place), _id(annotation, "category_id", place)
        if key not in known:
            raise BPGError(f"{place}: its image_id {key[:40]!r} is none of the images' ids")
        if category not in tags:
            raise BPGError(f"{place}: its category_id {category[:40]!r} is none of the categories'")
        stroke = _stroke(annotation, tags[category], known[key].size, place, budget)
        if isinstance(stroke, str):
            left_out[stroke] += 1
            continue
        strokes[key].append(stroke)
    return Annotations(
        TOOL,
        tuple(
            ImageStrokes(image.names, image.size, tuple(strokes[key]), image.place)
            for key, image in known.items()
        ),
        tuple(dict.fromkeys(filter(None, tags.values()))),
        left_out,
    )


def _dicts(document: Any, key: str, name: str) -> list[dict[str, Any]]:
    found = document.get(key) if isinstance(document, dict) else None
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise BPGError(
            f"{name}: {key} is no list of objects; "
            "export a data set, with images, annotations and categories"
        )
    return found


def _tags(categories: Sequence[dict[str, Any]], name: str) -> dict[str, str]:
    tags: dict[str, str] = {}
    for count, category in enumerate(categories, 1):
        place = f"{name}: category {count}"
        key = _id(category, "id", place)
        if key in tags:
            raise BPGError(f"{place}: its id {key[:40]!r} occurs twice")
        tags[key] = label_text(category.get("name"))
    return tags


def _images(images: Sequence[dict[str, Any]], name: str) -> dict[str, ImageStrokes]:
    known: dict[str, ImageStrokes] = {}
    for count, image in enumerate(images, 1):
        place = f"{name}: image {count}"
        key = _id(image, "id", place)
        if key in known:
            raise BPGError(f"{place}: its id {key[:40]!r} occurs twice")
        # Label Studio exports its uploads with a prefix, which `url_names` takes off.
        given = image.get("file_name")
        names = (*relative_names(given), *url_names(image.get("coco_url"), given))
        if not names:
            raise BPGError(f"{place}: has no file_name")
        size = optional_size(image.get("width"), image.get("height"), place)
        known[key] = ImageStrokes(tuple(dict.fromkeys(names)), size, (), f"{place} {names[0]!r}")
    return known


def _id(entry: dict[str, Any], key: str, place: str) -> str:
    """Return an id as text: some tools write numbers here and texts there."""
    text = label_text(entry.get(key))
    if not text:
        raise BPGError(f"{place}: its {key} is missing, or neither a number nor a text")
    return text


def _stroke(
    annotation: dict[str, Any], tag: str, size: tuple[int, int] | None, place: str, budget: Budget
) -> Stroke | str:
    """Return an annotation's stroke, or why it is left out."""
    if "segments_info" in annotation:
        raise BPGError(
            f"{place}: panoptic COCO has its masks in PNG files; export instances instead"
        )
    shape = _shape(annotation.get("segmentation"), size, place, budget)
    if shape is None:
        kinds = (kind for kind in ("keypoints", "bbox") if annotation.get(kind))
        return {"keypoints": "keypoints", "bbox": "box"}.get(next(kinds, ""), "empty annotation")
    if isinstance(shape, str):
        return shape
    if not tag:
        return "annotation without a label"
    stroke = Stroke(tag, shape)
    if size is not None:
        check_inside([stroke], *size, place)
    return stroke


def _shape(
    found: Any, size: tuple[int, int] | None, place: str, budget: Budget
) -> Shape | str | None:
    """Return the shape of a segmentation, None if there is none, or why it is left out."""
    if not found:
        return None
    if isinstance(found, dict):
        pixels = _mask(found, size, place)
        budget.spend(pixels.mask.size)
        return pixels if pixels.mask.size else "empty mask"
    if not isinstance(found, list):
        raise BPGError(f"{place}: its segmentation is neither polygons nor a run-length code")
    # Some tools leave out the list around a single polygon.
    polygons = found if isinstance(found[0], list) else [found]
    outlines = [
        _outline(polygon, f"{place}, polygon {count}") for count, polygon in enumerate(polygons, 1)
    ]
    outlines = [outline for outline in outlines if len(outline) > 2]
    if not outlines:
        return "polygon with fewer than 3 points"
    return _union(outlines, size, place, budget)


def _mask(found: dict[str, Any], size: tuple[int, int] | None, place: str) -> Pixels:
    claimed = found.get("size")
    if not isinstance(claimed, list) or len(claimed) != 2:
        raise BPGError(f"{place}: its size is no list of height and width")
    width, height = image_size(claimed[1], claimed[0], place, "mask")
    if size is not None and size != (width, height):
        raise BPGError(
            f"{place}: its mask has {width}x{height} pixels, but the image {size[0]}x{size[1]}"
        )
    return decode_coco(found.get("counts"), height, width, place)


def _outline(polygon: Any, place: str) -> tuple[Point, ...]:
    if not isinstance(polygon, list) or len(polygon) % 2:
        raise BPGError(f"{place}: is no list of x and y in turn")
    values = [number(value, place) for value in polygon]
    return tuple(zip(values[::2], values[1::2], strict=True))


def _union(
    outlines: Sequence[tuple[Point, ...]],
    size: tuple[int, int] | None,
    place: str,
    budget: Budget,
) -> Shape:
    """Return what any of the outlines encloses.

    An area takes an outline inside another for a hole, so that outlines whose boxes overlap are
    drawn one by one.
    """
    area = Area(tuple(outlines))
    points = [np.array(outline) for outline in outlines]
    boxes = [np.stack([corners.min(0), corners.max(0)]) for corners in points]
    if len(boxes) <= _COMPARED and not any(
        (one[0] < other[1]).all() and (other[0] < one[1]).all()
        for one, other in combinations(boxes, 2)
    ):
        return area
    if size is None:
        right, bottom = np.ceil(np.max([box[1] for box in boxes], 0)).clip(1).tolist()
        size = image_size(right, bottom, place)
    check_inside([Stroke(None, area)], *size, place)
    boxes = [np.stack([np.floor(box[0]), np.ceil(box[1])]).clip(0, size) for box in boxes]
    left, top = np.min([box[0] for box in boxes], 0).astype(int).tolist()
    right, bottom = np.max([box[1] for box in boxes], 0).astype(int).tolist()
    work = (right - left) * (bottom - top) + len(boxes) * _OUTLINE
    work += sum(int(np.prod(box[1] - box[0])) for box in boxes)
    # A few bytes may ask for hours of drawing; it counts for less than what is kept.
    budget.spend(work // _DRAWN_FOR_ONE)
    drawn = np.zeros((bottom - top, right - left), np.uint8)
    for corners in points:
        outline = tuple((x, y) for x, y in (corners - (left, top)).tolist())
        paint(drawn, covered(Area((outline,)), right - left, bottom - top, 1), 1)
    pixels = covered(Pixels(0, 0, drawn == 1), right - left, bottom - top, 1)
    budget.spend(pixels.mask.size)
    return Pixels(left + pixels.left, top + pixels.top, pixels.mask)
