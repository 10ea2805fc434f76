import json

import numpy as np
import pytest
from pycocotools import mask as judge

from bpg.data.formats import annotations, rle
from bpg.data.formats.annotations import parse_json
from bpg.data.formats.coco import coco_strokes, is_coco
from bpg.data.formats.rle import encode_coco
from bpg.data.strokes import Area, Pixels, Stroke, covered, paint
from bpg.errors import BPGError
from tests.data.formats.encoders import encode_coco_text

SQUARE = [1, 1, 8, 1, 8, 8, 1, 8]
INSIDE = [3, 3, 6, 3, 6, 6, 3, 6]
APART = [9, 2, 11, 2, 11, 6]


def document(*annotations, images=None, categories=None, **more):
    whole = {
        "images": [{"id": 0, "file_name": "a.jpg", "width": 12, "height": 9}],
        "annotations": [
            {"id": number, "image_id": 0, "category_id": 0, **annotation}
            for number, annotation in enumerate(annotations)
        ],
        "categories": [{"id": 0, "name": "cat"}, {"id": 5, "name": "dog"}],
    }
    return {
        **whole,
        **({} if images is None else {"images": images}),
        **({} if categories is None else {"categories": categories}),
        **more,
    }


def read(value):
    return coco_strokes(parse_json(json.dumps(value).encode(), "a.json"), "a.json")


def strokes_of(*annotations, **more):
    (image,) = read(document(*annotations, **more)).images
    return image.strokes


def drawn(shape):
    canvas = np.zeros((9, 12), np.uint8)
    paint(canvas, covered(shape, 12, 9, 1), 1)
    return canvas


def points(flat):
    return tuple(zip(map(float, flat[::2]), map(float, flat[1::2]), strict=True))


def test_a_polygon_is_an_area():
    assert strokes_of({"segmentation": [SQUARE]}) == (Stroke("cat", Area((points(SQUARE),))),)


def test_the_list_around_a_single_polygon_may_be_missing():
    assert strokes_of({"segmentation": SQUARE}) == strokes_of({"segmentation": [SQUARE]})


def test_polygons_apart_are_one_stroke():
    (stroke,) = strokes_of({"segmentation": [SQUARE, APART]})
    assert stroke.shape == Area((points(SQUARE), points(APART)))


def test_overlapping_polygons_are_one_stroke_without_holes():
    for polygons in ([SQUARE, INSIDE], [SQUARE, SQUARE], [SQUARE, INSIDE, APART]):
        (stroke,) = strokes_of({"segmentation": polygons})
        assert isinstance(stroke.shape, Pixels)
        expected = np.max([drawn(Area((points(polygon),))) for polygon in polygons], 0)
        np.testing.assert_array_equal(drawn(stroke.shape), expected)


def test_overlapping_polygons_need_no_size_of_the_image():
    (stroke,) = strokes_of(
        {"segmentation": [SQUARE, INSIDE]}, images=[{"id": 0, "file_name": "a.jpg"}]
    )
    np.testing.assert_array_equal(drawn(stroke.shape), drawn(Area((points(SQUARE),))))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools
def test_polygons_agree_with_pycocotools():
    polygons = [SQUARE, INSIDE, APART]
    theirs = judge.decode(judge.merge(judge.frPyObjects(polygons, 9, 12)))
    (stroke,) = strokes_of({"segmentation": polygons})
    # Corners lie between pixels, so that both must cover the same ones, but for slanted sides.
    assert (drawn(stroke.shape) != theirs).sum() <= 3


@pytest.mark.parametrize("crowd", [0, 1])
@pytest.mark.parametrize("encode", [encode_coco, encode_coco_text])
def test_masks_are_read_of_crowds_or_not(encode, crowd):
    mask = np.zeros((9, 12), bool)
    mask[2:4, 5:9] = True
    code = {"counts": encode(mask), "size": [9, 12]}
    (stroke,) = strokes_of({"segmentation": code, "iscrowd": crowd})
    assert stroke == Stroke("cat", Pixels(5, 2, np.ones((2, 4), bool)))


def test_ids_may_have_gaps_and_be_texts():
    found = read(
        {
            "images": [
                {"id": 7, "file_name": "b.jpg", "width": 12, "height": 9},
                {"id": "x", "file_name": "a.jpg", "width": 12, "height": 9},
            ],
            "annotations": [
                {"image_id": "x", "category_id": "3", "segmentation": [SQUARE]},
                {"image_id": 7, "category_id": 0, "segmentation": [APART]},
            ],
            "categories": [{"id": 3, "name": "dog"}, {"id": 0, "name": 0}],
        }
    )
    assert [image.names for image in found.images] == [("b.jpg",), ("a.jpg",)]
    assert [image.strokes[0].tag for image in found.images] == ["0", "dog"]
    assert found.classes == ("dog", "0")


def test_names_come_from_file_name_and_url():
    image = {"id": 0, "file_name": "C:\\x\\a 1.jpg", "coco_url": "http://h/val/a%201.jpg"}
    (found,) = read(document(images=[image])).images
    assert found.names == ("x/a 1.jpg", "a 1.jpg", "val/a 1.jpg", "val/a%201.jpg", "a%201.jpg")
    image = {"id": 0, "coco_url": "http://h/b.jpg"}
    assert read(document(images=[image])).images[0].names == ("b.jpg",)


def test_what_is_no_stroke_is_counted():
    found = read(
        document(
            {"segmentation": [], "bbox": [1, 1, 2, 2]},
            {"bbox": [1, 1, 2, 2]},
            {"bbox": [1, 1, 2, 2], "keypoints": [1, 1, 2]},
            {"segmentation": None},
            {"segmentation": [[1, 1, 2, 2]]},
            {"segmentation": [[]]},
            {"segmentation": {"counts": [108], "size": [9, 12]}},
            {"segmentation": [SQUARE], "category_id": 9},
            categories=[{"id": 0, "name": "cat"}, {"id": 9, "name": ""}],
        )
    )
    assert found.images[0].strokes == ()
    assert found.classes == ("cat",)
    assert found.left_out == {
        "box": 2,
        "keypoints": 1,
        "empty annotation": 1,
        "polygon with fewer than 3 points": 2,
        "empty mask": 1,
        "annotation without a label": 1,
    }


def test_only_cocos_documents_are():
    assert is_coco(document())
    assert is_coco({"annotations": [], "categories": []})
    assert is_coco([{"image_id": 1, "category_id": 1}])
    assert not is_coco({"images": []})
    assert not is_coco([])
    assert not is_coco(5)


MANY = [[0, 0, 12, 0, 12, 9, 0, 9]] * 40
UNUSABLE = {
    "results": ([{"image_id": 1, "category_id": 1}], "a.json: COCO results name neither images"),
    "no images": ({"annotations": [], "categories": []}, "a.json: images is no list"),
    "no categories": (document(categories={}), "categories is no list"),
    "annotations": (document(annotations="x"), "annotations is no list"),
}
BAD = {
    "image": (document(images=[5]), "image 1: is no object"),
    "annotation": (document(annotations=[None]), "annotation 1: is no object"),
    "category": (document(categories=["cat"]), "category 1: is no object"),
    "no name": (document(images=[{"id": 0}]), "image 1 (id 0): has no file_name"),
    "no id": (document(images=[{"file_name": "a"}]), "image 1: its id is missing"),
    "id": (document(images=[{"id": [0], "file_name": "a"}]), "image 1: its id is missing"),
    "same image": (
        document(images=document()["images"] * 2),
        "image 2 (id 0): its id '0' occurs twice",
    ),
    "same category": (
        document(categories=[{"id": 1}] * 2),
        "category 2 (id 1): its id '1' occurs twice",
    ),
    "size": (document(images=[{"id": 0, "file_name": "a", "width": 5}]), "height is 'None'"),
    "unknown image": (
        document({"image_id": 8}),
        "annotation 1 (id 0): its image_id '8' is none of",
    ),
    "unknown category": (
        document({"category_id": 8}),
        "annotation 1 (id 0): its category_id '8' is none",
    ),
    "panoptic": (
        document({"segments_info": []}),
        "annotation 1 (id 0): panoptic COCO has its masks in PNG files",
    ),
    "text": (document({"segmentation": "x"}), "neither polygons nor a run-length code"),
    "odd": (
        document({"segmentation": [[1, 2, 3]]}),
        "annotation 1 (id 0), polygon 1: is no list of x and y in turn",
    ),
    "mixed": (document({"segmentation": [SQUARE, 5]}), "polygon 2: is no list of x and y"),
    "word": (document({"segmentation": [[1, "x"]]}), "polygon 1 is 'x' instead of a number"),
    "outside": (
        document({"segmentation": [[20, 1, 21, 2, 20, 2]]}),
        "annotation 1 (id 0): lies wholly outside",
    ),
    "far": (document({"segmentation": [[1, 1, 1e300, 2, 1, 2]] * 2}), "lies far outside"),
    "no size": (document({"segmentation": {"counts": [108]}}), "its size is no list"),
    "other size": (
        document({"segmentation": {"counts": [108], "size": [12, 9]}}),
        "its mask has 9x12 pixels, but the image 12x9",
    ),
    "counts": (document({"segmentation": {"counts": [8], "size": [9, 12]}}), "add up to 8"),
    "no counts": (document({"segmentation": {"size": [9, 12]}}), "no list of counts"),
    "absurd size": (
        document(
            {"segmentation": {"counts": [10**12], "size": [10**6, 10**6]}},
            images=[{"id": 0, "file_name": "a"}],
        ),
        "the mask's size of 1000000x1000000 pixels is impossible",
    ),
    "absurd polygons": (
        document(
            {"segmentation": [[0, 0, 1e9, 0, 1e9, 1e9]] * 2},
            images=[{"id": 0, "file_name": "a"}],
        ),
        "impossible",
    ),
}


@pytest.mark.parametrize(("value", "message"), UNUSABLE.values(), ids=UNUSABLE)
def test_unusable_files_get_one_line(value, message):
    with pytest.raises(BPGError) as caught:
        read(value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("value", "message"), BAD.values(), ids=BAD)
def test_faults_get_one_line_with_file_and_place(value, message):
    fault = read(value).faults[0]
    assert fault.startswith("a.json: ")
    assert message in fault
    assert "\n" not in fault


def test_every_fault_is_named_and_what_is_sound_is_read():
    found = read(
        document(
            {"segmentation": [SQUARE]},
            {"segmentation": [[1, 2, 3]], "id": 17},
            {"segmentation": "x", "id": "a\nb"},
            {"segmentation": [APART], "image_id": 4},  # of an image with a fault of its own
            {"segmentation": [APART], "category_id": 5},
            {"segmentation": [APART], "category_id": 6, "id": None},
            images=[
                {"id": 0, "file_name": "a.jpg", "width": 12, "height": 9},
                {"id": 4, "file_name": "b.jpg", "width": 0, "height": 9},
                {"id": 4, "file_name": "c.jpg"},
            ],
        )
    )
    assert [fault.removeprefix("a.json: ").partition(": ")[0] for fault in found.faults] == [
        "image 2 (id 4)",
        "image 3 (id 4)",
        "annotation 2 (id 17), polygon 1",
        "annotation 3 (id a b)",
        "annotation 6",
    ]
    (image,) = found.images
    assert [stroke.tag for stroke in image.strokes] == ["cat", "dog"]
    assert image.places == ("a.json: annotation 1 (id 0)", "a.json: annotation 5 (id 4)")


def test_of_many_faults_the_first_are_named_and_the_others_counted(monkeypatch):
    monkeypatch.setattr(annotations, "MOST_FAULTS", 3)
    three, four, nine = (read(document(*[{"image_id": 8}] * n)).faults for n in (3, 4, 9))
    assert len(three) == 3
    assert three == four[:3] == nine[:3]
    assert four[3:] == ("a.json: … and 1 more fault",)
    assert nine[3:] == ("a.json: … and 6 more faults",)


def test_behind_the_limit_of_all_masks_nothing_is_read(monkeypatch):
    monkeypatch.setattr(rle, "TOTAL_LIMIT", 700)
    full = {"segmentation": {"counts": [0, 108], "size": [9, 12]}}
    with pytest.raises(BPGError, match="its masks take more than"):
        read(document({"image_id": 8}, *[full] * 7, {"image_id": 9}))


def test_masks_have_a_limit_together(monkeypatch):
    monkeypatch.setattr(rle, "TOTAL_LIMIT", 700)
    full = {"segmentation": {"counts": [0, 108], "size": [9, 12]}}
    assert len(strokes_of(*[full] * 6)) == 6
    with pytest.raises(BPGError, match=r"a.json: its masks take more than 700 pixels"):
        strokes_of(*[full] * 7)


def test_drawing_polygons_has_a_limit(monkeypatch):
    monkeypatch.setattr(rle, "TOTAL_LIMIT", 1_600_000)
    assert len(strokes_of({"segmentation": MANY})) == 1
    with pytest.raises(BPGError, match=r"a.json: its masks take more than 1,600,000 pixels"):
        strokes_of({"segmentation": MANY}, {"segmentation": MANY})
