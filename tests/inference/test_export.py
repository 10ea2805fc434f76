"""Exported files give the network's labels, for images of any size, and say what they are."""

import io
import json
import shutil
import zipfile

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from bpg.atomic import write_json
from bpg.data.shapes import draw_sample
from bpg.errors import BPGError
from bpg.inference import export as module
from bpg.inference.card import Card
from bpg.inference.export import ODD_SIZES, export_model, verify
from bpg.inference.info import describe_model
from bpg.inference.model import Model, open_model
from bpg.inference.options import InferenceOptions
from bpg.inference.portable import Portable
from bpg.models.network import Architecture, Network, save_network
from bpg.models.options import BRNArchitecture, PRNOptions
from bpg.resumable import file_digest

TINY = {"layers": [1, 1, 1, 1], "channels": [8, 8, 8, 8], "stem_type": "deep", "stem_width": 8}
CLASSES = ("background", "bird", "Kätzchen")
CARD = Card(
    classes=CLASSES,
    longest_side=90,
    inference=InferenceOptions(scales=(0.75, 1.0), flip=True),
    dataset="folder",
    variant="bpg",
    recipe="tiny",
    seed=1,
)


def shaken(network):
    """The network with random numbers in all its parts, norms among them; what starts at zero."""
    torch.manual_seed(1)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                noise = torch.randn(tensor.shape)
                tensor.add_(0.3 * noise.abs() if tensor.ndim == 1 else 0.05 * noise)
    return network.eval()


@pytest.fixture(scope="module")
def images():
    return [draw_sample([0, 0, number], 64).image[: 64 - 5 * number] for number in range(3)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with a BRN, a card and a record of its training."""
    root = tmp_path_factory.mktemp("repository")
    prn = PRNOptions(steps=3, width=4, low_width=3, mixing="mixed")
    brn = BRNArchitecture("probabilities", 4, 2, "foreground")
    torch.manual_seed(0)
    network = shaken(Network(Architecture(CLASSES, "resnet18", TINY, prn=prn, brn=brn)))
    folder = root / "runs/bpg/1"
    save_network(network, folder / "model.safetensors")
    (folder / "card.json").write_text(CARD.to_json(), encoding="utf-8")
    digest = file_digest(folder / "model.safetensors")
    write_json(root / f"provenance/{digest}.json", {"commit": "abc123", "hardware": "a CPU"})
    return folder


@pytest.fixture(scope="module")
def exported(run, images, tmp_path_factory):
    """The run as ONNX and as a PyTorch program."""
    folder = tmp_path_factory.mktemp("exported")
    found = {}
    for kind, suffix in (("onnx", ".onnx"), ("torch", ".pt2")):
        path = folder / f"model{suffix}"
        verified = export_model(run, path, kind, images)
        assert verified.equal == 1
        assert verified.difference < 1e-3
        assert verified.size == path.stat().st_size
        found[kind] = path
    return found


@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_each_size_gives_the_networks_logits(run, exported, kind):
    network, file = open_model(run, "cpu"), open_model(exported[kind], "cpu")
    for number, size in enumerate([*ODD_SIZES, (9, 9), (17, 1), (40, 41)]):
        image = np.random.default_rng(number).integers(0, 256, (2, *size, 3))
        batch = image.astype(np.float32)[: 1 + number % 2]
        with torch.inference_mode():
            expected = network.network(torch.from_numpy(batch).permute(0, 3, 1, 2)).logits
        np.testing.assert_allclose(file.logits(batch), expected.numpy(), atol=1e-3, rtol=1e-3)


def test_scales_and_flips_are_those_of_the_pipeline(run, exported, images):
    file, network = open_model(exported["onnx"], "cpu"), open_model(run, "cpu")
    network._bf16 = False
    expected = network.probabilities(images[1])
    np.testing.assert_allclose(file.probabilities(images[1]), expected, atol=1e-4)
    np.testing.assert_allclose(Model.probabilities(network, images[1]), expected, atol=1e-4)


def test_the_card_is_inside_with_the_commit(run, exported):
    digest = file_digest(run / "model.safetensors")
    for path in exported.values():
        card = open_model(path, "cpu").card
        assert (card.commit, card.model) == ("abc123", digest)
        assert (card.classes, card.inference, card.longest_side) == (CLASSES, CARD.inference, 90)
        described = dict(describe_model(path))
        assert described["classes"] == "background, bird, Kätzchen"
        assert described["variant"] == "bpg, seed 1"
        assert described["commit"] == "abc123"
        of_run = dict(describe_model(run))
        for same in ("parameters", "SHA-256", "recipe", "images", "commit"):
            assert of_run[same] == described[same]
        assert of_run["trained on"] == "a CPU"


def test_other_programs_find_what_they_need_in_the_onnx_file(exported, images):
    model = onnx.load(exported["onnx"])
    onnx.checker.check_model(model, full_check=True)
    entries = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(entries["classes"]) == list(CLASSES)
    assert entries["recipe"] == "tiny"
    (image,) = model.graph.input
    shape = [dim.dim_param or dim.dim_value for dim in image.type.tensor_type.shape.dim]
    assert shape == ["batch", "height", "width", 3]
    assert not any("brn" in tensor.name for tensor in model.graph.initializer)
    assert not any(node.metadata_props for node in model.graph.node)  # our folders' names
    session = onnxruntime.InferenceSession(exported["onnx"], providers=["CPUExecutionProvider"])
    batch = images[0][None].astype(np.float32)
    logits, probabilities = session.run(None, {"images": batch})
    powers = np.exp(logits - logits.max(1, keepdims=True))
    np.testing.assert_allclose(probabilities, powers / powers.sum(1, keepdims=True), atol=1e-5)


def test_the_pytorch_file_runs_without_this_package_and_holds_no_pickled_code(exported):
    module = torch.export.load(exported["torch"]).module()
    for size in ODD_SIZES:
        assert module(torch.zeros(1, *size, 3))[0].shape == (1, 3, *size)
    with zipfile.ZipFile(exported["torch"]) as archive:
        graph = next(name for name in archive.namelist() if name.endswith("model.json"))
        assert not json.loads(archive.read(graph))["guards_code"]


@pytest.mark.parametrize("steps", [None, 1, 2])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("backbone", ["resnet18", "tf_efficientnet_lite0"])
def test_the_plain_operations_are_the_networks(steps, frozen, backbone):
    prn = PRNOptions(steps=steps, width=4, low_width=3, mixing="shared") if steps else None
    options = TINY if backbone == "resnet18" else {}
    network = Network(Architecture(CLASSES, backbone, options, frozen_norm=frozen, prn=prn))
    shaken(network).double()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    plain = Portable(network)
    for size in ((9, 9), (1, 1), (23, 40)):
        images = torch.rand(2, *size, 3, dtype=torch.float64) * 255
        with torch.inference_mode():
            expected = network(images.permute(0, 3, 1, 2)).logits
            logits, probabilities = plain(images)
        scale = expected.abs().max()
        torch.testing.assert_close(logits / scale, expected / scale, atol=1e-12, rtol=0)
        torch.testing.assert_close(probabilities, logits.softmax(1))
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_a_file_that_gives_other_labels_is_not_written(
    run, exported, images, tmp_path, monkeypatch
):
    other = tmp_path / "runs/bpg/2"
    shutil.copytree(run, other)
    network = open_model(run, "cpu").network
    with torch.no_grad():
        for branch in network.head.branches:
            branch.weight.neg_()
    save_network(network, other / "model.safetensors")
    with pytest.raises(BPGError, match=r"x\.onnx: not written: .* % of the labels of an image"):
        verify(open_model(other, "cpu"), exported["onnx"], tmp_path / "x.onnx", images, "fp32")
    monkeypatch.setattr(module, "_onnx", lambda *_: exported["onnx"].read_bytes())
    with pytest.raises(BPGError, match="not written"):
        export_model(other, tmp_path / "x.onnx", "onnx", images)
    assert not list(tmp_path.glob("*.onnx"))


@pytest.mark.parametrize(
    ("out", "kind", "precision", "message"),
    [
        ("model.pt", "torch", "fp32", r"model\.pt: must end in \.pt2"),
        ("model.pt2", "onnx", "fp32", r"model\.pt2: must end in \.onnx"),
        ("model.pt2", "torch", "fp16", "--precision: a PyTorch file is fp32"),
    ],
)
def test_what_cannot_be_written_is_said_first(run, images, tmp_path, out, kind, precision, message):
    with pytest.raises(BPGError, match=message):
        export_model(run, tmp_path / out, kind, images, precision=precision)


def test_an_exported_file_is_not_exported_again(exported, images, tmp_path):
    with pytest.raises(BPGError, match="is exported already; give a run"):
        export_model(exported["onnx"], tmp_path / "again.onnx", "onnx", images)


def rewritten(path, changes):
    """The archive with entries changed: {end of the name: new content, None to leave it out}."""
    file = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            change = next((c for end, c in changes.items() if name.endswith(end)), b"")
            if change is not None:
                new.writestr(name, change(old.read(name)) if change else old.read(name))
        for end, content in changes.items():
            if not any(name.endswith(end) for name in old.namelist()):
                new.writestr(f"model/{end}", content(b""))
    return file.getvalue()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.json": lambda d: d.replace(b"torch.ops.aten.relu.default", b"torch.hub.load")},
         "holds the function 'torch.hub.load'"),
        ({"model.json": lambda d: d.replace(b"Add(", b"__import__('os').system(")},
         "holds the expression"),
        ({"model.json": lambda d: d.replace(b'"guards_code": []', b'"guards_code": ["exit()"]')},
         "holds code of guards"),
        ({"weights_config.json": lambda d: d.replace(b'_pickle": false', b'_pickle": true')},
         "holds a pickle"),
        ({"weights_config.json": lambda d: d.replace(b'"weight_0"', b'"../x"')}, "holds the path"),
        ({"sample_inputs/model.pt": lambda _: b"cos\nsystem\n(S'true'\ntR."}, "holds a pickle"),
        ({"data/constants/custom_obj_0": lambda _: b"x"}, "holds the entry"),
        ({"extra/card.json": None}, "no readable extra/card.json"),
        ({"model.json": lambda _: b"[" * 100_000}, "is not JSON"),
    ],
)  # fmt: skip
def test_a_forged_pytorch_file_is_refused_before_it_is_loaded(
    exported, tmp_path, changes, message, monkeypatch
):
    path = tmp_path / "forged.pt2"
    path.write_bytes(rewritten(exported["torch"], changes))
    assert path.read_bytes() != exported["torch"].read_bytes()
    monkeypatch.setattr(torch.export, "load", lambda _: pytest.fail("it was loaded"))
    with pytest.raises(BPGError, match=rf"forged\.pt2: [^\n]*{message}"):
        open_model(path, "cpu")


@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_damage_is_refused_in_one_line_or_does_no_harm(exported, tmp_path, kind, images):
    data = exported[kind].read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / exported[kind].name
    spoilt = [data[:size] for size in (0, 1, 100, len(data) // 2, len(data) - 1)]
    for _ in range(6 if kind == "onnx" else 2):
        copy = bytearray(data)
        copy[int(rng.integers(len(data)))] ^= 0xFF
        spoilt.append(bytes(copy))
    for content in spoilt:
        path.write_bytes(content)
        try:
            open_model(path, "cpu").probabilities(images[0])
        except BPGError as error:
            assert "\n" not in str(error)
