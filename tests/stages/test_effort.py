"""Parameters that say how much would have been enough."""

import numpy as np

from bpg.data.ids import read_ids
from bpg.data.masks import read_mask

SHAPES = "params/dataset/shapes.yaml"


def done(workspace, tools, *stages):
    for stage in stages:
        outcome = tools.call(workspace, stage)
        assert outcome.code == 0, outcome.error


def test_a_share_of_the_images_is_trained_on_and_lies_in_every_larger_share(workspace, tools):
    data = workspace / "data/shapes"
    val, found = read_ids(data / "val.txt"), {}
    for share in (1.0, 0.5, 0.25):
        tools.edit(workspace / SHAPES, {"train_share": share})
        done(workspace, tools, "prepare", "scribbles")
        found[share] = set(read_ids(data / "train.txt"))
        assert {path.stem for path in (data / "scribbles").iterdir()} == found[share]
        assert read_ids(data / "val.txt") == val
    assert found[0.25] < found[0.5] < found[1.0]
    assert [len(names) for names in found.values()] == [8, 4, 2]


def test_a_share_of_each_stroke_is_drawn(workspace, tools):
    data = workspace / "data/shapes"
    names = read_ids(data / "train.txt")
    drawn = {}
    for share in (1.0, 0.5):
        tools.edit(workspace / SHAPES, {"scribbles.length": share})
        done(workspace, tools, "scribbles")
        drawn[share] = np.stack([read_mask(data / f"scribbles/{name}.png") for name in names])
    whole, half = drawn[1.0], drawn[0.5]
    there = half != 255
    assert (whole[there] != 255).mean() > 0.99  # but for the round ends of lines
    assert 0.4 < there.sum() / (whole != 255).sum() < 0.8
