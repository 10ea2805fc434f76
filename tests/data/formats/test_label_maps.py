from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from bpg.data.formats.label_maps import may_be_strokes, parts, strokes_of_class, strokes_of_map
from bpg.data.strokes import Pixels
from bpg.errors import BPGError


def png(image, **options):
    file = BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def grey(rows):
    return png(Image.fromarray(np.array(rows, np.uint8)))


def test_parts_are_connected_also_at_corners():
    painted = np.array([[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0, 0]], bool)
    assert parts(painted) == [
        Pixels(0, 0, np.eye(2, dtype=bool)),
        Pixels(3, 0, np.ones((2, 1), bool)),
    ]
    assert parts(np.zeros((3, 3), bool)) == []


def test_a_map_of_values():
    size, found = strokes_of_map(grey([[255, 0, 0], [2, 255, 2]]), "a.png", 255)
    assert size == (3, 2)
    assert found == [
        (0, Pixels(1, 0, np.ones((1, 2), bool))),
        (2, Pixels(0, 1, np.ones((1, 1), bool))),
        (2, Pixels(2, 1, np.ones((1, 1), bool))),
    ]
    _, found = strokes_of_map(grey([[0, 1, 0], [3, 0, 255]]), "a.png", 0)
    assert [index for index, _ in found] == [0, 2]


def test_a_palette_of_the_tools_own_means_its_indices():
    image = Image.fromarray(np.array([[255, 1], [2, 255]], np.uint8), "P")
    image.putpalette([9, 9, 9, 255, 0, 0, 0, 255, 0] + [0] * 759)
    _, found = strokes_of_map(png(image), "a.png", 255)
    assert [index for index, _ in found] == [1, 2]


def test_a_full_mask_is_no_map_of_strokes():
    with pytest.raises(BPGError, match="no pixel has the value 255, which means unlabelled"):
        strokes_of_map(grey([[0, 1], [1, 0]]), "a.png", 255)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(np.array([[0, 255], [0, 0]], np.uint8)),
        Image.fromarray(np.array([[0, 1], [0, 0]], np.uint8)),
        Image.fromarray(np.array([[False, True], [False, False]])),
        Image.fromarray(np.array([[0, 40000], [0, 0]], np.uint16)),
        Image.fromarray(np.array([[[0, 0, 0], [255, 0, 0]], [[0, 0, 0], [0, 0, 0]]], np.uint8)),
        # Drawn on a transparent layer, whatever colour is behind it.
        Image.fromarray(
            np.array(
                [[[255, 255, 255, 0], [1, 2, 3, 255]], [[9, 9, 9, 20], [0, 0, 0, 0]]], np.uint8
            )
        ),
    ],
    ids=["grey", "ones", "bits", "16 bits", "colour", "layer"],
)
def test_one_class_in_any_kind_of_png(image):
    size, (stroke,) = strokes_of_class(png(image), "a.png", "cat")
    assert size == (2, 2)
    assert stroke.tag == "cat"
    assert stroke.shape == Pixels(1, 0, np.ones((1, 1), bool))


def test_a_file_that_is_all_painted_is_refused():
    with pytest.raises(BPGError, match="67 % of it is painted; where nothing is drawn"):
        strokes_of_class(grey([[1, 1, 0]]), "a.png", "cat")


def test_black_on_a_transparent_layer_is_painted():
    layer = np.zeros((2, 2, 4), np.uint8)
    layer[0, 1, 3] = 255
    _, (stroke,) = strokes_of_class(png(Image.fromarray(layer)), "a.png", "cat")
    assert stroke.shape == Pixels(1, 0, np.ones((1, 1), bool))


def test_a_map_in_colours_says_what_to_do():
    with pytest.raises(BPGError, match=r"in colours has no labels; save one for each class"):
        strokes_of_map(png(Image.new("RGB", (3, 3))), "a.png", 255)


@pytest.mark.parametrize("data", [b"", b"\x89PNG", png(Image.new("L", (9, 9)))[:-34]])
def test_broken_files_are_named(data):
    for read in (
        lambda: strokes_of_map(data, "a.png", 255),
        lambda: strokes_of_class(data, "a.png", "cat"),
    ):
        with pytest.raises(BPGError, match=r"^a\.png: "):
            read()


def test_content_tells_a_map_from_what_is_painted():
    some = [[255] * 6, [1, 1, 255, 255, 2, 255], [255] * 6]
    blot = [[0] * 6, [0, 255, 255, 0, 0, 0], [0] * 6]
    counted = [[0] * 6, [1, 1, 0, 0, 2, 0], [0] * 6]
    kinds = {"map": (some, 255), "blot": (blot, 255), "counted": (counted, 0)}
    found = {
        kind: (
            may_be_strokes(grey(rows), "a.png", unlabelled),
            may_be_strokes(grey(rows), "a.png", None),
        )
        for kind, (rows, unlabelled) in kinds.items()
    }
    # With 0 for what is unlabelled, a map looks like what is painted on black.
    assert found == {"map": (True, False), "blot": (False, True), "counted": (True, True)}
    for broken in (b"", grey(some)[:40]):
        assert not may_be_strokes(broken, "a.png", None)
        assert not may_be_strokes(broken, "a.png", 255)
