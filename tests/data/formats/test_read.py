import copy
import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpg.data.formats.annotations import Annotations
from bpg.data.formats.read import read_annotations
from bpg.data.strokes import Line, Strokes, covered, rasterise
from bpg.errors import BPGError
from tests.data.formats import fixtures
from tests.data.formats.fixtures import EXTRAS, FIRST, IMAGES, LINE_WIDTH

FILES = {
    "labelme": ("labelme", lambda **options: fixtures.labelme("café 1.jpg", FIRST, **options)),
    "cvat": ("CVAT", lambda **options: fixtures.cvat(IMAGES, **options)),
    "coco": ("COCO", lambda **options: fixtures.coco(IMAGES, **options)),
    "label_studio": ("Label Studio", lambda **options: fixtures.label_studio(IMAGES, **options)),
    "label_studio_min": (
        "Label Studio",
        lambda **options: fixtures.label_studio_min(IMAGES, **options),
    ),
}
SOUND = {
    **{name: make(extras=True) for name, (_, make) in FILES.items()},
    "old labelme": fixtures.labelme("a.jpg", FIRST, old=True, embedded=True),
    "uncompressed coco": fixtures.coco(IMAGES, compressed=False),
    "page of Label Studio's API": fixtures.dumped(
        {"tasks": json.loads(fixtures.label_studio(IMAGES, extras=True)), "total": 2}
    ),
    "cut label_studio_min": fixtures.dumped(
        [
            {key: record[key] for key in record.keys() - {"annotation_id", "lead_time"}}
            for record in json.loads(fixtures.label_studio_min(IMAGES))
        ]
    ),
    "scribblesup": fixtures.scribblesup("a", FIRST),
    "VOC": fixtures.voc_boxes(),
    "LabelMe": fixtures.labelme_web(),
}


@pytest.fixture
def read(tmp_path):
    def reading(data, name="a.json"):
        path = tmp_path / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return read_annotations(path)

    return reading


def drawn(strokes):
    """Strokes as tag and pixels: what a tool has as a line, another has as a mask."""
    return [
        (stroke.tag, covered(stroke.shape, strokes.width, strokes.height, LINE_WIDTH))
        for stroke in strokes.strokes
    ]


@pytest.mark.parametrize("extras", [False, True])
@pytest.mark.parametrize("tool", FILES)
def test_all_tools_give_the_same_strokes(read, tool, extras):
    title, make = FILES[tool]
    found = read(make(extras=extras))
    assert found.tool == title
    assert found.left_out == (EXTRAS[tool] if extras else {})
    assert not found.faults
    assert len(found.images) == (1 if tool == "labelme" else 2)
    for image in found.images:
        (name,) = [name for name in IMAGES if name in image.names]
        assert image.size == (IMAGES[name].width, IMAGES[name].height)
        strokes = drawn(Strokes(*image.size, image.strokes))
        if tool == "label_studio_min":  # by control: tag, labels, polygon
            assert Counter(strokes) == Counter(drawn(IMAGES[name]))
        else:
            assert strokes == drawn(IMAGES[name])


def test_scribblesup_too(read):
    (image,) = read(fixtures.scribblesup("a", FIRST), "a.xml").images
    lines = tuple(stroke for stroke in FIRST.strokes if isinstance(stroke.shape, Line))
    assert image.strokes == lines


@pytest.mark.parametrize("tool", FILES)
def test_the_ending_of_the_name_does_not_matter(read, tool):
    title, make = FILES[tool]
    for name in ("a.xml", "a.json", "a", "a.txt"):
        assert read(make(), name).tool == title


def test_a_byte_order_mark_does_not_matter(read):
    assert read(b"\xef\xbb\xbf" + SOUND["labelme"]).tool == "labelme"
    assert read(b"\xef\xbb\xbf" + SOUND["cvat"]).tool == "CVAT"
    text = SOUND["cvat"].decode().replace("utf-8", "utf-16")
    assert read(text.encode("utf-16"), "a.bin").tool == "CVAT"


NONE = {
    "text": ("hello", "a.txt"),
    "settings": ("[section]\nkey = 1\n", "a.ini"),
    "lines of JSON": ('{"a": 1}\n{"b": 2}\n', "log.jsonl"),
    "other JSON": ('{"name": "x", "shapes": []}', "package.json"),
    "empty list": ("[]", "a.json"),
    "a number": ("5", "a.json"),
    "numbers": ("[[1, 2], [3]]", "a.json"),
    "image": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a.png"),
    "web page": ("<!DOCTYPE html><html><p>a<br></html>", "a.html"),
    "drawing": ("<svg><polygon points='1,2'/></svg>", "a.svg"),
    "other annotations": ("<annotations><note/></annotations>", "a.xml"),
    "nothing": ("", "a.txt"),
}


@pytest.mark.parametrize(("data", "name"), NONE.values(), ids=NONE)
def test_what_is_no_annotation_gives_none(read, data, name):
    assert read(data, name) is None


BAD = {
    "VOC": (fixtures.voc_boxes(), "a.xml", "VOC's boxes"),
    "LabelMe": (fixtures.labelme_web(), "a.xml", "the LabelMe web tool"),
    "no tool's": ("<annotation/>", "a.xml", "no strokes of ScribbleSup's"),
    "empty JSON": ("", "a.json", "no valid JSON"),
    "empty XML": ("", "a.xml", "no valid XML"),
    "cut off JSON": (SOUND["coco"][:-9], "a.txt", "no valid JSON, or cut off"),
    "cut off XML": (SOUND["cvat"][:-9], "a.txt", "no valid XML, or cut off"),
    "nan": ('{"shapes": [NaN], "imagePath": "a"}', "a.json", "NaN is no number"),
    "deep": ('{"shapes": ' + "[" * 10**5, "a.json", "no valid JSON"),
    "long number": ('{"shapes": ' + "9" * 10**5 + "}", "a.json", "no valid JSON"),
    "results": ('[{"image_id": 1, "category_id": 2}]', "a.json", "export a data set"),
}


@pytest.mark.parametrize(("data", "name", "message"), BAD.values(), ids=BAD)
def test_broken_and_unusable_files_are_named(read, data, name, message):
    with pytest.raises(BPGError) as caught:
        read(data, name)
    assert f"{name}: " in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_of_keys_given_twice_the_last_counts(read):
    assert read('{"shapes": 5, "imagePath": "a.jpg", "shapes": []}').images[0].names[0] == "a.jpg"


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BPGError, match=r"a\.json: cannot be read"):
        read_annotations(tmp_path / "a.json")


def check_reading(path, data):
    path.write_bytes(data)
    try:
        found = read_annotations(path)
    except BPGError as error:
        assert str(error).startswith(f"{path}: ")
        assert "\n" not in str(error)
        assert fixtures.EMAIL not in str(error)
        str(error).encode()
        return
    assert found is None or isinstance(found, Annotations)
    for fault in found.faults if found else ():
        assert fault.startswith(f"{path}: ")
        assert "\n" not in fault
        assert fixtures.EMAIL not in fault
        fault.encode()
    for image in found.images if found else ():
        assert image.names
        assert len(image.places) == len(image.strokes)
        assert not any("\0" in name or name.startswith("/") for name in image.names)
        assert all(stroke.tag is None or stroke.tag.strip() for stroke in image.strokes)
        " ".join([*image.names, image.place, *(s.tag or "" for s in image.strokes)]).encode()
        if image.size and np.prod(image.size) < 10**6:
            tags = sorted({stroke.tag for stroke in image.strokes} - {None})
            rasterise(Strokes(*image.size, image.strokes), tags, 3)
    if found:
        assert all(kind and count > 0 for kind, count in Counter(found.left_out).items())


odd = st.sampled_from(
    [
        *(None, True, False, 0, -1, 1, 3, 2**31, 10**30, -(10**400), 0.5, 1e308, -1e308),
        *("", "0", "x", "nan", "inf", "1e999", "\0", "\ud800", "a\nb", "../../etc/passwd", "//["),
        *([], [[]], [None], {}, {"a": 1}, [{}], [1, 2], "rle", "x" * 5000),
        *([[0, 0], [5, 5]], [[-9e9, 9e9]] * 3, [[float(2**60)] * 2] * 3, ["1", "2", "3"] * 2),
    ]
)


def places(value, path=()):
    """All places in a document, but few of long lists of numbers."""
    yield path
    children = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        children = list(enumerate(value))[:8]
    for key, child in children:
        yield from places(child, (*path, key))


JSON_FILES = {name: json.loads(data) for name, data in SOUND.items() if data[:1] in b"{["}
PLACES = {name: list(places(document))[1:] for name, document in JSON_FILES.items()}


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_other_types_anywhere_give_annotations_or_one_line(tmp_path_factory, data):
    name = data.draw(st.sampled_from(list(JSON_FILES)))
    document = copy.deepcopy(JSON_FILES[name])
    for _ in range(data.draw(st.integers(1, 2))):
        *parents, key = data.draw(st.sampled_from(PLACES[name]))
        try:
            parent = document
            for step in parents:
                parent = parent[step]
            action = data.draw(st.sampled_from(["replace", "replace", "delete", "repeat"]))
            if action == "delete":
                del parent[key]
            elif action == "repeat" and isinstance(parent, list):
                parent.append(copy.deepcopy(parent[key]))
            else:
                parent[key] = copy.deepcopy(data.draw(odd))  # not in itself
        except (KeyError, IndexError, TypeError):
            pass  # the first change removed this place
    text = json.dumps(document).encode()
    check_reading(tmp_path_factory.getbasetemp() / "damaged.json", text)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_bytes_give_annotations_or_one_line(tmp_path_factory, data):
    name = data.draw(st.sampled_from(list(SOUND)))
    damaged = bytearray(SOUND[name])
    pieces = [b"", b"0", b"-", b'"', b"<", b"/>", b"9" * 30, b"\xff", b",", b"]", b"&#10;", b"\0"]
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(damaged)))
        length = data.draw(st.integers(0, 6))
        damaged[place : place + length] = data.draw(st.sampled_from(pieces))
    cut = data.draw(st.sampled_from([None, None, None, len(damaged) // 2]))
    ending = data.draw(st.sampled_from([".json", ".xml", ".txt"]))
    check_reading(tmp_path_factory.getbasetemp() / f"damaged{ending}", bytes(damaged[:cut]))


ATTRIBUTES = ["points", "rle", "left", "top", "width", "height", "z_order", "label", "name"]


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_other_attributes_give_annotations_or_one_line(tmp_path_factory, data):
    text = SOUND["cvat"].decode()
    name = data.draw(st.sampled_from(ATTRIBUTES))
    pieces = text.split(f'{name}="')
    which = data.draw(st.integers(1, len(pieces) - 1))
    rest = pieces[which].partition('"')[2]
    values = [
        "",
        "0",
        "-1",
        "1e9",
        "1e308",
        "nan",
        "x",
        "1,2",
        "1,2;",
        "1,2,3",
        "9" * 5000,
        "&#10;",
    ]
    pieces[which] = f'{data.draw(st.sampled_from(values))}"{rest}'
    check_reading(tmp_path_factory.getbasetemp() / "damaged.xml", f'{name}="'.join(pieces).encode())
