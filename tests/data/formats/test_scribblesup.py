import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpg.data.formats.scribblesup import read_scribblesup, write_scribblesup
from bpg.data.strokes import Line, Stroke, Strokes, rasterise
from bpg.errors import BPGError


def xml(polygons="", size="<size><width>12</width><height>9</height><depth>3</depth></size>"):
    return f"<annotation><filename>a.jpg</filename>{size}{polygons}</annotation>"


def polygon(tag, *points):
    spots = "".join(f"<point><X>{x}</X><Y>{y}</Y></point>" for x, y in points)
    return f"<polygon><tag>{tag}</tag>{spots}</polygon>"


def annotations(text, name="a.xml"):
    return read_scribblesup(text if isinstance(text, bytes) else text.encode(), name)


def read(text, name="a.xml"):
    (image,) = annotations(text, name).images
    return image


def line(tag, *points):
    """A stroke through the middle of these pixels."""
    return Stroke(tag, Line(tuple((x + 0.5, y + 0.5) for x, y in points)))


def test_the_official_layout_is_read():
    image = read(xml(polygon("cat", (1, 2), (3, 4)) + polygon("background", (0, 8))))
    assert image.size == (12, 9)
    assert image.names == ("a", "a.jpg")
    assert image.strokes == (line("cat", (1, 2), (3, 4)), line("background", (0, 8)))


def test_fractions_are_kept_and_blanks_ignored():
    assert read(xml(polygon(" cat\n", (" 1.5 ", "2.25")))).strokes == (line("cat", (1.5, 2.25)),)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_is_written_is_read_again(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "round.xml"
    width, height = data.draw(st.integers(1, 600)), data.draw(st.integers(1, 600))
    inside = st.tuples(st.integers(0, width), st.integers(0, height))
    tags = st.sampled_from(["cat", "a & b", "<dog>", "größe", "0"])
    stroke = st.builds(
        lambda tag, points: line(tag, *points), tags, st.lists(inside, min_size=1, max_size=5)
    )
    strokes = Strokes(width, height, tuple(data.draw(st.lists(stroke, max_size=4))))
    write_scribblesup(path, strokes)
    image = read(path.read_bytes(), str(path))
    assert Strokes(*image.size, image.strokes) == strokes
    first = path.read_bytes()
    write_scribblesup(path, strokes)
    assert path.read_bytes() == first


BAD = {
    "no width": (xml(size="<size><height>9</height></size>"), "<size/width> is missing"),
    "no size": (xml(size=""), "<size/width> is missing"),
    "size is text": (xml(size="<size><width>x</width><height>9</height></size>"), "width is 'x' i"),
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
    "far outside": (xml(polygon("cat", (1, 1), (1, 19))), "stroke 1: (1.5, 19.5) lies far"),
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
def test_faults_get_one_line_with_file_and_place(text, message):
    try:
        (fault,) = annotations(text).faults
    except BPGError as error:  # of the file as a whole
        fault = str(error)
    assert fault.startswith("a.xml: ")
    assert message in fault
    assert "\n" not in fault


def test_every_fault_is_named_and_what_is_sound_is_read():
    found = annotations(
        xml(polygon("cat", ("x", 1)) + polygon("dog", (1, 1)) + polygon("cat", (90, 1)))
    )
    assert [fault.split(": ")[1] for fault in found.faults] == ["stroke 1, point 1", "stroke 3"]
    assert [stroke.tag for stroke in found.images[0].strokes] == ["dog"]
    assert found.images[0].places == ("a.xml: stroke 2",)


def test_deep_nesting_does_no_harm():
    deep = xml("<a>" * 100_000 + "</a>" * 100_000 + polygon("cat", (1, 1)))
    assert len(read(deep).strokes) == 1


def test_a_stroke_on_the_far_border_is_inside_for_tools_that_count_from_1():
    strokes = read(xml(polygon("cat", (12, 9), (12, 5)))).strokes
    assert (rasterise(Strokes(12, 9, strokes), ["other", "cat"], 3)[5:, 11] == 1).all()


SOUND = xml(polygon("cat", (1, 2), (3, 4)) + polygon("dog", (5, 5), (11, 8))).encode()
mutation = st.tuples(st.integers(0, len(SOUND) - 1), st.integers(0, 3), st.binary(max_size=4))


@settings(max_examples=60, deadline=None)
@given(st.lists(mutation, min_size=1, max_size=6), st.integers(0, len(SOUND)))
def test_damaged_files_give_strokes_or_one_line(mutations, cut):
    data = bytearray(SOUND)
    for place, length, new in mutations:
        data[place : place + length] = new
    check_reading(bytes(data[: cut or None]))


number = st.sampled_from(["0", "-1", "12", "13", "1e9", "-0", "", " 7", "0x1", "1_0", "٣", "inf"])


@settings(max_examples=60, deadline=None)
@given(number, number, st.lists(st.tuples(number, number), max_size=4))
def test_odd_numbers_give_strokes_or_one_line(width, height, points):
    size = f"<size><width>{width}</width><height>{height}</height></size>"
    check_reading(xml(polygon("cat", *points), size).encode())


def check_reading(data):
    try:
        image = read(data)
    except BPGError as error:
        assert str(error).startswith("a.xml: ")
        assert "\n" not in str(error)
        return
    assert all(stroke.tag and stroke.shape.points for stroke in image.strokes)
    width, height = image.size
    if width * height < 10**6:
        tags = sorted({stroke.tag for stroke in image.strokes})
        assert rasterise(Strokes(width, height, image.strokes), tags, 3).shape == (height, width)
