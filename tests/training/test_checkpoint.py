"""A training that was stopped and gone on with ends as one that never was."""

import json
import os
import shutil
import signal
import time
from dataclasses import replace

import numpy as np
import psutil
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bpg.data.masks import read_mask
from bpg.data.shapes import CLASSES
from bpg.devices import set_up
from bpg.errors import BPGError
from bpg.losses.options import OPTIONS
from bpg.models.network import save_network
from bpg.training import train as module
from bpg.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from bpg.training.optim import make_optimizer
from bpg.training.options import OptimizerOptions

BOTH = {"prn": True, "brn": "foreground"}
EPOCHS, STEPS = 3, 6  # two batches of 4 of the 8 images an epoch
TREE = {"tree_energy": OPTIONS["tree_energy"](weight=0.4, reduction=4, low=0.02, high=1.0)}
KERNELCUT = {
    term: OPTIONS[term](weight=0.1, reduction=2, xy=20, rgb=15)
    for term in ("normalized_cut", "dense_crf")
}

TEACHER = {
    "mean_teacher": OPTIONS["mean_teacher"](weight=1.0, reduction=2, decay=0.9),
    "soft_label": OPTIONS["soft_label"](
        weight=0.3, reduction=4, smoothness=20, edge=0.2, iterations=5
    ),
}

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


class Killed(Exception):  # noqa: N818
    pass


@pytest.fixture
def trained(build, load, fit, tmp_path, monkeypatch):
    """Train; die right after the given steps, before they are kept, and start again each time.

    Returns all that the training leaves: model, summary, curves.
    """
    optimizer_step = module.optimizer_step

    def run(name, deaths=(), *, parts=BOTH, pictures=None, **options):
        folder = tmp_path / name
        options = {"epochs": EPOCHS, "checkpoint_seconds": 0.0} | options
        for start, death in enumerate([*deaths, None]):
            left = [death]

            def step(*arguments, left=left):
                terms = optimizer_step(*arguments)
                if left[0] is not None:
                    left[0] -= 1
                    if left[0] == 0:
                        raise Killed
                return terms

            monkeypatch.setattr(module, "optimizer_step", step)
            network = build(**parts)
            torch.manual_seed(start)  # what a later process has drawn before does not matter
            try:
                summary = fit(
                    network, pictures or load(), checkpoint=folder / "checkpoint", **options
                )
            except Killed:
                assert death is not None
        monkeypatch.setattr(module, "optimizer_step", optimizer_step)
        summary.pop("seconds")
        save_network(network, folder / "model")
        curves = tmp_path / "curves"
        return (
            (folder / "model").read_bytes(),
            json.dumps(summary),
            {str(p.relative_to(curves)): p.read_bytes() for p in curves.rglob("*") if p.is_file()},
        )

    return run


# Deaths are counted in steps from each start, which goes on after the last step that was kept.
@pytest.mark.parametrize(
    ("deaths", "settings"),
    [
        ([1], {}),
        ([2], {}),  # at the end of an epoch
        ([3], {"optimizer": "sgd", "lr": 1e-2}),
        ([1, 2, 2, 3], {}),  # the steps 1, 2, 3, 5
        ([4], {"num_workers": 2}),
        ([2, 2], {"bf16": True}),
        ([5], {"parts": {}, "boundary_weight": 0.0, "regularisers": TREE, "first_epoch": 4}),
        ([STEPS], {"parts": {"frozen_norm": True}}),
        ([1, 4], {"regularisers": TEACHER}),
        ([6], {"regularisers": KERNELCUT}),  # in the last epoch, with sums of two
    ],
)
def test_a_stopped_training_ends_with_the_same_bytes(deaths, settings, trained):
    undisturbed = trained("undisturbed", **settings)
    stopped = trained("stopped", deaths, **settings)
    assert stopped == undisturbed
    assert len(undisturbed[2]["plots/metrics/train/loss.tsv"].splitlines()) == 1 + EPOCHS


def test_without_a_checkpoint_it_starts_from_the_first_step_and_ends_the_same(trained):
    never = {"checkpoint_seconds": 1e9}
    assert trained("killed", [4], **never) == trained("undisturbed", **never)


def test_the_optimizers_state_is_resumed_too(trained, build, load, fit, tmp_path, monkeypatch):
    """Without which the tests above would pass for a optimizer that has none."""
    undisturbed = trained("undisturbed")
    restore_all = module.restore

    def without_state(data, path, network, optimizer, teacher):
        progress = restore_all(data, path, network, optimizer, teacher)
        optimizer.state.clear()
        return progress

    monkeypatch.setattr(module, "restore", without_state)
    assert trained("forgetful", [4])[0] != undisturbed[0]


def test_random_draws_of_the_network_go_on(trained, monkeypatch):
    """Dropout draws from PyTorch's own state; none of our networks has any."""
    forward = module.Network.forward

    def noisy(self, images):
        output = forward(self, images)
        return output._replace(logits=torch.dropout(output.logits, 0.2, self.training))

    monkeypatch.setattr(module.Network, "forward", noisy)
    assert trained("stopped", [4], parts={}) == trained("undisturbed", parts={})


def test_seconds_add_up_over_the_starts(build, load, fit, tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    optimizer_step = module.optimizer_step

    def step(*arguments):
        now[0] += 10
        return optimizer_step(*arguments)

    monkeypatch.setattr(module, "optimizer_step", step)
    options = {"checkpoint": tmp_path / "checkpoint", "checkpoint_seconds": 0.0}
    assert fit(build(), load(), epochs=2, **options)["seconds"] == 40
    now[0] = 1000
    assert fit(build(), load(), epochs=2, **options)["seconds"] == 40  # nothing was left to do
    assert fit(build(), load(), epochs=3, **options)["seconds"] == 60


def test_it_is_kept_as_often_as_asked_and_at_the_end(build, load, fit, tmp_path, monkeypatch):
    now, kept = [0.0], []
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    optimizer_step, save = module.optimizer_step, module.save_checkpoint

    def step(*arguments):
        now[0] += 10
        return optimizer_step(*arguments)

    def note(path, network, optimizer, progress, teacher):
        kept.append(progress.step)
        save(path, network, optimizer, progress, teacher)

    monkeypatch.setattr(module, "optimizer_step", step)
    monkeypatch.setattr(module, "save_checkpoint", note)
    fit(build(), load(), epochs=4, checkpoint=tmp_path / "kept", checkpoint_seconds=25.0)
    assert kept == [3, 6, 8]


# Interrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_waits_for_the_step_and_keeps_it(
    number, trained, build, load, fit, tmp_path, monkeypatch
):
    never = {"epochs": EPOCHS, "checkpoint_seconds": 1e9}
    undisturbed = trained("undisturbed", parts={}, **never)
    optimizer_step, steps = module.optimizer_step, []

    def step(*arguments):
        if len(steps) == 2:
            signal.raise_signal(number)
        steps.append(optimizer_step(*arguments))
        return steps[-1]

    monkeypatch.setattr(module, "optimizer_step", step)
    (tmp_path / "stopped").mkdir()
    kept = tmp_path / "stopped/checkpoint"
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt, match="after step 3 of 6"):
        fit(build(), load(), checkpoint=kept, **never)
    assert len(steps) == 3
    assert signal.getsignal(number) is before
    monkeypatch.setattr(module, "optimizer_step", optimizer_step)
    assert trained("stopped", parts={}, **never) == undisturbed


def test_an_interrupt_in_the_last_step_ends_the_stage_too(build, load, fit, tmp_path, monkeypatch):
    """DVC would otherwise go on to the next one."""
    optimizer_step, steps = module.optimizer_step, []

    def step(*arguments):
        steps.append(optimizer_step(*arguments))
        if len(steps) == 2:
            signal.raise_signal(signal.SIGINT)
        return steps[-1]

    monkeypatch.setattr(module, "optimizer_step", step)
    with pytest.raises(KeyboardInterrupt, match="after step 2 of 2"):
        fit(build(), load(), checkpoint=tmp_path / "kept")
    fit(build(), load(), checkpoint=tmp_path / "kept")
    assert len(steps) == 2


def test_a_sigterm_to_the_whole_job_waits_for_the_step_and_keeps_it(
    trained, build, load, fit, tmp_path, monkeypatch
):
    """Batch systems send it to the loading processes as well."""
    never = {"epochs": EPOCHS, "checkpoint_seconds": 1e9, "num_workers": 2}
    undisturbed = trained("undisturbed", parts={}, **never)
    optimizer_step, steps = module.optimizer_step, []

    def step(*arguments):
        if len(steps) == 2:
            for child in psutil.Process().children():
                if child.name() == psutil.Process().name():  # not a tracker of resources
                    child.terminate()
            signal.raise_signal(signal.SIGTERM)
            time.sleep(0.5)  # for a child that dies to be noticed
        steps.append(optimizer_step(*arguments))
        return steps[-1]

    monkeypatch.setattr(module, "optimizer_step", step)
    (tmp_path / "stopped").mkdir()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt, match="after step 3 of 6"):
        fit(build(), load(), checkpoint=tmp_path / "stopped/checkpoint", **never)
    assert time.monotonic() - began < 300
    monkeypatch.setattr(module, "optimizer_step", optimizer_step)
    assert trained("stopped", parts={}, **never) == undisturbed


# Training gone wrong


def test_a_loading_process_that_dies_is_named_and_the_training_goes_on(trained, load):
    undisturbed = trained("undisturbed", parts={}, num_workers=1)
    pictures, parent = load(), os.getpid()
    read, reads = pictures._read, []

    def killed(index):
        reads.append(index)
        if os.getpid() != parent and len(reads) > 14:  # in the fourth batch
            os.kill(os.getpid(), signal.SIGKILL)
        return read(index)

    pictures._read = killed
    with pytest.raises(BPGError, match=r"a loading process died .*workers") as caught:
        trained("stopped", parts={}, num_workers=1, pictures=pictures)
    assert "\n" not in str(caught.value)
    assert trained("stopped", parts={}, num_workers=1) == undisturbed


def test_a_class_that_never_occurs_is_named(build, load, fit, folder, capsys):
    ids = ["p0", "p1"]
    drawn = {label for i in ids for label in np.unique(read_mask(folder / f"scribbles/{i}.png"))}
    missing = [name for label, name in enumerate(CLASSES) if label not in drawn]
    assert 0 < len(missing) < len(CLASSES)
    whole = {"crop": 49, "varied": False, "ids": ids}
    summary = fit(build(), load(**whole), epochs=2, batch_size=2)
    assert summary["unseen_classes"] == missing
    assert f"no crop had a labelled pixel of {', '.join(missing)}: never learnt" in (
        capsys.readouterr().err
    )
    fit(build(), load(crop=49, varied=False), batch_size=8)
    assert "never learnt" not in capsys.readouterr().err


def test_batches_without_a_labelled_pixel_are_counted_and_named(
    build, load, fit, folder, tmp_path, capsys
):
    """They teach the boundary network alone."""
    shutil.copytree(folder / "scribbles", tmp_path / "labels")
    for number in range(6):
        shutil.copy(folder / f"blank/p{number}.png", tmp_path / f"labels/p{number}.png")
    pictures = load(crop=49, varied=False)
    pictures.folders = (pictures.folders[0], tmp_path / "labels", pictures.folders[2])
    summary = fit(build(brn="foreground"), pictures, epochs=2, batch_size=1)
    assert summary["blank_batches"] == 12
    assert "12 of 16 batches had no labelled pixel" in capsys.readouterr().err
    assert summary["semantic"] > 0


def test_a_checkpoint_never_holds_a_loss_that_is_not_finite(build, load, fit, tmp_path):
    kept = tmp_path / "checkpoint"
    wild = {"optimizer": "sgd", "lr": 1e30, "max_grad_norm": None, "batch_size": 1, "epochs": 1}
    with pytest.raises(BPGError, match=r"step \d: the loss is not finite"):
        fit(build(), load(), checkpoint=kept, checkpoint_seconds=0.0, **wild)
    assert load_into(kept, build(), "sgd").step < 8


def test_a_checkpoint_never_holds_weights_that_are_not_finite(
    build, load, fit, tmp_path, monkeypatch
):
    """The loss was computed before the step that spoilt them."""
    optimizer_step, steps = module.optimizer_step, []

    def step(network, *arguments):
        steps.append(optimizer_step(network, *arguments))
        if len(steps) == 3:
            with torch.no_grad():
                next(network.parameters())[0] = float("inf")
        return steps[-1]

    monkeypatch.setattr(module, "optimizer_step", step)
    kept = tmp_path / "checkpoint"
    with pytest.raises(BPGError, match="step 3: the weights are not finite"):
        fit(build(), load(), epochs=3, checkpoint=kept, checkpoint_seconds=0.0)
    assert load_into(kept, build()).step == 2


# Files that are no checkpoint, or another's


def make_solver(network, name="adamw"):
    return make_optimizer(network, OptimizerOptions(name, 1e-3, 0.9, 0.0, 1.0, 1.0, None))


def load_into(path, network, name="adamw"):
    return load_checkpoint(path, network, make_solver(network, name))


@pytest.fixture
def checkpoint(build, load, fit, tmp_path):
    path = tmp_path / "checkpoint"
    fit(build(), load(), checkpoint=path)
    return path


def test_a_checkpoint_gives_back_what_it_was_given(build, tmp_path):
    network = build(**BOTH)
    optimizer = make_solver(network)
    network(torch.rand(1, 3, 33, 33)).logits.sum().backward()
    optimizer.step()
    sums = {"loss": torch.tensor(0.1, dtype=torch.float64), "labelled": torch.arange(7.0).double()}
    progress = Progress(5, [{"loss": 1 / 3, "boundary": None}], [1, 2], 3, sums, 2, 4.5)
    save_checkpoint(tmp_path / "kept", network, optimizer, progress)
    other = build(**BOTH, seed=1)
    empty = make_solver(other)
    found = load_checkpoint(tmp_path / "kept", other, empty)
    assert {n: v.tolist() for n, v in found.sums.items()} == {
        n: v.tolist() for n, v in sums.items()
    }
    assert replace(found, sums={}) == replace(progress, sums={})
    pairs = zip(other.state_dict().values(), network.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert len(optimizer.state) == len(empty.state) > 0
    for mine, theirs in zip(network.parameters(), other.parameters(), strict=True):
        assert optimizer.state.get(mine, {}).keys() == empty.state.get(theirs, {}).keys()
        for name, value in optimizer.state.get(mine, {}).items():
            assert torch.equal(value, empty.state[theirs][name])
            assert value.stride() == empty.state[theirs][name].stride()


def test_channels_last_parameters_get_state_of_their_own_layout(build, load, fit, tmp_path):
    """Another layout takes kernels that may round differently."""
    path = tmp_path / "kept"
    fit(build(), load(), checkpoint=path)
    network = build().to(memory_format=torch.channels_last)
    optimizer = make_solver(network)
    load_checkpoint(path, network, optimizer)
    kernels = [p for p in network.parameters() if p.ndim == 4 and p.shape[2] > 1]
    assert kernels
    for kernel in kernels:
        assert optimizer.state[kernel]["exp_avg"].stride() == kernel.stride()


@pytest.mark.parametrize(
    ("parts", "optimizer"),
    [({"prn": True}, "adamw"), ({"brn": "foreground"}, "adamw"), ({}, "sgd")],
)
def test_another_networks_checkpoint_is_refused(parts, optimizer, checkpoint, build):
    network = build(**parts)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(BPGError, match=r"checkpoint: of another network") as caught:
        load_into(checkpoint, network, optimizer)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(before[name], v) for name, v in network.state_dict().items())


def test_a_missing_checkpoint_is_named(build, tmp_path):
    with pytest.raises(BPGError, match=r"none: cannot be read"):
        load_into(tmp_path / "none", build())


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.integers(0), junk=st.binary(min_size=1, max_size=8), cut=st.integers(0, 3))
def test_a_damaged_checkpoint_is_refused_and_changes_nothing(checkpoint, build, place, junk, cut):
    data = checkpoint.read_bytes()
    place %= len(data)
    rest = junk + data[place + len(junk) :]
    spoilt = data[:place] + (rest if cut else b"")
    if spoilt == data:
        return
    path = checkpoint.with_name("spoilt")
    path.write_bytes(spoilt)
    network = build()
    optimizer = make_solver(network)
    state = torch.get_rng_state()
    with pytest.raises(BPGError, match="damaged, or no checkpoint"):
        load_checkpoint(path, network, optimizer)
    assert not optimizer.state
    assert torch.equal(torch.get_rng_state(), state)


def test_a_checkpoint_that_cannot_be_read_is_said_and_not_used(
    trained, tmp_path, capsys, monkeypatch
):
    undisturbed = trained("undisturbed", parts={})
    (tmp_path / "spoilt").mkdir()
    (tmp_path / "spoilt/checkpoint").write_bytes(b"PK\x03\x04 no checkpoint")
    capsys.readouterr()
    assert trained("spoilt", parts={}) == undisturbed
    assert "test, seed 0: starts over: " in capsys.readouterr().err


@pytest.mark.cuda
@needs_cuda
@pytest.mark.parametrize("captured", [False, True])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_on_cuda_a_stopped_training_ends_with_the_same_bytes(optimizer, captured, trained):
    device = torch.device("cuda")
    set_up(device, threads=1, seed=0, deterministic=True)
    options = {"device": device, "optimizer": optimizer, "lr": 1e-3, "captured": captured}
    assert trained("stopped", [3], **options) == trained("undisturbed", **options)
