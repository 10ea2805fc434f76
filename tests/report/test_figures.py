import numpy as np
import pytest
from PIL import Image

from bpg.data.masks import PALETTE, write_mask
from bpg.errors import BPGError
from bpg.report import figures
from bpg.report.runs import read_runs

CLASSES = ["background", "cat", "dog"]
IDS = [f"val_{number}" for number in range(6)]


@pytest.fixture
def data(tmp_path):
    """Six images whose masks show class 1, and predictions of class 2 by scribble and bpg."""
    for name in ("images", "masks", "scribbles"):
        (tmp_path / name).mkdir()
    for image_id in IDS:
        Image.new("RGB", (32, 24), (90, 160, 220)).save(tmp_path / "images" / f"{image_id}.png")
        write_mask(tmp_path / "masks" / f"{image_id}.png", np.full((24, 32), 1, np.uint8))
        scribble = np.full((24, 32), 255, np.uint8)
        scribble[10:14] = 1
        write_mask(tmp_path / "scribbles" / f"{image_id}.png", scribble)
        for variant in ("scribble", "bpg"):
            for kind in ("masks", "masks_crf"):
                folder = tmp_path / "runs" / variant / "0" / kind
                folder.mkdir(parents=True, exist_ok=True)
                write_mask(folder / f"{image_id}.png", np.full((24, 32), 2, np.uint8))
    return tmp_path


def _draw(data, name="figure4.png", variants=("scribble", "bpg")):
    figures.figure4(
        data / name,
        IDS[:2],
        images=data / "images",
        masks=data / "masks",
        scribbles=data / "scribbles",
        runs=data / "runs",
        variants=variants,
        seed=0,
        classes=CLASSES,
    )
    return np.asarray(Image.open(data / name))


def _middles(picture, columns):
    """The colour in the middle of each tile of the first row."""
    y = figures.HEADER + figures.TILE * 24 // 32 // 2
    step = figures.TILE + figures.GAP
    return [tuple(picture[y, figures.GAP + figures.TILE // 4 + step * c]) for c in range(columns)]


def test_figure4_shows_each_column_and_blanks_what_was_not_run(data):
    picture = _draw(data)
    one, two = tuple(PALETTE[1]), tuple(PALETTE[2])
    blank = figures.FAINT
    photo = (90, 160, 220)
    # image, truth, scribbles, scribble, +PRN, +BRN, BPG, BPG+CRF, mask
    assert _middles(picture, 9) == [photo, one, one, two, blank, blank, two, two, blank]


def test_figure4_without_scribbles_leaves_their_column_out(data):
    wide = _draw(data).shape[1]
    (data / "scribbles" / f"{IDS[1]}.png").unlink()
    picture = _draw(data)
    assert picture.shape[1] == wide - figures.TILE - figures.GAP
    assert _middles(picture, 3)[2] == tuple(PALETTE[2])


def test_figure4_names_a_missing_prediction(data):
    (data / "runs/bpg/0/masks_crf" / f"{IDS[1]}.png").unlink()
    with pytest.raises(BPGError, match=f"masks_crf/{IDS[1]}.png"):
        _draw(data)


def test_images_are_chosen_by_the_stated_rule(data):
    empty = np.zeros((24, 32), np.uint8)
    empty[0] = 255  # not scored is no object
    write_mask(data / "masks" / "val_2.png", empty)
    assert figures.choose_images(IDS[::-1], data / "masks", 3) == ["val_0", "val_3", "val_4"]
    write_mask(data / "masks" / "val_3.png", empty)
    assert figures.choose_images(IDS, data / "masks", 3) == ["val_0", "val_4"]
    assert figures.choose_images(IDS[:2], data / "masks", 6) == ["val_0", "val_1"]


def _curves():
    return [
        {"variant": variant, "seed": 0, "step": step, "loss": 1 / (step + 1), "edge": edge}
        for variant, edge in (("scribble", None), ("bpg", 0.1))
        for step in range(3)
    ]


def test_charts_are_drawn(tmp_path, runs_folder, write_run):
    for seed in (0, 1):
        write_run("bpg", seed, 50.0 + seed)
    figures.bar_chart(tmp_path / "bars.png", read_runs(runs_folder, ["bpg"], [0, 1]))
    figures.curve_chart(tmp_path / "curves.png", _curves())
    for name in ("bars.png", "curves.png"):
        picture = Image.open(tmp_path / name)
        assert picture.width > 500
        assert len(np.unique(np.asarray(picture.convert("L")))) > 10


def test_equal_input_gives_equal_bytes(data, write_run):
    write_run("bpg", 0, 50.0)
    runs = read_runs(data / "runs", ["bpg"], [0])
    for name in ("a", "b"):
        _draw(data, f"figure_{name}.png")
        figures.bar_chart(data / f"bars_{name}.png", runs)
        figures.curve_chart(data / f"curves_{name}.png", _curves())
    for kind in ("figure", "bars", "curves"):
        picture = (data / f"{kind}_a.png").read_bytes()
        assert picture == (data / f"{kind}_b.png").read_bytes()
        assert b"Software" not in picture
        assert b"tIME" not in picture
