import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpg.data import scribbles
from bpg.data.scribbles import (
    Stroke,
    Strokes,
    label_map,
    rasterise,
    read_strokes,
    write_strokes,
)
from bpg.errors import BPGError

CLASSES = ["background", "cat", "dog"]


def xml(polygons="", size="<size><width>12</width><height>9</height><depth>3</depth></size>"):
    return f"<annotation><filename>a.jpg</filename>{size}{polygons}</annotation>"


def polygon(tag, *points):
    spots = "".join(f"<point><X>{x}</X><Y>{y}</Y></point>" for x, y in points)
    return f"<polygon><tag>{tag}</tag>{spots}</polygon>"


def read(tmp_path, text):
    path = tmp_path / "a.xml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_strokes(path)


def drawn(*strokes, width=3):
    return rasterise(Strokes(12, 9, tuple(strokes)), CLASSES, width)


def rows(text):
    labels = {".": 255, "0": 0, "1": 1, "2": 2}
    return [[labels[c] for c in row] for row in text.split()]


def test_the_official_layout_is_read(tmp_path):
    text = xml(polygon("cat", (1, 2), (3, 4)) + polygon("background", (0, 8)))
    assert read(tmp_path, text) == Strokes(
        12, 9, (Stroke("cat", ((1, 2), (3, 4))), Stroke("background", ((0, 8),)))
    )


def test_fractions_are_rounded_and_blanks_ignored(tmp_path):
    text = xml(polygon(" cat\n", (" 1.6 ", "2.4")))
    assert read(tmp_path, text).strokes == (Stroke("cat", ((2, 2),)),)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_is_written_is_read_again(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "round.xml"
    width, height = data.draw(st.integers(1, 600)), data.draw(st.integers(1, 600))
    inside = st.tuples(st.integers(0, width), st.integers(0, height))
    tags = st.sampled_from(["cat", "a & b", "<dog>", "größe"])
    stroke = st.builds(Stroke, tags, st.lists(inside, min_size=1, max_size=5).map(tuple))
    strokes = Strokes(width, height, tuple(data.draw(st.lists(stroke, max_size=4))))
    write_strokes(path, strokes)
    assert read_strokes(path) == strokes
    first = path.read_bytes()
    write_strokes(path, strokes)
    assert path.read_bytes() == first


BAD = {
    "no width": (xml(size="<size><height>9</height></size>"), "<size/width> is missing"),
    "no size": (xml(size=""), "<size/width> is missing"),
    "size is text": (xml(size="<size><width>x</width><height>9</height></size>"), "'x' instead"),
    "size 0": (xml(size="<size><width>0</width><height>9</height></size>"), "0x9 pixels"),
    "size below 0": (xml(size="<size><width>5</width><height>-9</height></size>"), "5x-9 pixels"),
    "absurd size": (xml(size="<size><width>1e9</width><height>9</height></size>"), "impossible"),
    "no tag": (xml(polygon("cat", (1, 1)) + "<polygon/>"), "stroke 2: <tag> is missing"),
    "blank tag": (xml(polygon(" ", (1, 1))), "stroke 1: <tag> is missing or empty"),
    "no points": (xml(polygon("cat")), "stroke 1: has no points"),
    "no X": (
        xml("<polygon><tag>cat</tag><point><Y>1</Y></point></polygon>"),
        "stroke 1, point 1: <X> is missing",
    ),
    "word": (xml(polygon("cat", (1, 1), (2, "two"))), "stroke 1, point 2: <Y> is 'two' instead"),
    "empty": (xml(polygon("cat", ("", 1))), "stroke 1, point 1: <X> is '' instead"),
    "nan": (xml(polygon("cat", ("nan", 1))), "'nan' instead of a number"),
    "infinite": (xml(polygon("cat", (1, "1e999"))), "'1e999' instead of a number"),
    "far outside": (xml(polygon("cat", (1, 1), (1, 19))), "stroke 1, point 2: (1, 19) lies far"),
    "huge": (xml(polygon("cat", (10**200, 1))), "lies far outside"),
    "outside": (
        xml(polygon("cat", (1, 1)) + polygon("cat", (13, 1), (14, 3))),
        "stroke 2: lies wholly outside the 12x9 image",
    ),
    "cut off": (xml(polygon("cat", (1, 1)))[:-30], "cut off"),
    "nothing": ("", "no valid XML"),
    "not XML": (b"\x89PNG\r\n\x1a\n\0\0", "no valid XML"),
    "other XML": ("<html/>", "<html> instead of <annotation>"),
    "encoding": (b"<?xml version='1.0' encoding='rot13'?><annotation/>", "no valid XML"),
    "wrong bytes": (xml(polygon("\xff", (1, 1))).encode("latin-1"), "no valid XML"),
    "entity bomb": (
        "<!DOCTYPE a [<!ENTITY b 'bbbbbbbbbb'><!ENTITY c '&b;&b;&b;&b;&b;&b;'>]>" + xml("&c;"),
        "no valid XML",
    ),
    "outer entity": (
        "<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/hostname'>]>" + xml("&b;"),
        "no valid XML",
    ),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_bad_files_get_one_line_with_file_and_place(tmp_path, text, message):
    with pytest.raises(BPGError) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "a.xml") + ": ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BPGError, match=r"none\.xml: cannot be read"):
        read_strokes(tmp_path / "none.xml")


def test_deep_nesting_and_large_files_do_no_harm(tmp_path, monkeypatch):
    deep = xml("<a>" * 100_000 + "</a>" * 100_000 + polygon("cat", (1, 1)))
    assert len(read(tmp_path, deep).strokes) == 1
    monkeypatch.setattr(scribbles, "FILE_LIMIT", 1000)
    with pytest.raises(BPGError, match="larger than 1,000 bytes"):
        read(tmp_path, deep)


def test_strokes_slightly_over_the_border_are_clipped(tmp_path):
    strokes = read(tmp_path, xml(polygon("cat", (10, 4), (13, 4))))
    expected = np.full((9, 12), 255)
    expected[4, 9:12] = 1
    expected[[3, 5], 10:12] = 1
    np.testing.assert_array_equal(rasterise(strokes, CLASSES, 3), expected)


def test_a_stroke_on_the_far_border_is_inside_for_tools_that_count_from_1(tmp_path):
    strokes = read(tmp_path, xml(polygon("cat", (12, 9), (12, 5))))
    assert (rasterise(strokes, CLASSES, 3)[5:, 11] == 1).all()


def test_lines_are_3_pixels_wide_with_round_ends_and_later_strokes_lie_on_top():
    row = Stroke("dog", ((2, 3), (9, 3)))
    column = Stroke("background", ((6, 1), (6, 7)))
    expected = """
        ......0.....
        .....000....
        ..22200022..
        .2222000222.
        ..22200022..
        .....000....
        .....000....
        .....000....
        ......0.....
    """
    np.testing.assert_array_equal(drawn(row, column), rows(expected))
    other_way = drawn(column, row)
    assert (other_way[2:5, 5:8] == 2).all()
    assert other_way[1, 6] == 0


def test_labels_follow_the_order_of_the_classes():
    stroke = Stroke("dog", ((4, 4), (7, 4)))
    for order, label in ((["dog", "cat"], 0), (["cat", "background", "dog"], 2)):
        labels = rasterise(Strokes(12, 9, (stroke,)), order, 3)
        assert set(np.unique(labels)) == {label, 255}
        assert labels.dtype == np.uint8


@pytest.mark.parametrize(("width", "pixels"), [(1, 1), (2, 4), (3, 5), (5, 21)])
def test_one_point_is_a_dot_of_the_lines_width(width, pixels):
    labels = drawn(Stroke("cat", ((5, 4),)), width=width)
    assert (labels == 1).sum() == pixels
    ys, xs = np.nonzero(labels == 1)
    assert np.ptp(xs) + 1 == np.ptp(ys) + 1 == width
    assert labels[4, 5] == 1


def test_width_1_is_the_plain_line():
    labels = drawn(Stroke("cat", ((1, 1), (4, 1), (4, 3))), width=1)
    assert sorted(zip(*np.nonzero(labels == 1), strict=True)) == [
        (1, 1), (1, 2), (1, 3), (1, 4), (2, 4), (3, 4)
    ]  # fmt: skip


def test_joints_of_wide_lines_have_no_notch():
    labels = drawn(Stroke("cat", ((2, 6), (8, 6), (8, 1))), width=5)
    assert labels[7, 9] == 1  # the outer corner, two pixels from (8, 6)


def test_label_map_reads_checks_and_draws(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text(xml(polygon("cat", (2, 2), (8, 2))))
    labels = label_map(path, (12, 9), CLASSES, 3)
    assert labels.shape == (9, 12)
    assert set(np.unique(labels)) == {1, 255}
    with pytest.raises(BPGError, match=r"a\.xml: drawn on 12x9 pixels, but the image has 9x12"):
        label_map(path, (9, 12), CLASSES, 3)
    with pytest.raises(BPGError, match=r"a\.xml: stroke 1: unknown tag 'cat'; the tags are sky, o"):
        label_map(path, (12, 9), ["sky", "other"], 3)
    path.write_text(xml())
    with pytest.raises(BPGError, match=r"a\.xml: no pixel is labelled"):
        label_map(path, (12, 9), CLASSES, 3)


SOUND = xml(polygon("cat", (1, 2), (3, 4)) + polygon("dog", (5, 5), (11, 8))).encode()
mutation = st.tuples(st.integers(0, len(SOUND) - 1), st.integers(0, 3), st.binary(max_size=4))


@settings(max_examples=60, deadline=None)
@given(st.lists(mutation, min_size=1, max_size=6), st.integers(0, len(SOUND)))
def test_damaged_files_give_strokes_or_one_line(tmp_path_factory, mutations, cut):
    data = bytearray(SOUND)
    for place, length, new in mutations:
        data[place : place + length] = new
    path = tmp_path_factory.getbasetemp() / "fuzz.xml"
    path.write_bytes(data[: cut or None])
    check_reading(path)


number = st.sampled_from(["0", "-1", "12", "13", "1e9", "-0", "", " 7", "0x1", "1_0", "٣", "inf"])


@settings(max_examples=60, deadline=None)
@given(number, number, st.lists(st.tuples(number, number), max_size=4))
def test_odd_numbers_give_strokes_or_one_line(tmp_path_factory, width, height, points):
    size = f"<size><width>{width}</width><height>{height}</height></size>"
    path = tmp_path_factory.getbasetemp() / "numbers.xml"
    path.write_text(xml(polygon("cat", *points), size), encoding="utf-8")
    check_reading(path)


def check_reading(path):
    try:
        strokes = read_strokes(path)
    except BPGError as error:
        assert str(error).startswith(f"{path}: ")
        assert "\n" not in str(error)
        return
    assert all(s.tag and s.points for s in strokes.strokes)
    if strokes.width * strokes.height < 10**6:
        labels = rasterise(strokes, sorted({s.tag for s in strokes.strokes}), 3)
        assert labels.shape == (strokes.height, strokes.width)
