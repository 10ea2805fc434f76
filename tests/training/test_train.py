import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from bpg.data.masks import write_mask
from bpg.devices import set_up
from bpg.errors import BPGError
from bpg.losses.boundary import squared_error
from bpg.losses.options import DenseOptions, GatedOptions, TreeOptions
from bpg.losses.partial_cross_entropy import partial_cross_entropy
from bpg.models.network import save_network
from bpg.training import train as module
from bpg.training.optim import poly_lr

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
CPU = torch.device("cpu")


# The order of images


# Sums over an epoch


# Training


def bytes_of(network, path):
    save_network(network, path)
    return path.read_bytes()


def test_overfits_a_few_pictures(build, load, fit, stacked):
    network, pictures = build(), load("masks", crop=49, varied=False)
    first = fit(network, pictures, epochs=1)
    last = fit(network, pictures, epochs=25)
    assert last["loss"] < 0.5 * first["loss"]
    with torch.inference_mode():
        images, labels, *_ = stacked(pictures)
        logits = network(images.permute(0, 3, 1, 2).float()).logits
        again = partial_cross_entropy(logits, labels.long()).item()
    assert again < 0.8 * first["loss"]


def test_boundary_loss_falls_below_what_a_constant_can_reach(build, load, fit, stacked):
    network, pictures = build(brn="foreground"), load("masks", crop=49, varied=False)
    edges = stacked(pictures)[2] / 255
    constant = ((edges - edges.mean()).square().sum() / edges.sum()).item()
    summary = fit(network, pictures, epochs=40, batch_size=8, lr=1e-2)
    assert summary["boundary"] < 0.9 * constant


@pytest.mark.parametrize("parts", [{}, {"prn": True, "brn": "foreground"}])
def test_same_seed_same_bytes_whatever_the_number_of_loading_processes(
    parts, build, load, fit, tmp_path
):
    contents = []
    for workers in (0, 0, 2):
        network = build(**parts)
        fit(network, load(), epochs=2, num_workers=workers)
        contents.append(bytes_of(network, tmp_path / "model"))
    assert contents[0] == contents[1], "two runs differ"
    assert contents[0] == contents[2], "loading processes change the result"


def test_cached_pictures_and_bf16_repeat_too(build, load, fit, tmp_path):
    contents = []
    for cached in (True, False):
        network, pictures = build(brn="foreground"), load()
        pictures.cache = {} if cached else None
        fit(network, pictures, epochs=2, bf16=True)
        contents.append(bytes_of(network, tmp_path / "model"))
    assert contents[0] == contents[1]


class Recording:
    """Training images that keep what was drawn."""

    def __init__(self, pictures):
        self.pictures, self.drawn = pictures, []
        self.augmentation = pictures.augmentation

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, key):
        items = self.pictures[key]
        self.drawn.append(items)
        return items


def test_going_on_sees_what_a_longer_training_would_have_seen(build, load, fit):
    def drawn(*trainings):
        pictures, network = Recording(load()), build()
        for epochs, first_epoch in trainings:
            fit(network, pictures, epochs=epochs, first_epoch=first_epoch)
        return [torch.cat([plane.flatten() for plane in items]) for items in pictures.drawn]

    whole = drawn((3, 0))
    assert len(whole) == 3 * 8
    for parts in ([(1, 0), (2, 1)], [(2, 0), (1, 2)], [(1, 0), (1, 1), (1, 2)]):
        again = drawn(*parts)
        assert len(again) == len(whole)
        assert all(torch.equal(a, b) for a, b in zip(again, whole, strict=True))
    # Otherwise the first epoch would be seen twice.
    assert not torch.equal(drawn((1, 0), (1, 0))[8], whole[8])


def test_going_on_starts_the_schedule_anew_and_counts_on_in_the_curves(
    build, load, fit, monkeypatch, tmp_path
):
    shares = []
    original = module.set_lrs

    def record(solver, share):
        original(solver, share)
        shares.append(share)

    monkeypatch.setattr(module, "set_lrs", record)
    summary = fit(build(), load(), epochs=2, first_epoch=3)
    assert (summary["epochs"], summary["steps"]) == (2, 4)
    assert shares == pytest.approx([poly_lr(step, 4) for step in range(4)])
    with (tmp_path / "curves/plots/metrics/train/loss.tsv").open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file, delimiter="\t")]
    assert steps == [4, 5]


@pytest.mark.parametrize("what", ["order", "crops", "weights"])
def test_another_seed_is_another_training(what, build, load, fit, tmp_path):
    contents = []
    for seed in (0, 1):
        network = build(seed=seed if what == "weights" else 0)
        pictures = load(seed=seed if what == "crops" else 0)
        fit(network, pictures, seed=seed if what == "order" else 0)
        contents.append(bytes_of(network, tmp_path / "model"))
    assert contents[0] != contents[1]


@pytest.mark.parametrize("prn", [False, True])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_lambda_0_trains_as_if_there_were_no_brn(prn, optimizer, build, load, fit):
    settings = {"optimizer": optimizer, "epochs": 2, "max_grad_norm": None, "lr": 1e-3}
    states = []
    for brn, weight in ((None, 1.0), ("foreground", 0.0), ("foreground", 1.0)):
        network = build(prn=prn, brn=brn)
        fit(network, load(), boundary_weight=weight, **settings)
        states.append(network.state_dict())
    without, zero, one = states
    assert all(torch.equal(value, zero[name]) for name, value in without.items())
    assert any(not torch.equal(value, one[name]) for name, value in without.items())


# Regularisers

REGULARISERS = {
    "normalized_cut": DenseOptions(weight=0.5, reduction=2, xy=20.0, rgb=15.0),
    "dense_crf": DenseOptions(weight=0.25, reduction=2, xy=20.0, rgb=15.0),
    "gated_crf": GatedOptions(weight=0.1, reduction=2, radius=3, xy=6.0, rgb=0.1),
    "tree_energy": TreeOptions(weight=0.4, reduction=4, low=0.02, high=1.0),
}
EACH = [{name: options} for name, options in REGULARISERS.items()]
NAMED = pytest.mark.parametrize("regularisers", EACH, ids=REGULARISERS)
NETWORKS = [{}, {"prn": True, "brn": "foreground"}]


@pytest.mark.parametrize("parts", NETWORKS)
def test_the_summary_has_every_regulariser_without_its_weight(parts, build, load, fit):
    summary = fit(build(**parts), load(), boundary_weight=0.25, regularisers=REGULARISERS)
    expected = summary["semantic"] + 0.25 * (summary["boundary"] or 0)
    expected += sum(options.weight * summary[name] for name, options in REGULARISERS.items())
    assert summary["loss"] == pytest.approx(expected, rel=1e-5)


@NAMED
def test_a_regulariser_has_a_curve_of_its_own(regularisers, build, load, fit, tmp_path):
    summary = fit(build(), load(), epochs=2, regularisers=regularisers)
    (name,) = regularisers
    assert [key for key in summary if key in REGULARISERS] == [name]
    found = {path.stem for path in (tmp_path / "curves/plots/metrics/train").iterdir()}
    assert found == {"loss", "semantic", name, f"{name}_gradient"}
    with (tmp_path / f"curves/plots/metrics/train/{name}.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [int(row["step"]) for row in rows] == [1, 2]
    assert float(rows[-1][name]) == pytest.approx(summary[name], abs=1e-5)


@NAMED
def test_a_regulariser_of_weight_0_trains_as_if_there_were_none(
    regularisers, build, load, fit, tmp_path
):
    (name,) = regularisers
    contents = []
    for weight in (None, 0.0, regularisers[name].weight):
        chosen = {} if weight is None else {name: replace(regularisers[name], weight=weight)}
        network = build()
        fit(network, load(), epochs=2, regularisers=chosen)
        contents.append(bytes_of(network, tmp_path / "model"))
    without, zero, weighted = contents
    assert without == zero
    assert without != weighted


@pytest.mark.parametrize("bf16", [False, True])
@NAMED
def test_a_regulariser_trains_to_the_same_bytes_twice(
    regularisers, bf16, build, load, fit, tmp_path
):
    set_up(CPU, threads=1, seed=0, deterministic=True)
    contents = []
    for _ in range(2):
        network = build(prn=True, brn="foreground")
        fit(network, load(), epochs=2, regularisers=regularisers, bf16=bf16)
        contents.append(bytes_of(network, tmp_path / "model"))
    assert contents[0] == contents[1]


def test_summary_of_the_first_epoch_by_hand(build, load, fit, stacked):
    """One step; its losses are those of the untrained network."""
    network = build(brn="foreground").train()
    images, labels, edges, valid = stacked(load(crop=57))
    images, edges = images.permute(0, 3, 1, 2), edges / 255
    logits, edge_logits, _ = network(images.float())
    error, pixels = squared_error(edge_logits, edges, valid)
    semantic = partial_cross_entropy(logits, labels.long()).item()
    summary = fit(build(brn="foreground"), load(crop=57), batch_size=8)
    assert summary["steps"] == 1
    assert summary["semantic"] == pytest.approx(semantic, rel=1e-4)
    assert summary["edge_loss"] == pytest.approx((error / pixels).item(), rel=1e-4)
    assert (~valid).any(), "padding must be in the case"


def test_summary_without_brn_has_no_edge_loss(build, load, fit):
    summary = fit(build(), load(edges=False))
    assert summary["edge_loss"] is None
    assert summary["boundary"] is None
    assert summary["loss"] == summary["semantic"]


def test_rates_follow_the_poly_schedule(build, load, fit, monkeypatch):
    shares = []
    original = module.set_lrs

    def record(solver, share):
        original(solver, share)
        shares.append(solver.param_groups[0]["lr"] / 2e-3)

    monkeypatch.setattr(module, "set_lrs", record)
    summary = fit(build(), load(), epochs=3, batch_size=3)
    assert summary["steps"] == 6, "eight images are two batches of three"
    assert shares == pytest.approx([poly_lr(step, 6) for step in range(6)])


def test_gradients_are_clipped(build, load, fit, monkeypatch):
    norms = []
    original = torch.nn.utils.clip_grad_norm_

    def record(parameters, limit):
        parameters = list(parameters)
        original(parameters, limit)
        grads = [p.grad.norm() for p in parameters if p.grad is not None]
        norms.append(torch.stack(grads).norm().item())

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", record)
    fit(build(), load(), max_grad_norm=0.01)
    assert norms == pytest.approx([0.01, 0.01], rel=1e-3)
    fit(build(), load(), max_grad_norm=None)
    assert len(norms) == 2


def test_frozen_norm_stays_as_it_was(build, load, fit):
    network = build(frozen_norm=True)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    fit(network, load(), optimizer="sgd", lr=1e-3)
    moved = {k for k, v in network.state_dict().items() if not torch.equal(v, before[k])}
    assert "head.branches.0.weight" in moved
    assert not [k for k in moved if "running" in k or "num_batches" in k or ".bn" in k]


@pytest.mark.parametrize("brn", [None, "foreground"])
def test_curves_have_a_row_an_epoch_in_dvclives_layout(brn, build, load, fit, tmp_path):
    summary = fit(build(brn=brn), load(), epochs=3)
    names = ["loss", "semantic"] + (["boundary", "edge_loss", "boundary_gradient"] if brn else [])
    curves = tmp_path / "curves"
    found = sorted(str(p.relative_to(curves)) for p in curves.rglob("*") if p.is_file())
    assert found == sorted(["metrics.json"] + [f"plots/metrics/train/{n}.tsv" for n in names])
    for name in names:
        with (curves / f"plots/metrics/train/{name}.tsv").open() as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        assert [int(row["step"]) for row in rows] == [1, 2, 3]
        assert float(rows[-1][name]) == pytest.approx(summary[name], abs=1e-5)
    metrics = json.loads((curves / "metrics.json").read_text())
    assert metrics["train"]["loss"] == pytest.approx(summary["loss"], abs=1e-5)


def test_training_again_starts_the_curves_anew(build, load, fit, tmp_path):
    for epochs in (3, 1):
        fit(build(), load(), epochs=epochs)
    table = (tmp_path / "curves/plots/metrics/train/loss.tsv").read_text()
    assert len(table.splitlines()) == 1 + 1


# Bad input


def one_line(caught):
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("parts", [{}, {"prn": True, "brn": "foreground"}])
def test_a_loss_that_is_not_finite_is_an_error(parts, build, load, fit):
    with pytest.raises(BPGError, match=r"test, seed 0, epoch 1: .*not finite") as caught:
        fit(build(**parts), load(), optimizer="sgd", lr=1e30, max_grad_norm=None)
    one_line(caught)


def test_weights_that_are_not_finite_after_the_last_step_are_an_error(build, load, fit):
    """The loss is computed before the step, so that of the last one says nothing of it."""
    with pytest.raises(BPGError, match="not finite"):
        fit(
            build(),
            load(),
            batch_size=8,
            optimizer="sgd",
            lr=1e38,
            weight_decay=1e10,
            max_grad_norm=None,
        )


def test_fewer_images_than_a_batch_are_an_error(build, load, fit):
    with pytest.raises(BPGError, match=r"8 training images .* batch of 9") as caught:
        fit(build(), load(), batch_size=9)
    one_line(caught)
    assert fit(build(), load(), batch_size=8)["steps"] == 1


def test_no_labelled_pixel_at_all_is_an_error(build, load, fit):
    with pytest.raises(BPGError, match="no labelled pixel") as caught:
        fit(build(brn="foreground"), load("blank"))
    one_line(caught)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_mask_is_one_line_that_names_it(workers, build, load, fit, tmp_path):
    pictures = load()
    (tmp_path / "labels").mkdir()
    for name in pictures.ids:
        write_mask(tmp_path / f"labels/{name}.png", np.full((48, 48), 9, np.uint8))
    pictures.folders = (pictures.folders[0], tmp_path / "labels", pictures.folders[2])
    with pytest.raises(BPGError, match=r"p\d\.png: label 9") as caught:
        fit(build(), pictures, num_workers=workers)
    one_line(caught)


# CUDA


@pytest.mark.cuda
@needs_cuda
@pytest.mark.parametrize("parts", [{}, {"prn": True, "brn": "foreground"}])
def test_a_training_step_on_cuda_equals_one_on_the_cpu(parts, build, load, fit):
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    results = []
    for device in ("cpu", "cuda"):
        network = build(**parts)
        summary = fit(
            network, load(), device=torch.device(device), batch_size=8, optimizer="sgd", lr=1e-2
        )
        state = {k: v.cpu() for k, v in network.state_dict().items()}
        summary.pop("seconds")
        results.append((summary, state))
    (expected, on_cpu), (found, on_cuda) = results
    for name, value in expected.items():
        assert found[name] == (value if value is None else pytest.approx(value, rel=1e-4)), name
    for name, value in on_cpu.items():
        assert torch.allclose(on_cuda[name].float(), value.float(), rtol=1e-3, atol=1e-4), name


@pytest.mark.cuda
@needs_cuda
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("frozen_norm", [False, True])
def test_training_on_cuda_repeats_byte_by_byte(frozen_norm, bf16, build, load, fit, tmp_path):
    """And a captured step is the same as one from Python."""
    device = torch.device("cuda")
    set_up(device, threads=1, seed=0, deterministic=True)
    results = []
    for captured in (False, False, True, True):
        network = build(prn=True, brn="foreground", frozen_norm=frozen_norm)
        options = {
            "epochs": 3,
            "device": device,
            "bf16": bf16,
            "captured": captured,
            "num_workers": 1,
        }
        summary = fit(network, load(), **options)
        summary.pop("seconds")
        results.append((bytes_of(network, tmp_path / "model"), summary))
    assert all(result == results[0] for result in results)


@pytest.mark.cuda
@needs_cuda
def test_what_cannot_be_captured_is_trained_all_the_same(build, load, fit):
    regularisers = {"tree_energy": REGULARISERS["tree_energy"]}
    options = {"device": torch.device("cuda"), "regularisers": regularisers}
    assert fit(build(), load(crop=57), captured=True, **options)["tree_energy"] > 0
