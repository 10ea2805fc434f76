"""A user's folder through the stages: with masks, and with strokes alone."""

import json

import numpy as np
import pytest
from PIL import Image

from bpg.data.formats.labelme import write_labelme
from bpg.data.masks import read_mask, write_mask
from bpg.data.shapes import draw_sample

IMAGES, SIZE = 8, 64


@pytest.fixture
def mine(tmp_path):
    """A folder of generated photographs with strokes; two have none."""
    root = tmp_path / "mes photos d'été"
    for part in ("images", "strokes"):
        (root / part).mkdir(parents=True)
    for number in range(IMAGES):
        sample = draw_sample([31, 0, number], SIZE)
        Image.fromarray(sample.image).save(root / f"images/photo {number}.png")
        if number < IMAGES - 2:
            write_labelme(root / f"strokes/photo {number}.json", sample.strokes, "?")
    return root


@pytest.fixture
def folder(parameter_files, tools, mine):
    """Parameters for it; `tools.call` runs stages there."""
    rows = tools.lists(["scribble", "mask"], train=["scribble", "mask"])
    tools.edit(parameter_files / "params.yaml", {"dataset": "folder", "variants": rows})
    tools.edit(parameter_files / "params/dataset/folder.yaml", {"root": str(mine)})
    changes = {
        "training.epochs": 1,
        "training.batch_size": 4,
        "training.augmentation.crop": 33,
        "inference.scales": [1.0],
    }
    tools.edit(parameter_files / "params/recipe/tiny.yaml", changes)
    return parameter_files


def through(tools, folder, *stages):
    said = ""
    for stage, *arguments in stages:
        outcome = tools.call(folder, stage, *arguments)
        assert outcome.code == 0, outcome.error
        said += outcome.out
    return said


RUN = (("train", "scribble", "0"), ("predict", "scribble", "0"), ("crf", "scribble", "0"),
       ("evaluate", "scribble", "0"))  # fmt: skip


def test_without_masks_held_out_strokes_are_scored(tools, folder):
    said = through(tools, folder, ("prepare",), ("scribbles",), *RUN)
    assert "scored on held-out strokes" in said
    assert "warning: recipe tiny is for the generated images" in said
    data = folder / "data/folder"
    train, val = ((data / f"{name}.txt").read_text().split() for name in ("train", "val"))
    assert (data / "pool.txt").read_text().split() == ["photo%206.png", "photo%207.png"]
    assert val
    for name in {*train} & {*val}:
        learnt, held = (read_mask(data / part / f"{name}.png") for part in ("scribbles", "masks"))
        assert not ((learnt != 255) & (held != 255)).any()
    card = json.loads((folder / "runs/scribble/0/card.json").read_text(encoding="utf-8"))
    assert card["scores"]["measured_on"] == "held-out strokes"
    metrics = json.loads((folder / "runs/scribble/0/metrics.json").read_text(encoding="utf-8"))
    assert metrics["raw"]["boundary_iou"] is None
    assert np.sum(metrics["raw"]["confusion"]) == sum(
        (read_mask(data / f"masks/{name}.png") != 255).sum() for name in val
    )
    outcome = tools.call(folder, "train", "mask", "0")
    assert outcome.code == 1
    assert "folder: has strokes and no masks, so that mask cannot be trained" in outcome.error


def test_fewer_images_than_a_batch_are_all_in_every_step(tools, folder):
    changes = {"training.batch_size": 100, "training.epochs": 3}
    tools.edit(folder / "params/recipe/tiny.yaml", changes)
    said = through(tools, folder, ("prepare",), ("scribbles",), ("train", "scribble", "0"))
    images = len((folder / "data/folder/train.txt").read_text().split())
    assert f"{images} images are fewer than training.batch_size" in said
    assert json.loads((folder / "runs/scribble/0/training.json").read_text())["steps"] == 3


def test_with_masks_they_are_scored(tools, folder, mine):
    (mine / "masks").mkdir()
    for number in range(IMAGES - 3, IMAGES):
        mask = draw_sample([31, 0, number], SIZE).mask
        write_mask(mine / f"masks/photo {number}.png", np.minimum(mask, 1))
    tools.edit(folder / "params/dataset/folder.yaml", {"longest_side": 48})
    said = through(tools, folder, ("prepare",), ("scribbles",), *RUN)
    assert "scored on masks" in said
    assert (folder / "data/folder/val.txt").read_text().split() == [
        "photo%206.png",
        "photo%207.png",
    ]
    assert read_mask(folder / "data/folder/masks/photo%206.png.png").shape == (48, 48)
    metrics = json.loads((folder / "runs/scribble/0/metrics.json").read_text(encoding="utf-8"))
    assert metrics["raw"]["boundary_iou"] is not None


def test_what_the_check_finds_stops_before_anything_is_written(tools, folder, mine):
    (mine / "strokes/photo 1.json").write_text("{", encoding="utf-8")
    (mine / "images/broken.jpg").write_bytes(b"x")
    outcome = tools.call(folder, "prepare")
    assert outcome.code == 1
    assert "broken.jpg: no JPEG" in outcome.error
    assert f"; bpg check {mine} lists 1 more" in outcome.error
    assert outcome.error.count("\n") <= 1
    assert not (folder / "data/folder/images").exists()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"root": "/nowhere"}, "/nowhere: no such folder; give the folder of your images"),
        ({"source.masks": "../x"}, "source.masks: must be a folder below the root"),
        ({"source.unlabelled": 7}, "source.unlabelled: Input should be 0 or 255"),
        ({"classes": ["one"]}, "classes: must be two or more, background first"),
        ({"source.hold_out": 0}, "source.hold_out: "),
    ],
)
def test_wrong_parameters_are_named(tools, folder, changes, text):
    tools.edit(folder / "params/dataset/folder.yaml", changes)
    outcome = tools.call(folder, "prepare")
    assert outcome.code == 1
    assert text in outcome.error
