import json

import numpy as np
import pytest

from bpg.data.formats.annotations import parse_json
from bpg.data.formats.label_studio import (
    PngRegion,
    is_label_studio,
    label_studio_strokes,
    png_key,
    png_names,
)
from bpg.data.strokes import Area, Pixels, Stroke
from tests.data.formats.encoders import encode_label_studio
from tests.data.formats.fixtures import EMAIL

SIZE = {"original_width": 20, "original_height": 10, "image_rotation": 0, "to_name": "image"}
ALPHA = np.zeros((10, 20), np.uint8)
ALPHA[3:5, 7:10] = 255
CODE = encode_label_studio(ALPHA)
TRIANGLE = [[10, 20], [50, 20], [50, 90]]
BRUSHED = Pixels(7, 3, np.ones((2, 3), bool))
OUTLINED = Area((((2.0, 2.0), (10.0, 2.0), (10.0, 9.0)),))


def brush(*labels, key="brushlabels", code=CODE, **more):
    value = {"format": "rle", "rle": code}
    if key != "brush":
        value[key] = list(labels)
    return {**SIZE, "type": key, "from_name": "tag", "value": value, **more}


def polygon(*labels, points=TRIANGLE, key="polygonlabels", **more):
    value = {"points": points, "closed": True, key: list(labels)}
    return {**SIZE, "type": key, "from_name": "outline", "value": value, **more}


def annotation(*results, **more):
    return {"id": 3, "completed_by": {"email": EMAIL}, "result": list(results), **more}


def task(*annotations, data=None, **more):
    return {"id": 7, "data": data or {"image": "a.jpg"}, "annotations": list(annotations), **more}


def read_document(document):
    return label_studio_strokes(parse_json(json.dumps(document).encode(), "a.json"), "a.json")


def read(*tasks):
    return read_document(tasks)


def strokes_of(*results):
    (image,) = read(task(annotation(*results))).images
    return image.strokes


def test_brushes_and_polygons_are_strokes():
    found = read(task(annotation(brush("cat"), polygon("dog"))))
    (image,) = found.images
    assert image.strokes == (Stroke("cat", BRUSHED), Stroke("dog", OUTLINED))
    assert image.size == (20, 10)
    assert image.names == ("a.jpg",)
    assert found.left_out == {}


@pytest.mark.parametrize(
    "results",
    [
        [brush(key="brush", id="a"), brush("cat", key="labels", id="a")],
        [brush("cat", key="labels", id="a"), brush(key="brush", id="a")],
        [brush(key="brush", id="a"), {"type": "labels", "id": "a", "value": {"labels": ["cat"]}}],
        [brush("cat", id="a"), brush("cat", key="labels", id="a")],
        [brush("cat", id=5)],
        [brush("cat", key="labels")],
    ],
)
def test_two_results_with_one_id_are_one_region(results):
    assert strokes_of(*results) == (Stroke("cat", BRUSHED),)


def test_results_without_ids_are_regions_of_their_own():
    assert len(strokes_of(brush("cat"), brush("dog"))) == 2


def test_answers_about_a_region_leave_it_as_it_is():
    asked = {**polygon("cat", id="a"), "type": "choices"}
    asked["value"] = {**asked["value"], "choices": ["unsure"]}
    found = read(task(annotation(polygon("cat", id="a"), asked)))
    assert found.images[0].strokes == (Stroke("cat", OUTLINED),)
    assert found.left_out == {"choices": 1}


def test_what_is_no_stroke_is_counted():
    box = {"x": 1, "y": 1, "width": 5, "height": 5}
    found = read(
        task(
            annotation(
                {"type": "rectangle", "id": "a", "value": box},
                {"type": "labels", "id": "a", "value": {**box, "labels": ["cat"]}},
                *[
                    {"type": kind, "value": {kind: ["cat"]}}
                    for kind in ("ellipselabels", "choices")
                ],
                {"type": "relation", "from_id": "a", "to_id": "b"},
                {"type": "labels", "value": {"labels": ["cat"], "start": 0, "end": 5}},
                brush(),
                brush(key="brush"),
                brush("cat", "dog"),
                brush("cat", code=encode_label_studio(ALPHA * 0)),
                polygon("cat", points=[[1, 1], [2, 2]]),
                polygon("cat", image_rotation=90),
                polygon(""),
            ),
            annotation(brush("cat"), was_cancelled=True),
            drafts=[{"result": [brush("cat")]}],
            predictions=[{"result": [brush("cat")]}] * 2,
        ),
        task(data={"text": "words"}),
    )
    assert [image.strokes for image in found.images] == [()]
    assert found.left_out == {
        "rectangle": 1,
        "ellipselabels": 1,
        "choices": 1,
        "relation": 1,
        "region without a shape": 1,
        "brush without a label": 2,
        "brush with several labels": 1,
        "empty brush mask": 1,
        "polygon with fewer than 3 points": 1,
        "polygon on a turned image": 1,
        "polygon without a label": 1,
        "cancelled annotation": 1,
        "draft": 1,
        "prediction": 2,
        "task without an image": 1,
    }


def test_all_annotators_are_read_and_later_ones_lie_on_top():
    late = annotation(brush("late"), created_at="2026-01-02T00:00:00Z")
    early = annotation(brush("early"), created_at="2026-01-01T00:00:00Z")
    (image,) = read(task(late, early)).images
    assert [stroke.tag for stroke in image.strokes] == ["early", "late"]


def test_old_exports_call_annotations_completions():
    old = {"id": 1, "data": {"image": "a.jpg"}, "completions": [annotation(brush("cat"))]}
    assert len(read(old).images[0].strokes) == 1
    skipped = {**old, "completions": [annotation(brush("cat"), skipped=True)]}
    assert read(skipped).left_out == {"cancelled annotation": 1}


def test_a_cloud_storages_file_is_one_annotation_with_its_task():
    stored = {**annotation(brush("cat")), "task": {"id": 7, "data": {"image": "s3://b/x/a.jpg"}}}
    found = read_document(stored)
    assert found.images[0].names == ("x/a.jpg", "a.jpg")
    assert found.images[0].strokes == (Stroke("cat", BRUSHED),)


@pytest.mark.parametrize(
    ("data", "upload", "names"),
    [
        ({"image": "/data/upload/1/0123abcd-a%20b.jpg"}, None, {"0123abcd-a b.jpg", "a b.jpg"}),
        ({"image": "/data/local-files/?d=x/%C3%A9.jpg"}, None, {"x/é.jpg", "é.jpg"}),
        ({"image": "https://h/x/a.jpg?token=1"}, "0123abcd-b.jpg", {"x/a.jpg", "b.jpg"}),
        ({"photo": "a.tif", "text": "no image"}, None, {"a.tif"}),
        ({"text": "of a.jpg", "picture": "x/b.jpg"}, "c.jpg", {"c.jpg"}),
        ({"image": {"url": "a.jpg"}}, "0123abcd-b.jpg", {"b.jpg"}),
    ],
)
def test_names_come_from_the_data_or_the_upload(data, upload, names):
    (image,) = read(task(annotation(brush("cat")), data=data, file_upload=upload)).images
    assert names <= set(image.names)


def test_the_data_that_was_drawn_on_names_the_image():
    data = {"image": "thumbnail.jpg", "full": "full.jpg", "text": "words"}
    choice = {"type": "choices", "to_name": "text", "value": {"choices": ["a"]}}
    (image,) = read(task(annotation(choice, brush("cat", to_name="full")), data=data)).images
    assert image.names == ("full.jpg",)


def min_record(**more):
    size = {"original_width": 20, "original_height": 10}
    value = {"format": "rle", "rle": CODE, **size}
    record = {
        "image": "a.jpg",
        "id": 7,
        "light": "dark",
        "brush": [value],
        "labels": [{**value, "labels": ["cat"]}],
        "outline": [{"points": TRIANGLE, "polygonlabels": ["dog"], **size}],
        "box": [{"x": 1, "y": 1, "width": 2, "height": 2, "rectanglelabels": ["cat"], **size}],
        "about": [{"text": ["words"]}],
        "annotator": 1,
        "annotation_id": 3,
        "lead_time": 12.5,
    }
    return {**record, **more}


def test_json_min_joins_regions_by_their_shape():
    found = read(min_record())
    assert found.images[0].strokes == (Stroke("cat", BRUSHED), Stroke("dog", OUTLINED))
    assert found.left_out == {"rectanglelabels": 1, "about": 1}


def test_json_min_has_an_entry_for_each_annotator():
    found = read(min_record(), min_record(annotation_id=4), min_record(id=8, image="b.jpg"))
    assert [image.names for image in found.images] == [("a.jpg",), ("b.jpg",)]
    assert [len(image.strokes) for image in found.images] == [4, 2]


def test_only_label_studios_documents_are():
    assert is_label_studio([task()])
    assert is_label_studio(task())
    assert is_label_studio([min_record()])
    assert not is_label_studio([])
    assert not is_label_studio({"data": {}, "annotations": 5})
    assert not is_label_studio([{"image_id": 1, "category_id": 1}])
    assert not is_label_studio(None)


PNGS = {
    "task-7-annotation-3-by-1-tag-cat-0.png": "cat",
    "task-7-annotation-3-by-someone@example.org-tag-cat-1.png": "cat",
    "some folder/task-7-annotation-3-by--tag-a b-c-0.png": "a b-c",
    "task-7-annotation-3-by-1-tag-x-y-0.png": "x/y",
    "task-7-annotation-3-by-1-labels-größe-0.png": "größe",
    "task-7-annotation-3-by-1-tag-no_label-0.png": "",
    "task-7-annotation-3-by-1-tag-cat-dog-0.png": "",
}


def test_pngs_are_joined_through_the_json():
    results = [
        brush("cat"),
        polygon("cat"),
        brush("cat"),
        brush("a b-c"),
        brush("x/y"),
        brush(key="brush", id="r"),
        brush("größe", key="labels", id="r", from_name="labels"),
        brush("cat", "dog"),
        {**brush(), "value": {"format": "rle", "rle": CODE}},
    ]
    cancelled = annotation(brush("cat"), id=4, was_cancelled=True)
    found = png_names([task(annotation(*results), cancelled)], "a.json")
    assert found == {
        png_key(name): PngRegion(("a.jpg",), (20, 10), label) for name, label in PNGS.items()
    }
    assert not any("example" in key for key in found)


def test_json_min_joins_pngs_as_well():
    found = png_names([min_record()], "a.json")
    region = PngRegion(("a.jpg",), (20, 10), "cat")
    assert found == {png_key("task-7-annotation-3-by-1-labels-cat-0.png"): region}


def test_other_pngs_have_no_key():
    for name in ("a.png", "task-7.png", "task-7-annotation-3-by-1-tag-cat-0.npy", "", "task-.png"):
        assert png_key(name) is None


BAD = {
    "no task": ([task(), 5], "task 2: has no data or no annotations"),
    "annotations": ([task(annotations={"a": 1}, predictions=[])], "task 1: its annotations are no"),
    "annotation": ([task(5)], "task 1: its annotations are no list of objects"),
    "result": ([task({"result": 5})], "task 1: its result is no list"),
    "no object": ([task(annotation(5))], "task 1: result 1: is no object"),
    "no type": ([task(annotation({"value": {}}))], "task 1: result 1: has no type"),
    "no value": ([task(annotation({"type": "brush"}))], "task 1: result 1: has no value"),
    "no size": ([task(annotation(brush("cat", original_width=None)))], "width is 'None'"),
    "absurd size": ([task(annotation(brush("cat", original_width=10**9)))], "is impossible"),
    "two sizes": (
        [task(annotation(brush("cat"), polygon("cat", original_width=21)))],
        "region 2: drawn on another size",
    ),
    "two annotators": (
        [task(annotation(brush("cat")), annotation(polygon("cat", original_width=21)))],
        "drawn on 21x10 pixels, but another annotation on 20x10",
    ),
    "no name": ([task(annotation(brush("cat")), data={"text": "x"})], "its data names no image"),
    "code": ([task(annotation(brush("cat", code=[1, 2])))], "region 1: its rle is cut off"),
    "code of text": ([task(annotation(brush("cat", code="x")))], "its rle is no list of bytes"),
    "other code": (
        [task(annotation(brush("cat", code=encode_label_studio(ALPHA[1:]))))],
        "holds 720 bytes, but 20x10 pixels have 800",
    ),
    "points": ([task(annotation(polygon("cat", points={})))], "its points are no list"),
    "point": ([task(annotation(polygon("cat", points=[[1]])))], "point 1: is no pair of numbers"),
    "word": ([task(annotation(polygon("cat", points=[[1, "x"]])))], "point 1 is 'x' instead"),
    "far": ([task(annotation(polygon("cat", points=[[9e9, 1]] * 3)))], "lies far outside"),
}


@pytest.mark.parametrize(("tasks", "message"), BAD.values(), ids=BAD)
def test_faults_get_one_line_without_the_annotator(tasks, message):
    (fault,) = read(*tasks).faults
    assert fault.startswith("a.json: task ")
    assert message in fault
    assert "\n" not in fault
    assert EMAIL not in fault


def test_every_fault_is_named_and_what_is_sound_is_read():
    found = read(
        task(
            annotation(
                polygon("cat", points=[[1]]),
                5,
                brush("cat", code=[1, 2]),
                polygon("dog"),
            )
        ),
        5,
        task(5),
        task(annotation(polygon("cat")), data={"image": "b.jpg"}),
    )
    places = [fault.removeprefix("a.json: ").rpartition(": ")[0] for fault in found.faults]
    # A task's results are looked at before its regions.
    assert places == [
        "task 1: result 2",
        "task 1: region 1, point 1",
        "task 1: region 2",
        "task 2",
        "task 3",
    ]
    assert [[s.tag for s in image.strokes] for image in found.images] == [["dog"], ["cat"]]
    assert found.images[0].places == ("a.json: task 1: region 3",)
    assert set(png_names([5, task(annotation(brush("cat"), 5))], "a.json")) == {
        png_key("task-7-annotation-3-by-1-tag-cat-0.png")
    }


# What is no export: scripts' cuts of JSON_MIN, and what the API gives.


def without(record, *keys):
    return {key: value for key, value in record.items() if key not in keys}


BOOKKEEPING = ("annotator", "annotation_id", "lead_time", "id")


@pytest.mark.parametrize("keys", [BOOKKEEPING[1:2], BOOKKEEPING[2:3], BOOKKEEPING])
def test_json_min_is_known_by_its_regions(keys):
    cut = without(min_record(), *keys)
    assert is_label_studio([cut])
    found = read(cut, {"image": "b.jpg"})
    assert [image.strokes for image in found.images] == [
        (Stroke("cat", BRUSHED), Stroke("dog", OUTLINED)),
        (),
    ]
    assert found.images[1].names == ("b.jpg",)
    assert not found.faults


@pytest.mark.parametrize("key", ["outline", "labels", "box"])
def test_each_kind_of_region_tells_json_min(key):
    assert is_label_studio([{"image": "a.jpg", key: min_record()[key]}])
    assert not is_label_studio([{"image": "a.jpg", key: [{"points": TRIANGLE, "label": "cat"}]}])


def test_json_min_without_sizes_says_what_is_missing():
    region = {"points": TRIANGLE, "polygonlabels": ["cat"]}
    (fault,) = read({"image": "a.jpg", "label": [region]}).faults
    assert fault == (
        "a.json: task 1: region 1: has no original_width and original_height; export as JSON"
    )


@pytest.mark.parametrize(
    "page",
    [
        lambda tasks: {"tasks": tasks, "total": 9, "total_annotations": 1, "total_predictions": 0},
        lambda tasks: {"count": 9, "next": None, "previous": None, "results": tasks},
    ],
)
def test_a_page_of_the_api_holds_tasks(page):
    # As GET /api/tasks?fields=all has them: results of all tasks as texts, too.
    whole = task(
        annotation(brush("cat"), completed_by=1),
        annotations_results="[[]]",
        predictions=[],
        drafts=[],
        total_annotations=1,
    )
    document = page([whole, {**task(data={"image": "b.jpg"}), "total_annotations": 0}])
    assert is_label_studio(document)
    found = read_document(document)
    assert [image.names for image in found.images] == [("a.jpg",), ("b.jpg",)]
    assert found.images[0].strokes == (Stroke("cat", BRUSHED),)
    assert found.left_out == {}
    assert not found.faults
    assert png_names(document, "a.json").keys() == png_names([whole], "a.json").keys()
    assert not is_label_studio(page([{"id": 1, "title": "other"}]))


def test_what_the_api_gives_without_regions_or_data_says_what_to_ask_for():
    numbers = {"tasks": [{"id": 1, "data": {"image": "a.jpg"}, "total_annotations": 2}]}
    assert is_label_studio(numbers)
    (fault,) = read_document(numbers).faults
    assert fault == "a.json: task 1: is without its annotations; ask the API with fields=all"
    alone = [annotation(brush("cat"), task=7)]
    assert is_label_studio(alone)
    (fault,) = read_document(alone).faults
    assert "task 1: has no data or no annotations; export as JSON" in fault
