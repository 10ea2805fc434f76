import json

import numpy as np
import pytest
from pycocotools import mask as theirs

from bpg.data.formats.annotations import parse_json
from bpg.data.formats.coco import coco_strokes
from bpg.data.formats.coco_writer import write_coco
from bpg.data.strokes import Area, Line, Pixels, Stroke, Strokes, covered, rasterise

CLASSES = ("background", "größe 2", "0")
LINE = 3
PAINTED = Pixels(4, 2, np.array([[True, False, True], [False, True, True]]))
STROKES = {
    "a b/é.png": Strokes(
        30,
        20,
        (
            Stroke("0", Line(((2.5, 3.5), (25.5, 12.5)))),
            Stroke("background", Line(((29.5, 19.5),))),  # ends with the image's last pixel
            Stroke("größe 2", Area((((10, 1), (20, 1), (15, 18)),))),
            Stroke("0", PAINTED),
        ),
    ),
    "empty.png": Strokes(5, 4),
    "c.png": Strokes(7, 9, (Stroke("0", Pixels(0, 0, np.ones((9, 7), bool))),)),
}


@pytest.fixture
def path(tmp_path):
    write_coco(tmp_path / "strokes.json", STROKES, CLASSES, LINE)
    return tmp_path / "strokes.json"


def test_our_reader_finds_the_same_label_maps(path):
    found = coco_strokes(parse_json(path.read_bytes(), "a"), "a")
    assert not found.faults
    assert found.classes == CLASSES
    assert [image.names[0] for image in found.images] == list(STROKES)
    for image, strokes in zip(found.images, STROKES.values(), strict=True):
        again = Strokes(*image.size, image.strokes)
        expected = rasterise(strokes, CLASSES, LINE)
        assert np.array_equal(rasterise(again, CLASSES, LINE), expected)


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # pycocotools beside NumPy 2
def test_cocos_own_code_finds_the_pixels_area_and_box(path):
    document = json.loads(path.read_text(encoding="utf-8"))
    strokes = [(one, stroke) for one in STROKES.values() for stroke in one.strokes]
    assert len(document["annotations"]) == len(strokes)
    for entry, (image, stroke) in zip(document["annotations"], strokes, strict=True):
        code = theirs.frPyObjects(entry["segmentation"], image.height, image.width)
        mask = theirs.decode(code).astype(bool)
        pixels = covered(stroke.shape, image.width, image.height, LINE)
        box = mask[pixels.top :, pixels.left :][: pixels.mask.shape[0], : pixels.mask.shape[1]]
        assert np.array_equal(box, pixels.mask)
        assert mask.sum() == pixels.mask.sum() == entry["area"]
        assert theirs.toBbox(code).tolist() == entry["bbox"]
        assert CLASSES[entry["category_id"]] == stroke.tag


def test_equal_strokes_give_equal_bytes(path):
    first = path.read_bytes()
    write_coco(path, dict(STROKES), list(CLASSES), LINE)
    assert path.read_bytes() == first


def test_a_stroke_beyond_the_image_is_left_out(path):
    outside = Strokes(9, 9, (Stroke("0", Line(((40.0, 3.0),))), Stroke("0", Line(((4.5, 4.5),)))))
    write_coco(path, {"a.png": outside}, CLASSES, LINE)
    (entry,) = json.loads(path.read_text(encoding="utf-8"))["annotations"]
    assert entry["bbox"] == [3, 3, 3, 3]


@pytest.mark.parametrize("tag", [None, "cat"])
def test_a_stroke_without_a_category_is_no_stroke_of_coco(path, tag):
    with pytest.raises(ValueError, match="have a category, not"):
        write_coco(path, {"a.png": Strokes(9, 9, (Stroke(tag, PAINTED),))}, CLASSES, LINE)
