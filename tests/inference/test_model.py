"""Models are opened from whatever they are in, or refused in a line."""

import numpy as np
import pytest

from bpg.errors import BPGError
from bpg.inference.card import Card
from bpg.inference.info import describe_model
from bpg.inference.model import open_model
from bpg.inference.options import CRFOptions
from bpg.models.network import save_network
from tests.colours import CARD, write_colours


@pytest.fixture
def run(network, tmp_path):
    save_network(network, tmp_path / "run/model.safetensors")
    return tmp_path / "run"


def test_a_run_without_a_card_has_plain_defaults(run, network):
    for path in (run, run / "model.safetensors"):
        model = open_model(path, "cpu")
        assert model.card == Card(classes=network.architecture.classes)
        assert model.probabilities(np.zeros((5, 7, 3), np.uint8)).shape == (3, 5, 7)


def test_it_is_said_whether_the_crf_can_be_used(run, network):
    assert dict(describe_model(run))["CRF"].startswith("none: bpg predict --crf cannot be used")
    crf = CRFOptions(10, 3, 1, 4, 67, 3)
    card = Card(classes=network.architecture.classes, crf=crf)
    (run / "card.json").write_text(card.to_json())
    assert dict(describe_model(run))["CRF"] == "bpg predict --crf refines the labels with it"


def test_a_card_of_other_classes_is_refused(run):
    (run / "card.json").write_text(CARD.to_json())
    with pytest.raises(BPGError, match=r"card\.json: has other classes than .*safetensors"):
        open_model(run, "cpu")
    (run / "card.json").write_text("{")
    with pytest.raises(BPGError, match=r"card\.json: not a network's card"):
        open_model(run, "cpu")


def test_what_is_no_model_is_refused(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"x")
    (tmp_path / "broken.safetensors").write_bytes(b"x")
    (tmp_path / "broken.onnx").write_bytes(b"x")
    for given, message in (
        ("nowhere", "nowhere: no such model; give a run such as"),
        (".", r"model\.safetensors: no such model"),
        ("photo.jpg", "not a model: must be a run, or end in"),
        ("broken.safetensors", "not a model of this program"),
        ("broken.onnx", "not an ONNX file of bpg export"),
    ):
        for opened in (open_model, describe_model):
            with pytest.raises(BPGError, match=message):
                opened(tmp_path / given)


def test_an_onnx_file_of_others_is_refused(tmp_path):
    path = write_colours(tmp_path / "x.onnx", card=None)
    with pytest.raises(BPGError, match=r"x\.onnx: not an ONNX file of bpg export"):
        open_model(path)
    write_colours(path, card=Card(classes=("a", "b")))
    with pytest.raises(BPGError, match="other inputs or outputs"):
        open_model(path)
    write_colours(path, card='{"classes": ["a"]}')
    with pytest.raises(BPGError, match=r"x\.onnx: not a network's card: classes"):
        open_model(path)


def test_cuda_without_a_gpu_is_refused(colours, run):
    import torch  # noqa: PLC0415

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    for path in (colours, run):
        with pytest.raises(BPGError, match="cuda was asked for"):
            open_model(path, "cuda")
