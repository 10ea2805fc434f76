"""Label Studio's JSON and JSON_MIN exports, pages of its API, and the names of its PNGs.

Source: <https://labelstud.io/guide/export>, `converter.py` and `brush.py` of the converter in
label-studio-sdk 2.1, and `openapi_schema.py` of the server's tasks. Coordinates are in percent of
the image's width and height, from its upper left corner.

Exports name annotators by their e-mail addresses: no message may quote one.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from bpg.data.formats.annotations import (
    Annotations,
    Faults,
    ImageStrokes,
    check_inside,
    checked_size,
    kind_text,
    number,
)
from bpg.data.formats.names import label_text, url_names
from bpg.data.formats.rle import Budget, decode_label_studio
from bpg.data.strokes import Area, Point, Shape, Stroke
from bpg.errors import BPGError

TOOL = "Label Studio"

_LABELS = ("brushlabels", "polygonlabels", "labels")
_REGION_LABELS = tuple(
    f"{shape}labels" for shape in ("brush", "polygon", "rectangle", "ellipse", "keypoint")
)
_STROKES = ("brush", "polygon", *_LABELS)
_PAGES = ("tasks", "results")
_IMAGE_KEYS = ("image", "img", "image_url", "url")
_IMAGE = re.compile(r"\.(jpe?g|png|tiff?|webp|bmp|gif)\b|^/data/(upload|local-files)/", re.I)
_PNG = re.compile(r"task-(.+?)-annotation-(.+?)-by-[^-]*-(.+)\.png", re.I)

_Object = dict[str, Any]


@dataclass(frozen=True)
class PngRegion:
    """What a PNG of the export "Brush labels to PNG" is about.

    Attributes:
        names: What the task calls its image, the best name first.
        size: (width, height) of the image.
        label: Its label; empty if the region has none, or several.
    """

    names: tuple[str, ...]
    size: tuple[int, int]
    label: str


@dataclass(frozen=True)
class _Annotation:
    """The results of one annotator on one task."""

    task: str
    key: str
    names: tuple[str, ...]
    results: Sequence[_Object]
    place: str


def is_label_studio(document: Any) -> bool:
    """Say whether a JSON document is Label Studio's: an export, a task, or a page of its API."""
    return any(
        _is_task(task) or _is_record(task) or _is_stored(task) or _is_alone(task)
        for task in _tasks(document)
    )


def _tasks(document: Any) -> list[Any]:
    """Return the tasks of an export, of a page of the API, or of a file of one task."""
    if isinstance(document, list):
        return document
    if isinstance(document, dict) and not _is_task(document) and not _is_stored(document):
        for key in _PAGES:
            if isinstance(document.get(key), list):
                return document[key]
    return [document]


def _is_task(task: Any) -> bool:
    """Say whether this is a task. Without `fields=all`, the API gives their numbers only."""
    lists = ("annotations", "completions", "predictions")
    return (
        isinstance(task, dict)
        and isinstance(task.get("data"), dict)
        and (any(isinstance(task.get(key), list) for key in lists) or "total_annotations" in task)
    )


def _is_record(task: Any) -> bool:
    """Say whether this is an entry of JSON_MIN: the task's data and results side by side.

    Scripts drop what they don't need, such as `annotation_id` and `lead_time`, so that regions tell
    as well. They stand in lists by control.
    """
    return isinstance(task, dict) and (
        ("annotation_id" in task and "lead_time" in task)
        or any(
            _is_region(entry)
            for entries in task.values()
            if isinstance(entries, list)
            for entry in entries
        )
    )


def _is_region(entry: Any) -> bool:
    """Say whether this is a region of JSON_MIN: labels by control, or a shape with its size."""
    if not isinstance(entry, dict):
        return False
    return any(isinstance(entry.get(key), list) for key in _REGION_LABELS) or (
        "original_width" in entry
        and "original_height" in entry
        and any(key in entry for key in ("rle", "points", "x"))
    )


def _is_alone(annotation: Any) -> bool:
    """Say whether this is an annotation that the API gives without its task's data."""
    return (
        isinstance(annotation, dict)
        and isinstance(annotation.get("result"), list)
        and isinstance(annotation.get("task"), int)
        and "completed_by" in annotation
    )


def _is_stored(task: Any) -> bool:
    """Say whether this is an annotation with its task inside, as cloud storages receive it."""
    return (
        isinstance(task, dict)
        and isinstance(task.get("task"), dict)
        and isinstance(task["task"].get("data"), dict)
        and "result" in task
    )


def label_studio_strokes(document: Any, name: str) -> Annotations:
    """Return what a JSON or JSON_MIN export holds, or a page of the API.

    Strokes are brush masks and polygons. All annotations of a task are read, later ones on top;
    cancelled ones, drafts, predictions and all other results are counted in `left_out`. What is
    missing, of another type, broken, or lies outside its image is among the `faults`, with the task
    and the region (counted from 1).

    Args:
        document: The parsed JSON.
        name: Its path, for messages.

    Raises:
        BPGError: The masks take too many pixels. The message is one line that names the file.
    """
    left_out: Counter[str] = Counter()
    budget, faults = Budget(name), Faults(name)
    images: dict[tuple[str, tuple[str, ...]], ImageStrokes] = {}
    for annotation in _annotations(document, name, left_out, faults):
        size, strokes = _strokes(annotation, left_out, budget, faults)
        with faults.noted():
            if not annotation.names:
                if strokes:
                    raise BPGError(f"{annotation.place}: its data names no image")
                left_out["task without an image"] += 1
                continue
            key = (annotation.task, annotation.names)
            before = images.get(key, ImageStrokes(annotation.names, None, (), annotation.place, ()))
            if size and before.size and size != before.size:
                raise BPGError(
                    f"{annotation.place}: drawn on {size[0]}x{size[1]} pixels, but another "
                    f"annotation on {before.size[0]}x{before.size[1]}"
                )
            images[key] = ImageStrokes(
                annotation.names,
                size or before.size,
                (*before.strokes, *(stroke for stroke, _ in strokes)),
                annotation.place,
                (*before.places, *(place for _, place in strokes)),
            )
    return Annotations(TOOL, tuple(images.values()), left_out=left_out, faults=faults.lines())


def png_key(file_name: str) -> str | None:
    """Return the name of an exported PNG without its annotator, as `png_names` has it.

    Args:
        file_name: Such as `task-7-annotation-12-by-1-tag-Car-0.png`, after task, annotation and
            annotator the control's name, the labels and a number. Folders before it are ignored.

    Returns:
        The key; None if the file is no PNG of Label Studio's.
    """
    # The exporter removes everything but letters, digits, @ and dots from the annotator's name.
    match = _PNG.fullmatch(PurePosixPath(file_name).name)
    return label_text(f"task-{match[1]}-annotation-{match[2]}-{match[3]}") if match else None


def png_names(document: Any, name: str) -> Mapping[str, PngRegion]:
    """Return which image and label the PNGs of the export "Brush labels to PNG" are about.

    Their names have no part of the image's, so that they can only be joined through the JSON or
    JSON_MIN export of the same project.

    Args:
        document: The parsed JSON.
        name: Its path, for messages.

    Returns:
        The regions, by `png_key` of the PNG's name.

    What has a fault is left out: `label_studio_strokes` names it.
    """
    found: dict[str, PngRegion] = {}
    faults = Faults(name)
    for annotation in _annotations(document, name, Counter(), faults):
        numbers: Counter[str] = Counter()
        for result in annotation.results:
            kind, value = result["type"], result["value"]
            if kind not in ("brushlabels", "labels") or "rle" not in value:
                continue
            # As the exporter does: labels as they stand, numbered by control and labels.
            raw = value.get(kind, ["no_label"])
            texts = map(str, raw) if isinstance(raw, list) else ()
            title = f"{label_text(result.get('from_name'))}-{'-'.join(texts)}"
            key = f"task-{annotation.task}-annotation-{annotation.key}-{title}-{numbers[title]}"
            numbers[title] += 1
            labels = _labels([result])
            with faults.noted():
                found[label_text(key.replace("/", "-").replace("\\", "-"))] = PngRegion(
                    annotation.names,
                    _size(result, annotation.place),
                    labels[0] if len(labels) == 1 else "",
                )
    return found


def _annotations(
    document: Any, name: str, left_out: Counter[str], faults: Faults
) -> Iterator[_Annotation]:
    """Yield the annotations that count, and one without results for each task that has none."""
    tasks = _tasks(document)
    # Entries of JSON_MIN without a region look like anything.
    records = any(map(_is_record, tasks))
    for count, task in enumerate(tasks, 1):
        place = f"{name}: task {count}"
        with faults.noted():
            if _is_stored(task):
                whole = {**task["task"], "annotations": [task]}
                yield from _of_task(whole, place, left_out, faults)
            elif _is_task(task):
                yield from _of_task(task, place, left_out, faults)
            elif records and isinstance(task, dict):
                yield _of_record(task, place)
            else:
                raise BPGError(
                    f"{place}: has no data or no annotations; export as JSON or JSON_MIN"
                )


def _of_task(
    task: _Object, place: str, left_out: Counter[str], faults: Faults
) -> Iterator[_Annotation]:
    for key, kind in (("drafts", "draft"), ("predictions", "prediction")):
        others = task.get(key)
        if isinstance(others, list) and others:
            left_out[kind] += len(others)
    annotations = task.get("annotations", task.get("completions"))
    if annotations is None and task.get("total_annotations"):
        raise BPGError(f"{place}: is without its annotations; ask the API with fields=all")
    annotations = [] if annotations is None else annotations
    if not isinstance(annotations, list) or not all(
        isinstance(annotation, dict) for annotation in annotations
    ):
        raise BPGError(f"{place}: its annotations are no list of objects")
    title = label_text(task.get("id"))
    names = _names(task["data"], task.get("file_upload"), annotations)
    found = False
    for annotation in sorted(annotations, key=lambda one: label_text(one.get("created_at"))):
        if annotation.get("was_cancelled") or annotation.get("skipped"):
            left_out["cancelled annotation"] += 1
            continue
        results = annotation.get("result") or []
        if not isinstance(results, list):
            raise BPGError(f"{place}: its result is no list")
        found = True
        checked = []
        for count, result in enumerate(results, 1):
            with faults.noted():
                checked.append(_result(result, f"{place}: result {count}"))
        yield _Annotation(title, label_text(annotation.get("id")), names, checked, place)
    if not found:
        yield _Annotation(title, "", names, (), place)


def _result(result: Any, place: str) -> _Object:
    if not isinstance(result, dict):
        raise BPGError(f"{place}: is no object")
    kind, value = result.get("type"), result.get("value")
    if not isinstance(kind, str):
        raise BPGError(f"{place}: has no type")
    kind = kind.lower()
    if kind in _STROKES and not isinstance(value, dict):
        raise BPGError(f"{place}: has no value")
    return {**result, "type": kind, "value": value if isinstance(value, dict) else {}}


def _of_record(record: _Object, place: str) -> _Annotation:
    """Return an entry of JSON_MIN: regions have neither type nor id, but their labels' key.

    They stand by control, so that the order of strokes of different controls is lost.
    """
    results: list[_Object] = []
    for control, entries in record.items():
        for entry in entries if isinstance(entries, list) else []:
            if not isinstance(entry, dict):
                continue
            keys = [key for key in entry if key.endswith("labels")]
            shape = "brush" if "rle" in entry else "polygon" if "points" in entry else ""
            kind = keys[0] if keys else shape or control
            result = {**entry, "type": kind, "from_name": control, "value": entry}
            if shape and kind in ("labels", shape):
                # Two results of one region: what tells that they are one is their shape.
                try:
                    result["id"] = json.dumps([entry.get("rle"), entry.get("points")])
                except RecursionError as error:
                    raise BPGError(f"{place}: its regions are nested too deeply") from error
            results.append(result)
    names = _names(record, record.get("file_upload"), ())
    title, key = (label_text(record.get(key)) for key in ("id", "annotation_id"))
    return _Annotation(title, key, names, results, place)


def _names(data: _Object, uploaded: Any, annotations: Iterable[_Object]) -> tuple[str, ...]:
    """Return the image's names: of the data that was drawn on, or else what looks like an image."""
    drawn_on = [
        result.get("to_name")
        for annotation in annotations
        if isinstance(annotation.get("result"), list)
        for result in annotation["result"]
        if isinstance(result, dict) and result.get("type") in _STROKES
    ]
    keys = [key for key in (*drawn_on, *_IMAGE_KEYS) if isinstance(key, str)]
    texts = [value for value in map(data.get, keys) if isinstance(value, str)]
    texts += [value for value in data.values() if isinstance(value, str) and _IMAGE.search(value)]
    return url_names(*texts[:1], uploaded)


def _strokes(
    annotation: _Annotation, left_out: Counter[str], budget: Budget, faults: Faults
) -> tuple[tuple[int, int] | None, list[tuple[Stroke, str]]]:
    """Return the image's size and the strokes of an annotation, each with its place.

    A region may be several results with one id: one with the shape, another with the labels, more
    with answers to questions about it.
    """
    regions: dict[Any, list[_Object]] = {}
    for count, result in enumerate(annotation.results):
        key = label_text(result.get("id"))
        regions.setdefault(key or count, []).append(result)
    size: tuple[int, int] | None = None
    strokes: list[tuple[Stroke, str]] = []
    for count, results in enumerate(regions.values(), 1):
        place = f"{annotation.place}: region {count}"
        parts = [result for result in results if result["type"] in _STROKES]
        others = [result["type"] for result in results if result["type"] not in _STROKES]
        shaped = [part for part in parts if "rle" in part["value"] or "points" in part["value"]]
        left_out.update(map(kind_text, others))
        if not shaped:
            # Such as a rectangle, the labels of which are a result of their own.
            left_out.update({} if others else {"region without a shape": 1})
            continue
        with faults.noted():
            found = _size(shaped[0], place)
            if size is not None and size != found:
                raise BPGError(f"{place}: drawn on another size of image than the regions before")
            size = found
            stroke = _stroke(shaped[0], _labels(parts), size, place, budget)
            if isinstance(stroke, str):
                left_out[stroke] += 1
                continue
            check_inside(stroke.shape, *size, place)
            strokes.append((stroke, place))
    return size, strokes


def _stroke(
    result: _Object, labels: Sequence[str], size: tuple[int, int], place: str, budget: Budget
) -> Stroke | str:
    """Return a region's stroke, or why it is left out."""
    value, shape = result["value"], "brush" if "rle" in result["value"] else "polygon"
    if len(labels) != 1:
        return f"{shape} with several labels" if labels else f"{shape} without a label"
    if result.get("image_rotation"):
        return f"{shape} on a turned image"
    drawn: Shape
    if shape == "brush":
        drawn = decode_label_studio(value["rle"], size[1], size[0], place)
        budget.spend(drawn.mask.size)
        if not drawn.mask.size:
            return "empty brush mask"
    else:
        points = _points(value["points"], size, place)
        if len(points) < 3:
            return "polygon with fewer than 3 points"
        drawn = Area((points,))
    return Stroke(labels[0], drawn)


def _labels(results: Iterable[_Object]) -> list[str]:
    """Return the labels of a region, each once."""
    lists = (result["value"].get(key) for result in results for key in _LABELS)
    labels = (label_text(label) for found in lists if isinstance(found, list) for label in found)
    return list(dict.fromkeys(filter(None, labels)))


def _size(result: _Object, place: str) -> tuple[int, int]:
    width, height = result.get("original_width"), result.get("original_height")
    if width is None and height is None:
        raise BPGError(f"{place}: has no original_width and original_height; export as JSON")
    return checked_size(width, height, place)


def _points(points: Any, size: tuple[int, int], place: str) -> tuple[Point, ...]:
    if not isinstance(points, list):
        raise BPGError(f"{place}: its points are no list")
    found = []
    for count, point in enumerate(points, 1):
        if not isinstance(point, list) or len(point) != 2:
            raise BPGError(f"{place}, point {count}: is no pair of numbers")
        x, y = (
            number(value, f"{place}, point {count}") / 100 * side
            for value, side in zip(point, size, strict=True)
        )
        found.append((x, y))
    return tuple(found)
