"""The stages that go on from another variant: what they start from, see and leave alone."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

TINY = "params/recipe/tiny.yaml"
# The finished run has four epochs in all, the warm start two.
STAGES = {
    "kernelcut": ("fine_tune", "warm", [3, 4]),
    "softlabel": ("fine_tune_edges", "warm", [3, 4]),
    "bpg_kernelcut": ("fine_tune_boundary", "bpg_warm", [3, 4]),
    "scribblesup_1": ("train_propagated", "warm", [3]),
}


def tensors(folder, variant):
    with safe_open(folder / f"runs/{variant}/0/model.safetensors", framework="np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def trained(folder, tools, variant):
    outcome = tools.call(folder, STAGES[variant][0], variant, "0")
    assert outcome.code == 0, outcome.error
    return tensors(folder, variant)


@pytest.mark.parametrize("variant", STAGES)
def test_training_starts_from_the_weights_of_the_variant_that_it_goes_on_from(
    workspace, tools, variant
):
    """With a rate of almost nothing it stays there."""
    start = tensors(workspace, STAGES[variant][1])
    kernels = [name for name in start if start[name].ndim == 4]
    assert {name.split(".")[0] for name in kernels} >= {"backbone", "head"}
    moved = trained(workspace, tools, variant)
    assert any(np.abs(moved[name] - start[name]).max() > 1e-3 for name in kernels)
    tools.edit(workspace / TINY, {"training.lr": 1e-9})
    still = trained(workspace, tools, variant)
    assert all(np.abs(still[name] - start[name]).max() < 1e-6 for name in kernels)
    # Otherwise from-scratch weights would pass: those of another training are elsewhere.
    other = tensors(workspace, "bpg" if variant.startswith("bpg") else "scribble")
    assert all(np.abs(other[name] - start[name]).max() > 1e-3 for name in kernels)


@pytest.mark.parametrize("variant", STAGES)
def test_its_epochs_go_on_where_the_start_ended(workspace, tools, variant):
    trained(workspace, tools, variant)
    run = workspace / f"runs/{variant}/0"
    path = run / "curves/plots/metrics/train/loss.tsv"
    with path.open(encoding="utf-8", newline="") as file:
        steps = [int(row["step"]) for row in csv.DictReader(file, delimiter="\t")]
    assert steps == STAGES[variant][2]
    summary = json.loads((run / "training.json").read_text(encoding="utf-8"))
    assert summary["epochs"] == len(steps)


def test_the_second_round_asks_the_network_of_the_first(workspace, tools):
    """Both rounds run; without the first one's network the second does not."""
    trained(workspace, tools, "scribblesup_1")
    shutil.rmtree(workspace / "runs/warm")
    for stage in ("propagate", "train_propagated"):
        outcome = tools.call(workspace, stage, "scribblesup", "0")
        assert outcome.code == 0, outcome.error
    (workspace / "runs/scribblesup_1/0/model.safetensors").unlink()
    outcome = tools.call(workspace, "propagate", "scribblesup", "0")
    assert "runs/scribblesup_1/0/model.safetensors: no such model" in outcome.error


# What a stage sees: the rest may be missing.

UNSEEN = {
    ("train", "warm"): ["data/shapes/masks", "data/shapes/edges", "runs"],
    ("fine_tune", "kernelcut"): ["data/shapes/masks", "data/shapes/edges"],
    ("fine_tune_edges", "softlabel"): ["data/shapes/masks"],
    ("fine_tune_boundary", "bpg_kernelcut"): ["data/shapes/masks"],
    ("propagate", "scribblesup_1"): ["data/shapes/masks", "data/shapes/edges"],
    ("forest", "forest"): ["data/shapes/masks", "data/shapes/edges", "runs"],
    ("train_propagated", "scribblesup_1"): [
        *("data/shapes/masks", "data/shapes/edges", "data/shapes/scribbles"),
    ],
}


@pytest.mark.parametrize(("command", "unseen"), UNSEEN.items(), ids=" ".join)
def test_a_stage_does_without_what_it_must_not_see(workspace, tools, command, unseen):
    stage, variant = command
    for place in unseen:
        shutil.rmtree(workspace / place)
    outcome = tools.call(workspace, stage, variant, "0")
    assert outcome.code == 0, outcome.error


def test_propagated_labels_are_what_is_learnt(workspace, tools):
    before = trained(workspace, tools, "scribblesup_1")
    for path in (workspace / "runs/scribblesup_1/0/propagated").iterdir():
        Image.new("L", (64, 64), 3).save(path)
    after = trained(workspace, tools, "scribblesup_1")
    assert any((before[name] != after[name]).any() for name in before)
    summary = json.loads((workspace / "runs/scribblesup_1/0/training.json").read_text("utf-8"))
    assert summary["loss"] == summary["semantic"]


@pytest.mark.parametrize(
    ("variant", "terms"),
    [
        ("fine_tuned", []),
        ("normalcut", ["normalized_cut"]),
        ("densecrf", ["dense_crf"]),
        ("kernelcut", ["normalized_cut", "dense_crf"]),
        ("gatedcrf", ["gated_crf"]),
        ("treeenergy", ["tree_energy"]),
        ("softlabel", ["soft_label"]),
        ("ema", ["mean_teacher"]),
    ],
)
def test_every_peer_is_trained_with_its_own_losses_and_weights(workspace, tools, variant, terms):
    weights = {term: 0.1 + number for number, term in enumerate(terms)}
    changes = {f"regularisers.{term}.weight": weight for term, weight in weights.items()}
    tools.edit(workspace / TINY, changes)
    assert tools.call(workspace, "train", variant, "0").code == 0
    path = workspace / f"runs/{variant}/0/training.json"
    summary = json.loads(path.read_text(encoding="utf-8"))
    usual = {"epochs", "steps", "loss", "semantic", "boundary", "edge_loss"}
    usual |= {"blank_batches", "unseen_classes", *(f"{term}_gradient" for term in terms)}
    assert summary.keys() - usual == set(terms)
    expected = summary["semantic"] + sum(w * summary[term] for term, w in weights.items())
    assert summary["loss"] == pytest.approx(expected, rel=1e-5)
