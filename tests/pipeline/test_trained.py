"""A model's labels mean what the data set says, and edge maps hold edges."""

import json

import numpy as np

from bpg.data.masks import read_mask, write_mask


def test_a_network_of_other_classes_is_refused(workspace, tools):
    path = workspace / "data/shapes/description.json"
    description = json.loads(path.read_text(encoding="utf-8"))
    description["classes"][1:3] = reversed(description["classes"][1:3])
    path.write_text(json.dumps(description), encoding="utf-8")
    for stage in (("predict", "scribble", "0"), ("propagate", "scribblesup_1", "0"), ("samples",)):
        found = tools.call(workspace, *stage)
        assert found.code == 1
        assert "model.safetensors: was trained on the classes background, stripes" in found.error
        assert "\n" not in found.error


def test_edge_maps_that_are_all_empty_are_refused(workspace, tools):
    tools.edit(workspace / "params/dataset/shapes.yaml", {"edges.source": "truth"})
    for mask in (workspace / "data/shapes/masks").glob("train_*.png"):
        write_mask(mask, np.zeros_like(read_mask(mask)))
    found = tools.call(workspace, "edges")
    assert found.code == 1
    assert found.error.startswith("edges: error: data/shapes/edges: every edge map is empty")
