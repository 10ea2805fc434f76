from functools import partial

import numpy as np
import pytest
from PIL import Image

from bpg.data.masks import PALETTE, write_mask
from bpg.errors import BPGError
from bpg.report import figures

CLASSES = ["background", "cat", "dog"]
IDS = ["one", "two"]
HEIGHT = figures.TILE * 24 // 32  # of a tile: the images are 32 x 24
PHOTO = (90, 160, 220)
BLANK = figures.FAINT

# The label that each system predicts everywhere.
LABEL = {"mask": 3, "scribble": 4, "prn": 5, "brn": 6, "bpg": 7, "bpg_all_channels": 8}
TRUTH, STROKE, CRF = 1, 2, 9
HED, EDGE = 40, {"bpg": 80, "bpg_all_channels": 120}


def _colour(label):
    return tuple(PALETTE[label].tolist())


def _ink(value):
    return (255 - value,) * 3


def _grey(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (32, 24), value).save(path)


def _mask(path, label):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mask(path, np.full((24, 32), label, np.uint8))


@pytest.fixture
def data(tmp_path):
    """Two images; every folder has its own value everywhere, strokes cross the middle."""
    (tmp_path / "images").mkdir()
    (tmp_path / "scribbles").mkdir()
    for image_id in IDS:
        name = f"{image_id}.png"
        Image.new("RGB", (32, 24), PHOTO).save(tmp_path / "images" / name)
        _mask(tmp_path / "masks" / name, TRUTH)
        _grey(tmp_path / "edges" / name, HED)
        scribble = np.full((24, 32), 255, np.uint8)
        scribble[10:14] = STROKE
        write_mask(tmp_path / "scribbles" / name, scribble)
        for variant, label in LABEL.items():
            _mask(tmp_path / "samples" / "masks" / variant / name, label)
            _mask(tmp_path / "runs" / variant / "3" / "masks" / name, label)
            _mask(tmp_path / "runs" / variant / "3" / "masks_crf" / name, CRF)
        for variant, value in EDGE.items():
            _grey(tmp_path / "samples" / "edges" / variant / name, value)
    return tmp_path


@pytest.fixture
def draw(data):
    """Draw a figure of some variants and return its pixels: draw("figure4", ["bpg"])."""
    common = {"images": data / "images", "masks": data / "masks", "classes": CLASSES}
    samples = common | {"samples": data / "samples"}
    runs = common | {"runs": data / "runs", "seed": 3}
    drawn = {
        "figure1": partial(figures.figure1, scribbles=data / "scribbles", **samples),
        "figure4": partial(figures.figure4, **runs, labels={"prn": "+PRN", "brn": "+BRN"}),
        "figure5": partial(figures.figure5, edges=data / "edges", **samples),
        "figure6": partial(figures.figure6, **runs),
    }

    def draw(name, variants=tuple(LABEL), ids=IDS, file="figure.png"):
        drawn[name](data / file, ids, variants=variants)
        return np.asarray(Image.open(data / file))

    return draw


def _columns(picture):
    columns, rest = divmod(picture.shape[1] - figures.GAP, figures.TILE + figures.GAP)
    assert rest == 0
    return columns


def _middles(picture, row=0, lines=1):
    """The colour in the middle of each tile of a row, under titles of so many lines."""
    header = figures.header_height(["x" + "\n" * (lines - 1)])
    y = header + row * (HEIGHT + figures.GAP) + HEIGHT // 2
    # Off the centre, where a blank tile has its words.
    left = figures.GAP + figures.TILE // 5
    step = figures.TILE + figures.GAP
    return [tuple(picture[y, left + step * c].tolist()) for c in range(_columns(picture))]


def _predicted(*variants):
    return [_colour(LABEL[variant]) for variant in variants]


EXPECTED = {
    "figure1": [PHOTO, _colour(TRUTH), _colour(STROKE), *_predicted("mask", "scribble", "bpg")],
    "figure4": [PHOTO, _colour(TRUTH), *_predicted("scribble", "prn", "brn", "bpg")],
    "figure5": [
        *(PHOTO, _colour(TRUTH), _ink(HED)),
        *(*_predicted("bpg_all_channels"), _ink(EDGE["bpg_all_channels"])),
        *(*_predicted("bpg"), _ink(EDGE["bpg"])),
    ],
    "figure6": [PHOTO, _colour(TRUTH), *_predicted("mask", "scribble", "bpg"), _colour(CRF)],
}
LINES = {"figure1": 1, "figure4": 1, "figure5": 2, "figure6": 1}


@pytest.mark.parametrize("name", EXPECTED)
def test_every_column_shows_its_folder_in_every_row(draw, name):
    picture = draw(name)
    for row in range(len(IDS)):
        assert _middles(picture, row, LINES[name]) == EXPECTED[name]


@pytest.mark.parametrize(
    ("name", "blank"),
    [("figure1", [5]), ("figure4", [5]), ("figure5", [5, 6]), ("figure6", [4, 5])],
)
def test_a_system_that_was_not_run_is_blank_though_its_files_lie_there(draw, name, blank):
    expected = [
        BLANK if column in blank else colour for column, colour in enumerate(EXPECTED[name])
    ]
    variants = [variant for variant in LABEL if variant != "bpg"]
    assert _middles(draw(name, variants), lines=LINES[name]) == expected


@pytest.mark.parametrize("name", EXPECTED)
def test_a_row_per_id(draw, name):
    two, one = draw(name), draw(name, ids=IDS[1:])
    assert two.shape[0] - one.shape[0] == HEIGHT + figures.GAP
    assert two.shape[1] == one.shape[1]


def test_a_users_figures_show_what_was_run(data):
    """And what is scored on under its own name, or the strokes instead."""
    common = {"images": data / "images", "classes": CLASSES}
    runs = [(name, data / "runs" / name / "3/masks") for name in ("brn", "mask")]
    truth = ("held-out strokes", data / "masks")
    figures.results_figure(data / "a.png", IDS, **common, truth=truth, predictions=runs)
    figures.strokes_figure(
        data / "b.png", IDS, **common, scribbles=data / "scribbles", predictions=runs[:1]
    )
    results, strokes = (np.asarray(Image.open(data / name)) for name in ("a.png", "b.png"))
    for row in range(len(IDS)):
        assert _middles(results, row) == [PHOTO, _colour(TRUTH), *_predicted("brn", "mask")]
        assert _middles(strokes, row) == [PHOTO, _colour(STROKE), *_predicted("brn")]


def test_rows_show_their_own_id(data, draw):
    _mask(data / "masks" / "two.png", 0)
    picture = draw("figure6")
    assert [_middles(picture, row)[1] for row in (0, 1)] == [_colour(TRUTH), _colour(0)]


def test_beside_the_strokes_the_picture_is_faded(draw):
    picture = draw("figure1")
    x = figures.GAP + 2 * (figures.TILE + figures.GAP) + figures.TILE // 2
    assert tuple(picture[figures.HEADER + HEIGHT // 4, x].tolist()) == tuple(
        170 + channel // 3 for channel in PHOTO
    )


def test_the_titles_have_ink_and_stay_clear_of_the_tiles(draw):
    for name, lines in LINES.items():
        header = figures.header_height(["x" + "\n" * (lines - 1)])
        picture = draw(name).min(axis=2)
        step = figures.TILE + figures.GAP
        for column in range(_columns(draw(name))):
            left = figures.GAP + column * step
            assert picture[: header - 1, left : left + figures.TILE].min() < 100
        assert picture[:2].min() == 255
        # Between the columns nothing is written: no title runs into its neighbour.
        gaps = [picture[: header - 1, c * step : c * step + 4] for c in range(_columns(draw(name)))]
        assert np.min(gaps) == 255


def test_the_legend_has_every_class(draw):
    picture = draw("figure6", ["bpg"])
    foot = picture[figures.HEADER + 2 * (HEIGHT + figures.GAP) :].reshape(-1, 3)
    colours = set(map(tuple, foot.tolist()))
    assert {_colour(label) for label in (0, 1, 2, 255)} <= colours
    assert _colour(3) not in colours


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("figure1", "samples/masks/mask/two.png"),
        ("figure1", "scribbles/two.png"),
        ("figure4", "runs/prn/3/masks/two.png"),
        ("figure5", "edges/two.png"),
        ("figure5", "samples/edges/bpg/two.png"),
        ("figure6", "runs/bpg/3/masks_crf/two.png"),
    ],
)
def test_a_missing_picture_is_named(data, draw, name, missing):
    (data / missing).unlink()
    with pytest.raises(BPGError, match=missing):
        draw(name)
    assert not (data / "figure.png").exists()


def test_an_edge_map_must_be_grey(data, draw):
    _mask(data / "samples" / "edges" / "bpg" / "one.png", 1)
    with pytest.raises(BPGError, match=r"edges/bpg/one\.png: must be an 8-bit grey PNG"):
        draw("figure5")


@pytest.mark.parametrize("name", EXPECTED)
def test_equal_files_give_equal_bytes(data, draw, name):
    for file in ("a.png", "b.png"):
        draw(name, file=file)
    assert (data / "a.png").read_bytes() == (data / "b.png").read_bytes()


@pytest.fixture
def draw_propagated(data):
    """Draw the labels of ScribbleSup's rounds, 5 and 6 everywhere, and return the pixels."""
    rounds = [(f"round {number}", data / f"round{number}") for number in (1, 2)]
    for (_, folder), label in zip(rounds, (5, 6), strict=True):
        for image_id in IDS:
            _mask(folder / f"{image_id}.png", label)

    def draw(propagated=rounds, file="figure.png"):
        folders = {name: data / name for name in ("images", "masks", "scribbles")}
        kinds = {"propagated": propagated, "classes": CLASSES}
        figures.propagated_figure(data / file, IDS, **folders, **kinds)
        return np.asarray(Image.open(data / file))

    return draw


def test_what_each_round_is_trained_on_stands_between_strokes_and_truth(draw_propagated, data):
    picture = draw_propagated()
    expected = [PHOTO, _colour(STROKE), _colour(5), _colour(6), _colour(TRUTH)]
    for row in range(len(IDS)):
        assert _middles(picture, row) == expected
    one = draw_propagated([("round 1", data / "round1")])
    assert _middles(one) == [*expected[:3], expected[4]]


def test_propagated_labels_that_are_missing_are_named(draw_propagated, data):
    (data / "round2/two.png").unlink()
    with pytest.raises(BPGError, match=r"round2/two\.png"):
        draw_propagated()
    assert not (data / "figure.png").exists()


def test_equal_propagated_labels_give_equal_bytes(draw_propagated, data):
    for file in ("a.png", "b.png"):
        draw_propagated(file=file)
    assert (data / "a.png").read_bytes() == (data / "b.png").read_bytes()


def test_a_tall_picture_keeps_its_shape(tmp_path):
    path = tmp_path / "grid.png"
    figures.draw_grid(
        path, ["a", "b"], [[Image.new("RGB", (50, 100), PHOTO), None]], [("x", PHOTO)]
    )
    row = np.asarray(Image.open(path))[figures.HEADER + figures.TILE // 3]
    inside = np.flatnonzero((row == PHOTO).all(axis=1))
    assert len(inside) == figures.TILE // 2
    assert inside[0] - figures.GAP == figures.TILE // 4
