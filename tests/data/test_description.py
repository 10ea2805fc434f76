import json

import pytest

from bpg.data.description import (
    Description,
    read_description,
    write_description,
)
from bpg.data.masks import default_colours
from bpg.errors import BPGError

SOUND = {"classes": ["ground", "größe 🐈"], "colours": ["#000000", "#800000"], "truth": "masks"}


def test_what_is_written_is_read_again(tmp_path):
    path = tmp_path / "description.json"
    one = Description(tuple(SOUND["classes"]), default_colours(2), "held-out strokes")
    write_description(path, one)
    assert read_description(path) == one


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"classes": ["a"]}, "classes: "),
        ({"classes": ["a", "a"]}, "classes: a name is there twice"),
        ({"colours": ["#000000"]}, "colours: must be one for each class"),
        ({"colours": ["#000000", "red"]}, "colours.1: "),
        ({"truth": "guess"}, "truth: "),
        ({"more": 1}, "more: unknown key"),
    ],
)
def test_other_content_is_refused(tmp_path, change, text):
    path = tmp_path / "description.json"
    path.write_text(json.dumps(SOUND | change), encoding="utf-8")
    with pytest.raises(BPGError, match=rf"description\.json: {text}"):
        read_description(path)


@pytest.mark.parametrize("content", [b"", b"[", b"[]", b"\xff", b"[" * 100_000, b"NaN"])
def test_what_is_no_description_is_refused(tmp_path, content):
    path = tmp_path / "description.json"
    path.write_bytes(content)
    with pytest.raises(BPGError, match=r"description\.json: .*run prepare"):
        read_description(path)


def test_a_missing_one_is_named(tmp_path):
    with pytest.raises(BPGError, match="no such description of a data set; run prepare"):
        read_description(tmp_path / "description.json")


def test_the_usual_colours_are_vocs():
    assert default_colours(4) == ("#000000", "#800000", "#008000", "#808000")
