"""A forest behind the interface of all models: the whole image, tiles, the command's refusals."""

import numpy as np
import pytest

from bpg.errors import BPGError
from bpg.forest.features import feature_count
from bpg.forest.fit import fit_forest
from bpg.forest.forest import save_forest
from bpg.forest.options import ForestOptions
from bpg.inference.card import Card
from bpg.inference.export import export_model
from bpg.inference.info import describe_model
from bpg.inference.model import ForestModel, open_model
from bpg.inference.segment import SegmentOptions, segment
from bpg.inference.tiles import Part

CLASSES = ("background", "bird", "cat")


@pytest.fixture(scope="module")
def forest():
    options = ForestOptions(trees=5, depth=6, sigma_min=1, sigma_max=2, pixels_per_class=50)
    rng = np.random.default_rng(0)
    features = rng.random((300, feature_count(1, 2))).astype(np.float32)
    labels = (3 * features[:, 0]).astype(np.uint8)
    return fit_forest(features, labels, CLASSES, options, seed=0)


@pytest.fixture
def model(forest, tmp_path):
    folder = tmp_path / "runs/forest/0"
    save_forest(forest, folder / "model.safetensors")
    return open_model(folder)


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(1).integers(0, 256, (150, 170, 3)).astype(np.uint8)


def test_a_run_of_a_forest_opens_as_one(model, forest, image):
    assert isinstance(model, ForestModel)
    assert model.classes == CLASSES
    np.testing.assert_array_equal(model.probabilities(image), forest.probabilities(image))


def test_a_part_is_what_the_whole_image_shows_there(model, image):
    whole = model.probabilities(image)
    rows, columns = Part(40, 90), Part(100, 170)
    found = model.region(image, rows, columns, overlap=32)
    np.testing.assert_allclose(found, whole[:, 40:90, 100:], atol=1e-6)


def test_tiles_have_no_seams(model, image):
    expected = model.probabilities(image).argmax(0)
    found = segment(model, image, SegmentOptions(tile=80, overlap=16))
    assert (np.asarray(found) == expected).mean() > 0.999


def test_logits_are_logarithms_of_the_probabilities(model, image):
    found = model.logits(image[None].astype(np.float32))[0]
    np.testing.assert_allclose(np.exp(found), model.probabilities(image), atol=2e-6)


def test_a_card_of_other_classes_is_refused(model):
    model.path.with_name("card.json").write_text(Card(classes=("background", "dog")).to_json())
    with pytest.raises(BPGError, match=r"card\.json: has other classes than"):
        open_model(model.path)


def test_a_forest_is_described_and_not_exported(model, image, tmp_path):
    said = dict(describe_model(model.path))
    assert said["classes"] == "background, bird, cat"
    assert said["CRF"].startswith("none: bpg predict --crf cannot be used")
    with pytest.raises(BPGError, match="a random forest, which has no export"):
        export_model(model.path, tmp_path / "model.onnx", "onnx", [image])
    assert not (tmp_path / "model.onnx").exists()
