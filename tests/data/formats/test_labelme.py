import base64
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bpg.data.formats.labelme import is_labelme, read_labelme, write_labelme
from bpg.data.strokes import Area, Line, Pixels, Stroke, Strokes, covered
from bpg.errors import BPGError
from tests.data.formats import fixtures


def shape(kind, *points, label="cat", **more):
    return {"label": label, "points": list(points), "shape_type": kind, **more}


def document(*shapes, **more):
    size = {"imageWidth": 12, "imageHeight": 9}
    return {"version": "5.5.0", "shapes": list(shapes), "imagePath": "a.jpg", **size, **more}


def read(value, name="folder/a.json"):
    return read_labelme(json.dumps(value).encode(), name)


def strokes_of(*shapes):
    (image,) = read(document(*shapes)).images
    return image.strokes


def png(mask, mode=None):
    image = Image.fromarray(np.asarray(mask))
    file = io.BytesIO()
    (image.convert(mode) if mode else image).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def test_lines_points_and_polygons_are_strokes():
    found = strokes_of(
        shape("linestrip", [1, 2], [3.5, 4], [5, 6]),
        shape("line", [1, 2], [3, 4], label="dog"),
        shape("point", [7, 8]),
        shape("polygon", [1, 1], [5, 1], [5, 5]),
    )
    assert found == (
        Stroke("cat", Line(((1.0, 2.0), (3.5, 4.0), (5.0, 6.0)))),
        Stroke("dog", Line(((1.0, 2.0), (3.0, 4.0)))),
        Stroke("cat", Line(((7.0, 8.0),))),
        Stroke("cat", Area((((1.0, 1.0), (5.0, 1.0), (5.0, 5.0)),))),
    )


@pytest.mark.parametrize("mode", [None, "1", "L", "P", "RGB"])
def test_a_masks_corners_are_its_last_pixels(mode):
    mask = np.array([[255, 0, 255], [0, 255, 255]], np.uint8)
    for corners in ([[4, 5], [6, 6]], [[4.3, 5.9], [6.3, 6.9]], [[6, 6], [4, 5]]):
        (stroke,) = strokes_of(shape("mask", *corners, mask=png(mask, mode)))
        assert stroke.shape == Pixels(4, 5, mask > 0)


def test_masks_of_ones_are_no_blank_ones():
    (stroke,) = strokes_of(shape("mask", [4, 5], [5, 5], mask=png(np.ones((1, 2), np.uint8))))
    assert stroke.shape == Pixels(4, 5, np.ones((1, 2), bool))


def test_a_mask_whose_box_ends_behind_it_is_read_too():
    (stroke,) = strokes_of(shape("mask", [4, 5], [6, 6], mask=png(np.ones((1, 2), np.uint8))))
    assert stroke.shape == Pixels(4, 5, np.ones((1, 2), bool))


def test_special_labels():
    labels = ["__ignore__", "_background_", "0", 7, " a-b "]
    found = strokes_of(*(shape("point", [1, 1], label=label) for label in labels))
    assert [stroke.tag for stroke in found] == [None, "background", "0", "7", "a-b"]


def test_what_is_no_stroke_is_counted():
    found = read(
        document(
            *[shape(kind, [1, 1], [2, 2]) for kind in ("rectangle", "circle", "circle", "points")],
            shape("oriented_rectangle", [1, 1], [2, 1], [2, 2], [1, 2]),
            shape("linestrip", [1, 1], [2, 2], label=""),
            shape("linestrip", [1, 1], [2, 2], label=None),
            {"points": [[1, 1], [2, 2], [1, 2]], "shape_type": "polygon"},
            shape("polygon", [1, 1], [2, 2]),
            shape("mask", [1, 1], [2, 1], mask=png(np.zeros((1, 2), np.uint8))),
            shape(5, [1, 1]),
        )
    )
    assert found.images[0].strokes == ()
    assert found.left_out == {
        "rectangle": 1,
        "circle": 2,
        "points": 1,
        "oriented_rectangle": 1,
        "linestrip without a label": 2,
        "polygon without a label": 1,
        "polygon with fewer than 3 points": 1,
        "empty mask": 1,
        "unknown": 1,
    }


def test_old_files_have_polygons_without_type_or_size():
    data = fixtures.labelme("more/a.jpg", fixtures.FIRST, old=True, embedded=True)
    (image,) = read_labelme(data, "folder/b.json").images
    assert image.size is None
    assert image.names == ("images/more/a.jpg", "more/a.jpg", "a.jpg", "b")
    assert image.strokes == (fixtures.FIRST.strokes[2],)
    assert image.embedded == fixtures.photo(40, 30)


def test_the_file_itself_names_the_image_last():
    assert read(document()).images[0].names == ("a.jpg", "a")
    assert read(document(imagePath=None, imageData="")).images[0].names == ("a",)


def test_groups_flags_and_descriptions_have_no_influence():
    more = {"group_id": 5, "flags": {"a": True}, "description": "x"}
    assert strokes_of(shape("point", [1, 1], **more)) == strokes_of(shape("point", [1, 1]))


def test_only_labelmes_documents_are():
    assert is_labelme(document())
    assert is_labelme({"shapes": [], "imageData": None})
    assert not is_labelme({"shapes": []})
    assert not is_labelme([document()])
    assert not is_labelme(None)


MASK = png(np.ones((2, 3), np.uint8))
UNUSABLE = {
    "no list": (document(shapes={}), "a.json: has no list of shapes"),
    "a list": ([], "a.json: has no list of shapes"),
    "half a size": (document(imageWidth=None), "width is 'None' instead of a number"),
    "absurd size": (document(imageWidth=10**9), "impossible"),
}
BAD = {
    "no object": (document(5), "shape 1: is no JSON object"),
    "no points": (document(shape("line")), "shape 1: has no points"),
    "points": (document({**shape("line"), "points": 5}), "shape 1: has no points"),
    "point": (document(shape("line", [1, 1], [2])), "shape 1, point 2: is no pair"),
    "triple": (document(shape("line", [1, 1, 1])), "shape 1, point 1: is no pair"),
    "word": (document(shape("line", [1, "x"])), "shape 1, point 1 is 'x' instead of a number"),
    "list": (document(shape("line", [1, [2]])), "shape 1, point 1 is a list instead"),
    "two points": (document(shape("point", [1, 1], [2, 2])), "a point has 1 point instead of 2"),
    "outside": (document(shape("line", [20, 2], [21, 2])), "shape 1: lies wholly outside"),
    "far": (document(shape("line", [1, 2], [1e9, 2])), "lies far outside the 12x9 image"),
    "mask of 1 point": (document(shape("mask", [1, 1], mask=MASK)), "2 points instead of 1"),
    "no mask": (document(shape("mask", [1, 1], [3, 2])), "its mask: is no base64 text"),
    "no base64": (document(shape("mask", [1, 1], [3, 2], mask="é")), "is no base64 text"),
    "no PNG": (document(shape("mask", [1, 1], [3, 2], mask="AAAA")), "no JPEG or PNG image"),
    "other box": (document(shape("mask", [1, 1], [8, 2], mask=MASK)), "corners of another box"),
    "cut off": (document(shape("mask", [1, 1], [3, 2], mask=MASK[:60])), "cut off"),
    "image": (document(imageData=5), "imageData: is no base64 text"),
}


@pytest.mark.parametrize(("value", "message"), BAD.values(), ids=BAD)
def test_faults_get_one_line_with_file_and_place(value, message):
    (fault,) = read(value).faults
    assert fault.startswith("folder/a.json: ")
    assert message in fault
    assert "\n" not in fault


def test_every_fault_is_named_and_what_is_sound_is_read():
    found = read(
        document(
            shape("line", [1, "x"]),
            shape("circle", [1, 1], [2, 2]),
            shape("point", [90, 90]),
            shape("point", [1, 1]),
            5,
        )
    )
    assert [fault.partition("shape ")[2][0] for fault in found.faults] == ["1", "3", "5"]
    assert len(found.images[0].strokes) == 1
    assert found.images[0].places == ("folder/a.json: shape 4",)


@pytest.mark.parametrize(("value", "message"), UNUSABLE.values(), ids=UNUSABLE)
def test_unusable_files_get_one_line(value, message):
    with pytest.raises(BPGError) as caught:
        read(value)
    assert str(caught.value).startswith("folder/a.json: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_small_png_of_many_pixels_is_refused_undecoded():
    file = io.BytesIO()
    Image.new("1", (8000, 8000)).save(file, "PNG")
    mask = base64.b64encode(file.getvalue()).decode()
    (fault,) = read(document(shape("mask", [0, 0], [7999, 7999], mask=mask))).faults
    assert "shape 1: its mask: 8000x8000 pixels are more than" in fault


corner = st.tuples(st.integers(0, 12), st.integers(0, 9)).map(lambda p: (float(p[0]), float(p[1])))
lines = st.lists(corner, min_size=1, max_size=4).map(lambda points: Line(tuple(points)))
areas = st.lists(corner, min_size=3, max_size=5).map(lambda points: Area((tuple(points),)))
tags = st.sampled_from([None, "background", "cat", "größe", "0", 'a "b"'])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.builds(Stroke, tags, lines | areas), max_size=5))
def test_what_is_written_is_read_again(tmp_path_factory, strokes):
    path = tmp_path_factory.getbasetemp() / "round.json"
    drawn = Strokes(12, 9, tuple(strokes))
    write_labelme(path, drawn, "photos/é 1.jpg")
    (image,) = read_labelme(path.read_bytes(), str(path)).images
    assert Strokes(*image.size, image.strokes) == drawn
    assert image.names[0] == "photos/é 1.jpg"
    first = path.read_bytes()
    write_labelme(path, drawn, "photos/é 1.jpg")
    assert path.read_bytes() == first


def test_holes_and_pixels_are_written_as_masks(tmp_path):
    square = ((1.0, 1.0), (8.0, 1.0), (8.0, 8.0), (1.0, 8.0))
    hole = ((3.0, 3.0), (6.0, 3.0), (6.0, 6.0), (3.0, 6.0))
    painted = Pixels(-1, 7, np.ones((4, 3), bool))
    beyond = Pixels(40, 40, np.ones((4, 3), bool))
    strokes = tuple(Stroke("cat", drawn) for drawn in (Area((square, hole)), painted, beyond))
    write_labelme(tmp_path / "a.json", Strokes(12, 9, strokes), "a.jpg")
    (image,) = read_labelme((tmp_path / "a.json").read_bytes(), "a.json").images
    assert [stroke.shape for stroke in image.strokes] == [
        covered(stroke.shape, 12, 9, 1) for stroke in strokes[:2]
    ]
