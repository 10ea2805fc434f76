"""A forest by hand; its file, whole, damaged and forged."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from bpg.errors import BPGError
from bpg.forest.features import feature_count, pixel_features
from bpg.forest.forest import LEAF, Forest, is_forest, load_forest, save_forest
from bpg.models.network import Architecture, Network, save_network


@pytest.fixture
def by_hand(options):
    """Two trees: a stump on feature 1, and one that asks for feature 0, then for feature 2."""
    return Forest(
        classes=("background", "bird"),
        options=options,
        roots=np.array([0, 3], np.int32),
        features=np.array([1, LEAF, LEAF, 0, LEAF, 2, LEAF, LEAF], np.int32),
        thresholds=np.array([0.5, 0, 0, 0.25, 0, 0.75, 0, 0], np.float32),
        children=np.array(
            [[1, 2], [1, 1], [2, 2], [4, 5], [4, 4], [6, 7], [6, 6], [7, 7]], np.int32
        ),
        shares=np.array([[1, 0], [0.5, 0.5], [0, 1], [0.75, 0.25], [0.25, 0.75]], np.float32),
    )


def test_probabilities_are_the_means_of_the_leaves(by_hand, options):
    rows = np.zeros((4, feature_count(options.sigma_min, options.sigma_max)), np.float32)
    rows[:, :3] = [[0.25, 0.5, 9], [0.26, 0.5, 0.75], [0.26, 0.51, 0.76], [0, 0.51, 0]]
    expected = [[0.5, 0.5], [0.875, 0.125], [0.375, 0.625], [0.25, 0.75]]
    np.testing.assert_array_equal(by_hand.classify(rows), expected)


def test_an_image_is_classified_pixel_by_pixel(forest):
    image = np.random.default_rng(1).integers(0, 256, (130, 140, 3)).astype(np.uint8)
    found = forest.probabilities(image)
    assert (found.dtype, found.shape) == (np.float32, (4, 130, 140))
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-5)
    features = pixel_features(image, 1, 2)
    # Of more pixels than are done at a time.
    for row, column in ((0, 0), (0, 139), (117, 3), (129, 139)):
        alone = forest.classify(features[row, column][None])[0]
        np.testing.assert_array_equal(found[:, row, column], alone)


def test_a_file_gives_back_the_forest_and_equal_forests_give_equal_bytes(forest, tmp_path):
    paths = [tmp_path / name for name in ("one.safetensors", "other.safetensors")]
    for path in paths:
        save_forest(forest, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    loaded = load_forest(paths[0])
    assert (loaded.classes, loaded.options) == (forest.classes, forest.options)
    for name in ("roots", "features", "thresholds", "children", "shares"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(forest, name))


def test_a_file_says_whether_it_is_a_forest(forest, tmp_path):
    path = tmp_path / "model.safetensors"
    assert not is_forest(path)
    save_forest(forest, path)
    assert is_forest(path)
    tiny = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16]}
    save_network(Network(Architecture(("background", "bird"), "resnet18", tiny)), path)
    assert not is_forest(path)
    with pytest.raises(BPGError, match="not a forest of this program; fit it again"):
        load_forest(path)


def forged(forest, path, change):
    """Write the file with `change`d tensors and note."""
    save_forest(forest, path)
    tensors = {name: tensor.copy() for name, tensor in load_file(path).items()}
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    note = json.loads(header["__metadata__"]["forest"])
    change(tensors, note)
    save_file(tensors, path, {"forest": json.dumps(note)})
    return path


def put(name, place, value):
    def change(tensors, note):
        tensors[name][place] = value

    return change


def cast(name, kind):
    def change(tensors, note):
        tensors[name] = tensors[name].astype(kind)

    return change


def noted(**changes):
    return lambda tensors, note: note.update(changes)


FORGED = {
    "a root outside": (put("roots", 1, 8), "roots"),
    "a root before": (put("roots", 0, -1), "roots"),
    "no trees": (lambda t, n: t.update(roots=t["roots"][:0]), "roots"),
    "a feature that is none": (put("features", 0, 24), "features"),
    "a negative feature": (put("features", 0, -2), "features"),
    "a child outside": (put("children", (0, 1), 8), "children"),
    "a negative child": (put("children", (0, 0), -1), "children"),
    "its own child": (put("children", (5, 0), 5), "children"),
    "a circle": (put("children", (5, 1), 3), "children"),
    "a leaf with a child": (put("children", (1, 1), 2), "children of a leaf"),
    "a missing leaf": (lambda t, n: t.update(shares=t["shares"][1:]), "shares"),
    "another class": (noted(classes=["background", "bird", "cat"]), "shares"),
    "no class": (noted(classes=[]), "shares"),
    "shares of 2": (put("shares", (0, 1), 1), "shares do not sum to 1"),
    "a negative share": (put("shares", 0, [2, -1]), "shares do not sum to 1"),
    "NaN in the shares": (put("shares", (0, 0), np.nan), "shares holds NaN"),
    "an infinite threshold": (put("thresholds", 0, np.inf), "thresholds holds NaN"),
    "doubles": (cast("thresholds", np.float64), "thresholds: float64"),
    "another shape": (lambda t, n: t.update(children=t["children"].ravel()), "children"),
    "long integers": (cast("roots", np.int64), "roots: int64"),
    "no thresholds": (lambda t, n: t.pop("thresholds"), "not a forest"),
    "no options": (lambda t, n: n.pop("options"), "not a forest"),
    "an unknown option": (lambda t, n: n["options"].update(x=1), "not a forest"),
    "sigma out of range": (lambda t, n: n["options"].update(sigma_min=1e-9), "not a forest"),
    "classes that are no words": (noted(classes=[1, 2]), "not a forest"),
    "classes that are no list": (noted(classes=5), "not a forest"),
}


@pytest.mark.parametrize(("change", "named"), FORGED.values(), ids=FORGED)
def test_a_forged_file_is_one_line(by_hand, tmp_path, change, named):
    path = forged(by_hand, tmp_path / "model.safetensors", change)
    with pytest.raises(BPGError) as caught:
        load_forest(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert named in message
    assert message.endswith("fit it again")
    assert "\n" not in message


def test_metadata_that_are_no_json_are_one_line(by_hand, tmp_path):
    path = tmp_path / "model.safetensors"
    save_forest(by_hand, path)
    for text in ("", "[" * 100_000, "NaN", "[]", '{"classes": null, "options": null}'):
        save_file(load_file(path), tmp_path / "forged.safetensors", {"forest": text})
        with pytest.raises(BPGError, match="not a forest"):
            load_forest(tmp_path / "forged.safetensors")


def test_a_missing_file_names_the_stage(tmp_path):
    with pytest.raises(BPGError, match=r"no such model; run the stage forest first"):
        load_forest(tmp_path / "model.safetensors")


@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_damage_is_noticed_or_harmless(data, tmp_path_factory, by_hand_file):
    content = bytearray(by_hand_file)
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    length = data.draw(st.sampled_from([len(content), data.draw(st.integers(0, len(content)))]))
    path = tmp_path_factory.mktemp("damaged") / "model.safetensors"
    path.write_bytes(content[:length])
    try:
        loaded = load_forest(path)
    except BPGError as error:
        assert "\n" not in str(error)
        return
    options = loaded.options
    number = feature_count(options.sigma_min, options.sigma_max)
    found = loaded.classify(np.zeros((3, number), np.float32))
    assert np.isfinite(found).all()


@pytest.fixture(scope="module")
def by_hand_file(tmp_path_factory, forest) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "model.safetensors"
    # One small tree, so that a changed byte is often one of the nodes.
    first = int(forest.roots[1])
    leaves = int((forest.features[:first] == LEAF).sum())
    one = replace(
        forest,
        roots=forest.roots[:1],
        features=forest.features[:first],
        thresholds=forest.thresholds[:first],
        children=forest.children[:first],
        shares=forest.shares[:leaves],
    )
    save_forest(one, path)
    return path.read_bytes()


def test_a_long_path_ends(options):
    # A tree that is a list: as deep as it has nodes.
    inner = 2000
    children = np.repeat(np.arange(2 * inner + 1)[:, None], 2, 1)
    children[0 : 2 * inner : 2] = np.arange(0, 2 * inner, 2)[:, None] + [1, 2]
    forest = Forest(
        ("background",),
        options,
        np.zeros(1, np.int32),
        np.where(np.arange(2 * inner + 1) % 2 == 0, 0, LEAF).astype(np.int32),
        np.full(2 * inner + 1, -1, np.float32),
        children.astype(np.int32),
        np.ones((inner + 1, 1), np.float32),
    )
    forest.features[-1] = LEAF
    started = time.monotonic()
    assert forest.classify(np.zeros((1, 24), np.float32)) == 1
    assert time.monotonic() - started < 60
