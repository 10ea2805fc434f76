import csv
import json

import numpy as np
import pytest
import torch

from bpg.data.masks import write_mask
from bpg.errors import BPGError
from bpg.losses.boundary import squared_error
from bpg.losses.partial_cross_entropy import partial_cross_entropy
from bpg.models.network import save_network
from bpg.training import train as module
from bpg.training.devices import set_up
from bpg.training.solver import poly
from bpg.training.train import EpochSampler, Meter

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
CPU = torch.device("cpu")


# The order of pictures


def epochs_of(sampler, items):
    keys = [key for batch in sampler for key in batch]
    per_epoch = len(keys) // sampler.epochs
    return [
        [key - epoch * items for key in keys[epoch * per_epoch : (epoch + 1) * per_epoch]]
        for epoch in range(sampler.epochs)
    ]


def test_every_epoch_is_a_permutation_of_its_own():
    sampler = EpochSampler(12, 4, 5, seed=3)
    assert [len(batch) for batch in sampler] == [4] * 15
    assert len(sampler) == 15
    epochs = epochs_of(sampler, 12)
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 5
    assert list(range(12)) not in epochs


def test_order_follows_from_the_seed():
    orders = [list(EpochSampler(12, 4, 3, seed)) for seed in (3, 3, 4)]
    assert orders[0] == orders[1] != orders[2]
    # A longer training begins like a shorter one.
    assert list(EpochSampler(12, 4, 5, 3))[:9] == orders[0]


def test_an_incomplete_last_batch_is_dropped_but_others_each_time():
    sampler = EpochSampler(11, 4, 30, seed=0)
    assert len(sampler) == len(list(sampler)) == 60
    left = [set(range(11)) - set(epoch) for epoch in epochs_of(sampler, 11)]
    assert all(len(three) == 3 for three in left)
    assert set.union(*left) == set(range(11))


# Sums over an epoch


def test_meter_weighs_the_edge_loss_by_pixels():
    meter = Meter(CPU)
    for loss, semantic, boundary, error, pixels in [(3, 1, 2, 30, 100), (5, 2, 3, 10, 300)]:
        terms = {"loss": loss, "semantic": semantic, "boundary": boundary, "labelled": 7}
        terms |= {"squared_error": error, "pixels": pixels}
        meter.add({name: torch.tensor(value) for name, value in terms.items()})
    expected = {"loss": 4.0, "semantic": 1.5, "boundary": 2.5, "edge_loss": 0.1}
    assert meter.means("here") == pytest.approx(expected)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_meter_names_the_place_of_a_loss_that_is_not_finite(bad):
    meter = Meter(CPU)
    for loss in (1.0, bad, 1.0):
        meter.add({name: torch.tensor(loss) for name in ("loss", "semantic", "labelled")})
    with pytest.raises(BPGError, match=r"bpg, epoch 3: .*not finite"):
        meter.means("bpg, epoch 3")


# Training


def bytes_of(network, path):
    save_network(network, path)
    return path.read_bytes()


def stacked(pictures):
    """All pictures, as drawn for the first epoch."""
    items = [pictures[i] for i in range(len(pictures))]
    return [torch.stack(plane) for plane in zip(*items, strict=True)]


def test_overfits_a_few_pictures(build, load, fit):
    network, pictures = build(), load("masks", crop=49, varied=False)
    first = fit(network, pictures, epochs=1)
    last = fit(network, pictures, epochs=25)
    assert last["loss"] < 0.5 * first["loss"]
    with torch.inference_mode():
        images, labels, *_ = stacked(pictures)
        scores, _ = network(images.float())
        again = partial_cross_entropy(scores, labels.long()).item()
    assert again < 0.8 * first["loss"]


def test_boundary_loss_falls_below_what_a_constant_can_reach(build, load, fit):
    network, pictures = build(brn="foreground"), load("masks", crop=49, varied=False)
    edges = stacked(pictures)[2]
    constant = ((edges - edges.mean()).square().sum() / edges.sum()).item()
    summary = fit(network, pictures, epochs=40, batch=8, rate=1e-2)
    assert summary["boundary"] < 0.9 * constant


@pytest.mark.parametrize("parts", [{}, {"prn": True, "brn": "foreground"}])
def test_same_seed_same_bytes_whatever_the_number_of_loading_processes(
    parts, build, load, fit, tmp_path
):
    contents = []
    for workers in (0, 0, 2):
        network = build(**parts)
        fit(network, load(), epochs=2, workers=workers)
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
    settings = {"optimizer": optimizer, "epochs": 2, "clip": None, "rate": 1e-3}
    states = []
    for brn, weight in ((None, 1.0), ("foreground", 0.0), ("foreground", 1.0)):
        network = build(prn=prn, brn=brn)
        fit(network, load(), boundary_weight=weight, **settings)
        states.append(network.state_dict())
    without, zero, one = states
    assert all(torch.equal(value, zero[name]) for name, value in without.items())
    assert any(not torch.equal(value, one[name]) for name, value in without.items())


def test_the_loss_is_eq_4(build, load, fit):
    summary = fit(build(prn=True, brn="foreground"), load(), boundary_weight=0.25)
    expected = summary["semantic"] + 0.25 * summary["boundary"]
    assert summary["loss"] == pytest.approx(expected, rel=1e-5)


def test_summary_of_the_first_epoch_by_hand(build, load, fit):
    """One step; its losses are those of the untrained network."""
    network = build(brn="foreground").train()
    images, labels, edges, valid = stacked(load(crop=57))
    scores, logits = network(images.float())
    error, pixels = squared_error(logits, edges, valid)
    semantic = partial_cross_entropy(scores, labels.long()).item()
    summary = fit(build(brn="foreground"), load(crop=57), batch=8)
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
    original = module.set_rates

    def record(solver, share):
        original(solver, share)
        shares.append(solver.param_groups[0]["lr"] / 2e-3)

    monkeypatch.setattr(module, "set_rates", record)
    summary = fit(build(), load(), epochs=3, batch=3)
    assert summary["steps"] == 6, "eight pictures are two batches of three"
    assert shares == pytest.approx([poly(step, 6) for step in range(6)])


def test_gradients_are_clipped(build, load, fit, monkeypatch):
    norms = []
    original = torch.nn.utils.clip_grad_norm_

    def record(parameters, limit):
        parameters = list(parameters)
        original(parameters, limit)
        grads = [p.grad.norm() for p in parameters if p.grad is not None]
        norms.append(torch.stack(grads).norm().item())

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", record)
    fit(build(), load(), clip=0.01)
    assert norms == pytest.approx([0.01, 0.01], rel=1e-3)
    fit(build(), load(), clip=None)
    assert len(norms) == 2


def test_frozen_norm_stays_as_it_was(build, load, fit):
    network = build(frozen_norm=True)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    fit(network, load(), optimizer="sgd", rate=1e-3)
    moved = {k for k, v in network.state_dict().items() if not torch.equal(v, before[k])}
    assert "head.branches.0.weight" in moved
    assert not [k for k in moved if "running" in k or "num_batches" in k or ".bn" in k]


@pytest.mark.parametrize("brn", [None, "foreground"])
def test_curves_have_a_row_an_epoch_in_dvclives_layout(brn, build, load, fit, tmp_path):
    summary = fit(build(brn=brn), load(), epochs=3)
    names = ["loss", "semantic"] + (["boundary", "edge_loss"] if brn else [])
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
        fit(build(**parts), load(), optimizer="sgd", rate=1e30, clip=None)
    one_line(caught)


def test_weights_that_are_not_finite_after_the_last_step_are_an_error(build, load, fit):
    """The loss is computed before the step, so that of the last one says nothing of it."""
    with pytest.raises(BPGError, match="not finite"):
        fit(build(), load(), batch=8, optimizer="sgd", rate=1e38, decay=1e10, clip=None)


def test_fewer_pictures_than_a_batch_are_an_error(build, load, fit):
    with pytest.raises(BPGError, match=r"8 training pictures .* batch of 9") as caught:
        fit(build(), load(), batch=9)
    one_line(caught)
    assert fit(build(), load(), batch=8)["steps"] == 1


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
        fit(build(), pictures, workers=workers)
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
            network, load(), device=torch.device(device), batch=8, optimizer="sgd", rate=1e-2
        )
        state = {k: v.cpu() for k, v in network.state_dict().items()}
        results.append((summary, state))
    (expected, on_cpu), (found, on_cuda) = results
    for name, value in expected.items():
        assert found[name] == (value if value is None else pytest.approx(value, rel=1e-4)), name
    for name, value in on_cpu.items():
        assert torch.allclose(on_cuda[name].float(), value.float(), rtol=1e-3, atol=1e-4), name


@pytest.mark.cuda
@needs_cuda
@pytest.mark.parametrize("bf16", [False, True])
def test_training_on_cuda_repeats_byte_by_byte(bf16, build, load, fit, tmp_path):
    device = torch.device("cuda")
    set_up(device, threads=1, seed=0, deterministic=True)
    contents = []
    for _ in range(3):
        network = build(prn=True, brn="foreground")
        fit(network, load(), epochs=3, device=device, bf16=bf16)
        contents.append(bytes_of(network, tmp_path / "model"))
    assert contents[0] == contents[1] == contents[2]
