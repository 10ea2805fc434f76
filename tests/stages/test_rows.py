"""The rows without a method of their own: a random forest, and a network on GrabCut's labels."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from bpg.data.masks import read_mask
from bpg.inference.probabilities import read_probabilities

TINY = "params/recipe/tiny.yaml"
ROWS = ["scribble", "bpg", "grabcut", "forest"]
SEED = "0"


@pytest.fixture(scope="module")
def finished(finished_run, tools, tmp_path_factory):
    """The runs of `finished_run`, and these two beside them."""
    folder = shutil.copytree(finished_run, tmp_path_factory.mktemp("rows") / "workspace")
    lists = {"train": ["scribble"], "train_boundary": ["bpg"]}
    lists = tools.lists(ROWS, **lists, train_grabcut=["grabcut"], forest=["forest"])
    tools.edit(folder / "params.yaml", {"variants": lists})
    tools.edit(folder / TINY, {"forest.trees": 8})
    stages = [("grabcut",), ("train_grabcut", "grabcut", SEED), ("forest", "forest", SEED)]
    stages += [(s, row, SEED) for row in ROWS[2:] for s in ("predict", "crf", "evaluate")]
    stages += [("cost",), ("samples",), ("tables",), ("report",)]
    for stage in stages:
        outcome = tools.call(folder, *stage)
        assert outcome.code == 0, (stage, outcome.error)
    return folder


def names(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


def ids(folder, which) -> list[str]:
    return (folder / f"data/shapes/{which}.txt").read_text().split()


def test_grabcut_labels_every_training_image_and_keeps_the_strokes(finished):
    data = finished / "data/shapes"
    assert names(data / "grabcut") == {f"{name}.png" for name in ids(finished, "train")}
    more = 0
    for path in (data / "grabcut").iterdir():
        labels, scribble = read_mask(path), read_mask(data / "scribbles" / path.name)
        drawn = scribble != 255
        np.testing.assert_array_equal(labels[drawn], scribble[drawn])
        more += (labels != 255).sum() - drawn.sum()
    assert more > 0


def test_a_forest_leaves_what_a_network_leaves_but_curves(finished):
    run = finished / "runs/forest/0"
    network = names(finished / "runs/scribble/0")
    assert names(run) == network - {"curves"}
    summary = json.loads((run / "training.json").read_text())
    assert (summary["edge_loss"], summary["trees"]) == (None, 8)
    assert summary["pixels"] > 8  # of several images
    for name in ids(finished, "val"):
        classes, probabilities = read_probabilities(run / f"probabilities/{name}.zst")
        labels = np.array(classes)[probabilities.argmax(0)]
        # But for ties, and what eight bits do not tell apart.
        assert (labels == read_mask(run / f"masks/{name}.png")).mean() > 0.95


def test_both_are_rows_like_all_others(finished):
    results = finished / "results"
    metrics = json.loads((results / "metrics.json").read_text())
    assert list(metrics) == ROWS
    for row in ("grabcut", "forest"):
        assert {"miou", "miou_crf", "boundary_iou"} <= set(metrics[row])
        assert "edge_loss" not in metrics[row]
    for table in ("ranking", "table3", "boundaries"):
        with (results / f"{table}.csv").open(newline="") as file:
            found = {row["variant"]: row for row in csv.DictReader(file)}
        assert {"grabcut", "forest"} <= set(found)
        if table == "ranking":
            assert found["forest"]["raw_low"] and found["grabcut"]["crf_high"]
    with (results / "gains.csv").open(newline="") as file:
        pairs = {(row["first"], row["second"], row["differ_in"]) for row in csv.DictReader(file)}
    assert {
        ("scribble", "forest", "classifier"),
        ("scribble", "grabcut", "labels"),
    } <= pairs
    for text in ("Random forest", "GrabCut"):
        assert text in (results / "summary.md").read_text()
        assert text in (results / "report/index.html").read_text()


def test_only_networks_have_curves_and_costs(finished):
    results = finished / "results"
    networks = set(ROWS) - {"forest"}
    assert names(results / "curves") == {f"{row}.csv" for row in networks}
    with (results / "cost.csv").open(newline="") as file:
        assert {row["variant"] for row in csv.DictReader(file)} == networks
    assert names(results / "samples/masks") == set(ROWS)
    assert names(results / "samples/edges") == {"bpg"}
    assert (results / "report/propagated.png").is_file()


def test_the_seconds_of_the_fit_are_recorded(finished):
    entries = json.loads((finished / "results/provenance.json").read_text())
    (entry,) = (one for one in entries if "forest 0" in one["runs"])
    assert "scikit-learn" in entry["trained with"]
    assert entry["runs"]["forest 0"]["seconds"] > 0


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "workspace")


def test_another_run_gives_the_same_bytes(copy, tools):
    places = ("data/shapes/grabcut", "runs/forest/0")
    before = [tools.snapshot(copy / place) for place in places]
    for place in places:
        shutil.rmtree(copy / place)
    shutil.rmtree(copy / "unfinished")
    for stage in (("grabcut",), *((s, "forest", SEED) for s in ("forest", "predict"))):
        assert tools.call(copy, *stage).code == 0
    after = [tools.snapshot(copy / place) for place in places]
    assert after[0] == before[0]
    assert set(after[1].items()) <= set(before[1].items())


def test_another_seed_is_another_forest(copy, tools):
    assert tools.call(copy, "forest", "forest", "1").code == 0
    models = [(copy / f"runs/forest/{seed}/model.safetensors").read_bytes() for seed in (0, 1)]
    assert models[0] != models[1]


def test_a_stopped_fit_does_what_is_left(copy, tools, monkeypatch):
    # Side by side, the last image could fail before the first one's features are taken.
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    shutil.rmtree(copy / "unfinished")
    shutil.rmtree(copy / "runs/forest")
    image = copy / "data/shapes/images" / f"{ids(copy, 'train')[-1]}.png"
    content = image.read_bytes()
    image.write_bytes(content[:100])
    stopped = tools.call(copy, "forest", "forest", SEED)
    assert stopped.code == 1 and image.name in stopped.error
    assert not (copy / "runs/forest/0/model.safetensors").exists()
    done = set((copy / "unfinished/forest-forest-0/features").glob("*.npy"))
    assert done
    image.write_bytes(content)
    resumed = tools.call(copy, "forest", "forest", SEED)
    assert resumed.code == 0, resumed.error


REFUSED = {
    # (stage and arguments, what the line says)
    "a network as a forest": ("forest scribble 0", "scribble is not a forest; run python -m"),
    "a forest as a network": ("train forest 0", "forest is not a network; run python -m"),
    "a forest that is not there": ("predict forest 7", "runs/forest/7/model.safetensors: no such"),
}


@pytest.mark.parametrize(("command", "said"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_go_together_is_refused(copy, tools, command, said):
    stage, *arguments = command.split()
    outcome = tools.call(copy, stage, *arguments)
    assert outcome.code == 1
    assert said in outcome.error
    assert "\n" not in outcome.error


def test_a_forest_of_other_classes_is_refused(copy, tools):
    path = copy / "data/shapes/description.json"
    found = json.loads(path.read_text())
    found["classes"][1:3] = reversed(found["classes"][1:3])
    path.write_text(json.dumps(found))
    outcome = tools.call(copy, "predict", "forest", SEED)
    assert outcome.code == 1
    assert "model.safetensors: was trained on the classes background, stripes" in outcome.error


def test_strokes_that_are_no_labels_are_refused(copy, tools):
    name = ids(copy, "train")[0]
    Image.new("L", (64, 64), 9).save(copy / f"data/shapes/scribbles/{name}.png")
    for stage in (("grabcut",), ("forest", "forest", SEED)):
        outcome = tools.call(copy, *stage)
        assert outcome.code == 1
        assert f"scribbles/{name}.png: label 9; only 0..6 and 255 are known" in outcome.error


def test_without_a_row_that_needs_them_no_labels_are_cut(workspace, tools):
    outcome = tools.call(workspace, "grabcut")
    assert outcome.code == 0
    assert list((workspace / "data/shapes/grabcut").iterdir()) == []
