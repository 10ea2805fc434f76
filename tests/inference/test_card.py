"""The card of a network: what is written is read, and nothing else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpg.errors import BPGError
from bpg.inference.card import Card, Scores, parse_card, read_card, with_origin
from bpg.inference.options import CRFOptions, InferenceOptions

FULL = Card(
    classes=("background", "Bär", "0", ""),
    colours=((0, 0, 0), (255, 0, 1), (1, 2, 3), (9, 9, 9)),
    longest_side=640,
    inference=InferenceOptions(scales=(0.5, 1, 1.5), flip=True),
    crf=CRFOptions(5, 3, 1, 4, 20, 5),
    dataset="folder",
    variant="bpg",
    recipe="small",
    seed=3,
    scores=Scores(57.5, None, "held-out strokes", 12),
)


def test_what_is_written_is_read(tmp_path):
    (tmp_path / "card.json").write_text(FULL.to_json(), encoding="utf-8")
    assert read_card(tmp_path / "card.json") == FULL
    plain = Card(classes=("a", "b"))
    assert parse_card(plain.to_json(), "x") == plain
    made = with_origin(FULL, commit="abc", parameters=7, model="0" * 64)
    assert parse_card(made.to_json(), "x") == made


def test_colours_are_vocs_unless_given():
    assert Card(classes=("a", "b", "c")).colours == ((0, 0, 0), (128, 0, 0), (0, 128, 0))
    palette = FULL.palette()
    assert len(palette) == 768
    assert palette[3:6] == [255, 0, 1]
    assert palette[12:15] == [0, 0, 128]  # VOC's fifth


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"clases": []}, "clases: unknown key; did you mean classes"),
        ({"classes": ["a"]}, "classes: Tuple should have at least 2 items"),
        ({"classes": ["a", 1]}, r"classes\.1: Input should be a valid string"),
        ({"classes": ["a", "b"]}, "4 colours for 2 classes"),
        ({"colours": [[0, 0, 256]] * 4}, r"colours\.0\.2: .*less than or equal to 255"),
        ({"longest_side": "640"}, "longest_side: Input should be a valid integer"),
        ({"longest_side": True}, "longest_side: must be a number"),
        ({"mean": [0.5, 0.5, float("nan")]}, r"mean\.2"),
        ({"deviation": [0.5, 0.5, 0]}, r"deviation\.2"),
        ({"inference": {"scales": [], "flip": True}}, r"inference\.scales"),
        ({"scores": {"miou": 101, "miou_crf": 1, "measured_on": "masks", "images": 1}}, "miou"),
        (
            {"scores": {"miou": 1, "miou_crf": 1, "measured_on": "train", "images": 1}},
            "measured_on",
        ),
        ({"format": 2}, "format: Input should be 1"),
        ({"model": "xyz"}, "model: String should match"),
    ],
)
def test_anything_else_is_refused_in_one_line(changes, named):
    text = json.dumps({**json.loads(FULL.to_json()), **changes})
    with pytest.raises(BPGError, match=rf"^net\.onnx: not a network's card: [^\n]*{named}[^\n]*$"):
        parse_card(text, "net.onnx")


@given(st.one_of(st.text(max_size=40), st.binary(max_size=40)))
def test_what_is_no_json_is_refused(text):
    with pytest.raises(BPGError, match=r"^card\.json: [^\n]*$"):
        parse_card(text, "card.json")


def test_deep_nesting_and_size_are_refused(tmp_path):
    for text in ("[" * 100_000, '{"classes": ' * 5000, " " * (2**20 + 1)):
        with pytest.raises(BPGError, match=r"^x: "):
            parse_card(text, "x")
    with pytest.raises(BPGError, match=r"card\.json: cannot be read"):
        read_card(tmp_path / "card.json")
