"""Two processes train as one does, up to rounding: real processes, joined by Gloo on the CPU."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as multiprocessing
from safetensors.torch import load_file

from bpg.data.dataset import TrainingImages
from bpg.data.options import Augmentation
from bpg.data.shapes import CLASSES
from bpg.devices import Execution, choose_device, cores, set_up
from bpg.distributed import any_of, distribute, from_first, joined, share, size, total, totals
from bpg.errors import BPGError
from bpg.losses.options import (
    DenseOptions,
    GatedOptions,
    MeanTeacherOptions,
    SoftLabelOptions,
    TreeOptions,
)
from bpg.models.network import Architecture, Network, save_network
from bpg.models.options import BRNArchitecture, PRNOptions
from bpg.training import objective
from bpg.training import train as module
from bpg.training.mean_teacher import make_teacher
from bpg.training.objective import Objective, gradient_ratios, make_gradients
from bpg.training.options import OptimizerOptions
from bpg.training.synchronised_norm import synchronise_norms
from bpg.training.train import train
from tests.ports import free_ports

TINY = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16], "stem_type": "deep", "stem_width": 8}
CPU = Execution(torch.device("cpu"))
SGD = OptimizerOptions("sgd", 0.05, 0.9, 0.0, 1.0, 1.0, 5.0)
REGULARISERS = {
    "normalized_cut": DenseOptions(1.0, 2, 20, 15),
    "dense_crf": DenseOptions(1.0, 2, 20, 15),
    "gated_crf": GatedOptions(1.0, 2, 3, 6, 0.1),
    "tree_energy": TreeOptions(1.0, 4, 0.02, 1.0),
    "soft_label": SoftLabelOptions(1.0, 4, 20, 0.2, 5),
    "mean_teacher": MeanTeacherOptions(1.0, 2, 0.9),
}
BATCH = 5  # of which one process has two and the other three
STEPS = 6  # two epochs of 15 images
KILLED_AFTER = 4


def build(frozen_norm=False):
    torch.manual_seed(0)
    network = Network(
        Architecture(
            classes=CLASSES,
            backbone="resnet18",
            backbone_options=dict(TINY),
            frozen_norm=frozen_norm,
            prn=PRNOptions(3, width=4, low_width=3, mixing="mixed"),
            brn=BRNArchitecture("probabilities", 8, 3, "foreground"),
        )
    )
    return network.to(memory_format=torch.channels_last).train()


def batch_of(unlabelled=()):
    """Return a batch of `TrainingImages`' form; the images `unlabelled` have no stroke."""
    draw = torch.Generator().manual_seed(1)

    def numbers(*shape, high):
        return torch.randint(high, (BATCH, 49, 49, *shape), generator=draw, dtype=torch.uint8)

    labels = numbers(high=len(CLASSES))
    labels[torch.rand(labels.shape, generator=draw) < 0.9] = 255
    labels[list(unlabelled)] = 255
    valid = torch.ones(BATCH, 49, 49, dtype=torch.bool)
    valid[0, 40:] = False
    labels[~valid] = 255
    return [numbers(3, high=255), labels, numbers(high=255), valid]


def computed(items, regularisers, frozen_norm=False):
    """Return the terms, the gradients, the running statistics and the ratios of a batch."""
    network = build(frozen_norm)
    if size() > 1:
        synchronise_norms(network, CPU.device)
    aim = Objective(0.7, {name: REGULARISERS[name] for name in regularisers})
    teacher = make_teacher(network, aim.teacher_decay)
    own = [share(item) for item in items]
    terms = make_gradients(network, aim, CPU, teacher)(own)
    found = {f"term/{name}": value.float() for name, value in terms.items()}
    found |= {f"gradient/{n}": p.grad for n, p in network.named_parameters() if p.grad is not None}
    found |= {f"buffer/{n}": b.float() for n, b in network.named_buffers()}
    ratios = gradient_ratios(network, own, aim, CPU, teacher)
    found |= {f"ratio/{name}": torch.tensor(value) for name, value in ratios.items()}
    return found


CASES = {
    "all": ([], [name for name in REGULARISERS if name != "tree_energy"], False),
    **{name: ([], [name], False) for name in REGULARISERS},
    "frozen norm": ([], [], True),
    "one process has no stroke": ([0, 1], [], False),
    "no stroke at all": (range(BATCH), [], False),
}


class Images(TrainingImages):
    """Counts what it hands out, and does `then` on the way."""

    given = 0
    then = staticmethod(lambda number: None)

    def __getitem__(self, key):
        self.given += 1
        self.then(self.given)
        return super().__getitem__(key)


def images_of(folder):
    names = sorted(path.stem for path in (folder / "images").iterdir())
    ids = [*names, *names[:7]]  # fifteen
    where = [folder / name for name in ("images", "scribbles", "edges")]
    augmentation = Augmentation(49, 0.75, 1.25, True)
    fill = (124, 116, 104)
    return Images(ids, *where, augmentation, classes=len(CLASSES), seed=0, fill=fill)


def trained(folder, out, images, frozen_norm=False, **settings):
    network = build(frozen_norm)
    summary = train(
        network,
        images,
        out / "curves",
        objective=Objective(0.7, {"mean_teacher": REGULARISERS["mean_teacher"]}),
        options=SGD,
        epochs=2,
        first_epoch=0,
        batch_size=BATCH,
        execution=CPU,
        num_workers=0,
        seed=0,
        title="test",
        **settings,
    )
    return network, summary


# In the other processes


def work(number, count, ports, folder, out):
    """Do everything in one start, which takes longer than the work."""
    os.environ |= {"RANK": str(number), "WORLD_SIZE": str(count), "LOCAL_RANK": str(number)}
    os.environ |= {"LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1"}
    torch.set_num_threads(1)
    for part, port in zip((compare, interrupt, end), ports, strict=True):
        os.environ["MASTER_PORT"] = str(port)
        (out / part.__name__).mkdir(exist_ok=True)
        with joined(CPU.device):
            part(number, folder, out / part.__name__)
        assert size() == 1


def compare(number, folder, out):
    said = {
        "total": total(torch.tensor([1.0, number])).tolist(),
        "totals": {
            name: value.tolist()
            for name, value in totals({"a": torch.tensor(number), "b": torch.ones(2, 1)}).items()
        },
        "any": [any_of(False), any_of(number == 1), any_of(True)],
        "first": from_first(b"bytes" if number == 0 else None).decode(),
        "nothing": from_first(None),
        "share": list(share(range(5))),
    }
    if number == 0:
        (out / "said.json").write_text(json.dumps(said))
    for name, (unlabelled, regularisers, frozen) in CASES.items():
        found = computed(batch_of(unlabelled), regularisers, frozen)
        if number == 0:
            torch.save(found, out / f"{name}.pt")
    network, summary = trained(folder, out, images_of(folder))
    if number == 0:
        save_network(network, out / "trained")
        (out / "summary.json").write_text(json.dumps(summary))


def interrupt(number, folder, out):
    images = images_of(folder)

    def send(given):
        if number == 1 and given == 10:
            signal.raise_signal(signal.SIGTERM)

    images.then = send
    checkpoint = out / "checkpoint" if number == 0 else None
    with pytest.raises(KeyboardInterrupt, match="after step 4 of 6"):
        trained(folder, out, images, checkpoint=checkpoint)


def end(number, folder, out):
    images = images_of(folder)

    def die(given):
        if number == 1 and given == 3 * KILLED_AFTER + 1:
            os._exit(0)  # to the other one like a kill, to `spawn` a success

    images.then = die
    checkpoint = out / "checkpoint" if number == 0 else None
    with pytest.raises(BPGError, match="another process of this training ended, after step 4"):
        trained(folder, out, images, checkpoint=checkpoint)


# In this one


@pytest.fixture(scope="module")
def together(folder, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("together")
    multiprocessing.spawn(work, (2, free_ports(3), folder, out), nprocs=2)
    return out


def test_processes_add_up_agree_and_share(together):
    assert json.loads((together / "compare/said.json").read_text()) == {
        "total": [2.0, 1.0],
        "totals": {"a": 1, "b": [[2.0], [2.0]]},
        "any": [False, True, True],
        "first": "bytes",
        "nothing": None,
        "share": [0, 1],
    }


@pytest.mark.parametrize("name", CASES)
def test_terms_gradients_and_statistics_are_those_of_one_process(name, together):
    found = torch.load(together / f"compare/{name}.pt", weights_only=True)
    unlabelled, regularisers, frozen = CASES[name]
    alone = computed(batch_of(unlabelled), regularisers, frozen)
    assert found.keys() == alone.keys()
    # The features' tree takes the smallest of differences that are of the size of the rounding.
    tolerance = 0.05 if name == "tree_energy" else 1e-4
    for key, value in alone.items():
        if not key.startswith("ratio/"):  # of other images
            scale = value.abs().max().item()
            torch.testing.assert_close(
                found[key], value, rtol=0, atol=tolerance * scale + 1e-7, msg=f"{name}: {key}"
            )


def test_the_ratios_are_those_of_the_same_images_in_one_process(together, monkeypatch):
    """Of two processes' first two images each: the first four of the batch."""
    found = torch.load(together / "compare/all.pt", weights_only=True)
    monkeypatch.setattr(objective, "RATIO_IMAGES", 4)
    alone = computed(batch_of(), CASES["all"][1])
    ratios = {key for key in alone if key.startswith("ratio/")}
    assert len(ratios) == len(CASES["all"][1]) + 1
    for key in ratios:
        torch.testing.assert_close(found[key], alone[key], rtol=1e-3, atol=0)


def test_a_training_ends_with_the_weights_of_one_process(together, folder, tmp_path):
    network, summary = trained(folder, tmp_path, images_of(folder))
    save_network(network, tmp_path / "alone")
    found, alone = load_file(together / "compare/trained"), load_file(tmp_path / "alone")
    started = build().state_dict()
    moved = max((value - started[name]).abs().max() for name, value in alone.items())
    assert moved > 0.01
    for name, value in alone.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0.02 * moved.item())
    said = json.loads((together / "compare/summary.json").read_text())
    assert said.keys() == summary.keys()
    for name in ("loss", "semantic", "boundary", "edge_loss", "mean_teacher"):
        assert said[name] == pytest.approx(summary[name], rel=1e-2)
    for name in ("epochs", "steps", "blank_batches", "unseen_classes"):
        assert said[name] == summary[name]
    curve = "train/semantic.tsv"
    lines = [
        (one / "curves/plots/metrics" / curve).read_text()
        for one in (together / "compare", tmp_path)
    ]
    assert len(lines[0].splitlines()) == len(lines[1].splitlines()) == 3


@pytest.mark.parametrize("way", [interrupt, end])
def test_stopped_in_one_process_all_stop_and_one_goes_on_alone(
    way, together, folder, tmp_path, capsys
):
    undisturbed, _ = trained(folder, tmp_path, images_of(folder))
    capsys.readouterr()
    checkpoint = together / way.__name__ / "checkpoint"
    network, summary = trained(folder, tmp_path, images_of(folder), checkpoint=checkpoint)
    assert "resumes after step 4" in capsys.readouterr().err
    assert summary["steps"] == STEPS
    for one, other in zip(
        network.state_dict().values(), undisturbed.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=2e-3)


def test_fewer_images_in_a_batch_than_processes_are_refused(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "size", lambda: 6)
    with pytest.raises(BPGError, match="batch_size 5 is less than one image for each of 6"):
        trained(folder, tmp_path, images_of(folder))


def test_alone_nothing_is_copied_or_waited_for():
    value = torch.ones(3, requires_grad=True)
    assert total(value) is value
    assert totals({"a": value})["a"] is value
    assert any_of(True) is True
    assert from_first(b"x") == b"x"
    assert share([1, 2]) == [1, 2]
    network = build()
    assert distribute(network, CPU.device) is network


def test_processes_on_one_machine_share_its_cores_and_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("cuda") == torch.device("cuda")
    for name, value in {"RANK": 5, "WORLD_SIZE": 8, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda") == torch.device("cuda", 1)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(BPGError, match="1 GPUs for more processes; lower --nproc-per-node"):
        choose_device("cuda")
    set_up(torch.device("cpu"), threads=0, seed=0)
    assert torch.get_num_threads() == max(1, cores() // 2)
