from xml.sax.saxutils import quoteattr

import numpy as np
import pytest

from bpg.data.formats.annotations import parse_xml
from bpg.data.formats.cvat import cvat_strokes, is_cvat
from bpg.data.strokes import Area, Line, Pixels, Stroke
from tests.data.formats import fixtures


def shape(kind, label="cat", **attributes):
    text = " ".join(f"{key}={quoteattr(str(value))}" for key, value in attributes.items())
    return f"<{kind} label={quoteattr(label)} {text}></{kind}>"


def image(*shapes, name="a.jpg", size='width="12" height="9"'):
    return f'<image id="0" name={quoteattr(name)} {size}>{"".join(shapes)}</image>'


def xml(*parts):
    return f"<annotations><version>1.1</version>{''.join(parts)}</annotations>".encode()


def read(*parts):
    return cvat_strokes(parse_xml(xml(*parts), "a.xml"), "a.xml")


def strokes_of(*shapes):
    (found,) = read(image(*shapes)).images
    return found.strokes


def test_polylines_polygons_and_masks_are_strokes():
    found = strokes_of(
        shape("polyline", points="1.00,2.00;3.50,4.00"),
        shape("polygon", "dog", points="1,1;5,1;5,5"),
        shape("mask", rle="1, 2, 2, 1", left=4, top=5, width=3, height=2),
    )
    assert found == (
        Stroke("cat", Line(((1.0, 2.0), (3.5, 4.0)))),
        Stroke("dog", Area((((1.0, 1.0), (5.0, 1.0), (5.0, 5.0)),))),
        Stroke("cat", Pixels(5, 5, np.array([[1, 1], [0, 1]], bool))),
    )


def test_each_point_is_a_stroke():
    found = strokes_of(shape("points", points="1,2;3,4"))
    assert found == (Stroke("cat", Line(((1.0, 2.0),))), Stroke("cat", Line(((3.0, 4.0),))))


def test_z_order_decides_and_equal_ones_keep_their_order():
    orders = [("a", 1), ("b", 0), ("c", 1), ("d", -1), ("e", None)]
    shapes = [
        shape("points", tag, points="1,2", **({} if z is None else {"z_order": z}))
        for tag, z in orders
    ]
    assert [stroke.tag for stroke in strokes_of(*shapes)] == ["d", "b", "e", "a", "c"]


@pytest.mark.parametrize("where", ["project", "task", "job"])
def test_labels_are_listed_without_skeletons_and_their_joints(where):
    data = fixtures.cvat(fixtures.IMAGES, extras=True, where=where)
    found = cvat_strokes(parse_xml(data, "a.xml"), "a.xml")
    assert found.classes == ("background", "cat", "größe-2", "0", "unused")


def test_labels_may_stand_nowhere():
    data = fixtures.cvat(fixtures.IMAGES, where=None)
    found = cvat_strokes(parse_xml(data, "a.xml"), "a.xml")
    assert found.classes == ()
    assert len(found.images) == 2


def test_images_are_known_by_name():
    found = read('<image name="x/é 1.jpg" subset="train"/>', image(name="b.jpg")).images
    assert found[0].names == ("x/é 1.jpg", "é 1.jpg", "train/x/é 1.jpg")
    assert found[0].size is None
    assert found[1].names == ("b.jpg",)


def test_what_is_no_stroke_is_counted():
    found = read(
        '<track id="0"><box frame="0"/></track>' * 2,
        image(
            *map(shape, ["box", "ellipse", "cuboid", "tag", "tag"]),
            '<skeleton label="hand"><points label="1" points="1,2"/></skeleton>',
            shape("polyline", "", points="1,2"),
            '<points points="1,2"/>',
            shape("polyline", points="1,2", outside=1),
            shape("polygon", points="1,2;3,4"),
            shape("mask", rle="6", left=4, top=5, width=3, height=2),
        ),
    )
    assert found.images[0].strokes == ()
    assert found.left_out == {
        "track": 2,
        "box": 1,
        "ellipse": 1,
        "cuboid": 1,
        "tag": 2,
        "skeleton": 1,
        "polyline without a label": 1,
        "points without a label": 1,
        "polyline marked as outside": 1,
        "polygon with fewer than 3 points": 1,
        "empty mask": 1,
    }


def test_videos_have_tracks_only():
    found = read('<track id="0" label="cat"><polyline frame="0" outside="0" points="1,2"/></track>')
    assert found.images == ()
    assert found.left_out == {"track": 1}


def test_only_cvats_xml_is():
    assert is_cvat(parse_xml(xml(), "a"))
    assert is_cvat(parse_xml(b"<annotations><image/></annotations>", "a"))
    assert not is_cvat(parse_xml(b"<annotations/>", "a"))
    assert not is_cvat(parse_xml(b"<annotation><version/></annotation>", "a"))


BOX = {"left": 1, "top": 1, "width": 3, "height": 2}
BAD = {
    "no name": ('<image id="0"/>', "image 1: the attribute name is missing"),
    "name": (image(name="../"), "image 1: the attribute name is missing"),
    "half a size": (image(size='width="12"'), "image 'a.jpg': the image's height is 'None'"),
    "absurd size": (image(size='width="1e9" height="9"'), "impossible"),
    "no points": (image(shape("polyline")), "shape 1, point 1: is '' instead of two numbers"),
    "triple": (image(shape("polyline", points="1,2,3")), "'1,2,3' instead of two numbers"),
    "word": (image(shape("polyline", points="1,x")), "shape 1, point 1 is 'x' instead"),
    "nan": (image(shape("polyline", points="1,2;nan,2")), "point 2 is 'nan' instead"),
    "outside": (
        image(shape("polyline", points="20,1;21,2")),
        "image 'a.jpg': shape 1: lies wholly outside the 12x9",
    ),
    "far": (image(shape("polyline", points="1,1;1e300,2")), "lies far outside"),
    "z_order": (image(shape("points", points="1,1", z_order="x")), "z_order is 'x' instead"),
    "no rle": (image(shape("mask", **BOX)), "its rle is no list of numbers"),
    "rle": (image(shape("mask", rle="1, 2", **BOX)), "add up to 3 instead of 6"),
    "no box": (image(shape("mask", rle="6")), "the mask's width is 'None'"),
    "absurd box": (
        image(shape("mask", rle="6", left=0, top=0, width=10**6, height=10**6)),
        "impossible",
    ),
    "no left": (image(shape("mask", rle="6", width=3, height=2)), "left is 'None' instead"),
    "mask far": (
        image(shape("mask", rle="0,6", left=500, top=1, width=3, height=2)),
        "lies far outside",
    ),
}


@pytest.mark.parametrize(("part", "message"), BAD.values(), ids=BAD)
def test_faults_get_one_line_with_file_and_place(part, message):
    (fault,) = read(part).faults
    assert fault.startswith("a.xml: image ")
    assert message in fault
    assert "\n" not in fault


def test_every_fault_is_named_and_what_is_sound_is_read():
    found = read(
        image(
            shape("polyline", points="1,x", z_order=1),
            shape("points", points="20,1", z_order=9),
            shape("points", "dog", points="1,2", z_order=5),
            shape("points", points="1,2", z_order=4),
        ),
        '<image id="0"/>',
        image(shape("mask", rle="x", left=1, top=1, width=3, height=2), name="b.jpg"),
    )
    assert [fault.removeprefix("a.xml: ").partition(": ")[0] for fault in found.faults] == [
        "image 'a.jpg'",
        "image 'a.jpg'",
        "image 2",
        "image 'b.jpg'",
    ]
    # The number is the shape's in the file, whatever its order.
    assert "shape 2: lies wholly outside" in found.faults[1]
    first, second = found.images
    assert [stroke.tag for stroke in first.strokes] == ["cat", "dog"]
    assert first.places == tuple(f"a.xml: image 'a.jpg': shape {n}" for n in (4, 3))
    assert second.strokes == ()
