"""COCO's JSON for segmentation.

Source: <https://cocodataset.org/#format-data> and `pycocotools/coco.py`. (0, 0) is the upper left
corner of the image.
"""

from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

from bpg.data.formats.annotations import (
    Annotations,
    Faults,
    ImageStrokes,
    check_inside,
    checked_size,
    number,
    optional_size,
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


def coco_strokes(document: Any, name: str) -> Annotations:
    """Return what a COCO data set holds: polygons and run-length codes, of crowds or not.

    An annotation is one stroke, however many polygons it has: it covers what any of them encloses.
    Boxes without a segmentation and keypoints are counted in `left_out`. What is missing, of
    another type, broken, or lies outside its image is among the `faults`, with the number of the
    entry in its list (counted from 1) and its id.

    Args:
        document: The parsed JSON.
        name: Its path, for messages.

    Raises:
        BPGError: The document holds results only, one of its lists is missing, or its masks take
            too many pixels. The message is one line that names the file.
    """
    if isinstance(document, list):
        raise BPGError(
            f"{name}: COCO results name neither images nor categories; "
            "export a data set, with images, annotations and categories"
        )
    images, annotations, categories = (_list(document, key, name) for key in _LISTS)
    faults = Faults(name)
    tags = _tags(categories, name, faults)
    known = _images(images, name, faults)
    strokes: dict[str, list[tuple[Stroke, str]]] = {key: [] for key in known}
    left_out: Counter[str] = Counter()
    budget = Budget(name)
    for count, annotation in enumerate(annotations, 1):
        place = _place(name, "annotation", count, annotation)
        with faults.noted():
            key = _reference(annotation, "image_id", known, "images", place)
            category = _reference(annotation, "category_id", tags, "categories", place)
            if (image := known[key]) is None:  # a fault that is noted already
                continue
            stroke = _stroke(annotation, tags[category], image.size, place, budget)
            if isinstance(stroke, str):
                left_out[stroke] += 1
            else:
                strokes[key].append((stroke, place))
    return Annotations(
        TOOL,
        tuple(
            replace(
                image,
                strokes=tuple(stroke for stroke, _ in strokes[key]),
                places=tuple(place for _, place in strokes[key]),
            )
            for key, image in known.items()
            if image is not None
        ),
        tuple(dict.fromkeys(filter(None, tags.values()))),
        left_out,
        faults.lines(),
    )


def _list(document: dict[str, Any], key: str, name: str) -> list[Any]:
    found = document.get(key)
    if not isinstance(found, list):
        raise BPGError(
            f"{name}: {key} is no list; export a data set, with images, annotations and categories"
        )
    return found


def _place(name: str, what: str, count: int, entry: Any) -> str:
    """Return what errors call an entry: its place in its list, and its id if it has one."""
    text = label_text(entry.get("id")) if isinstance(entry, dict) else ""
    identity = f" (id {' '.join(text.split())[:40]})" if text else ""
    return f"{name}: {what} {count}{identity}"


def _tags(categories: Sequence[Any], name: str, faults: Faults) -> dict[str, str]:
    """Return the categories' names by id."""
    tags: dict[str, str] = {}
    for count, category in enumerate(categories, 1):
        place = _place(name, "category", count, category)
        with faults.noted():
            key = _new_id(category, tags, place)
            tags[key] = label_text(category.get("name"))
    return tags


def _images(images: Sequence[Any], name: str, faults: Faults) -> dict[str, ImageStrokes | None]:
    """Return the images by id, None for those with a fault."""
    known: dict[str, ImageStrokes | None] = {}
    for count, image in enumerate(images, 1):
        place = _place(name, "image", count, image)
        with faults.noted():
            key = _new_id(image, known, place)
            known[key] = None
            # Label Studio exports its uploads with a prefix, which `url_names` takes off.
            given = image.get("file_name")
            names = (*relative_names(given), *url_names(image.get("coco_url"), given))
            if not names:
                raise BPGError(f"{place}: has no file_name")
            size = optional_size(image.get("width"), image.get("height"), place)
            place = f"{place} {names[0]!r}"
            known[key] = ImageStrokes(tuple(dict.fromkeys(names)), size, (), place, ())
    return known


def _new_id(entry: Any, known: Container[str], place: str) -> str:
    key = _id(entry, "id", place)
    if key in known:
        raise BPGError(f"{place}: its id {key[:40]!r} occurs twice")
    return key


def _reference(entry: Any, key: str, known: Container[str], of: str, place: str) -> str:
    found = _id(entry, key, place)
    if found not in known:
        raise BPGError(f"{place}: its {key} {found[:40]!r} is none of the {of}' ids")
    return found


def _id(entry: Any, key: str, place: str) -> str:
    """Return an id as text: some tools write numbers here and texts there."""
    if not isinstance(entry, dict):
        raise BPGError(f"{place}: is no object")
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
    if size is not None:
        check_inside(shape, *size, place)
    return Stroke(tag, shape)


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
    width, height = checked_size(claimed[1], claimed[0], place, "mask")
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
        size = checked_size(right, bottom, place)
    check_inside(area, *size, place)
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
