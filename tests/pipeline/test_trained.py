"""A model's labels mean what the parameters say, and edge maps hold edges."""

import numpy as np

from bpg.data.masks import read_mask, write_mask


def test_a_network_of_other_classes_is_refused(workspace, tools):
    path = workspace / "params/dataset/shapes.yaml"
    classes = ["background", "checks", "stripes", "dots", "waves", "blotches", "rings"]
    tools.edit(path, {"classes": classes})
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
