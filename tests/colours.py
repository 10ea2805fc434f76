"""A network that can be checked by hand: it tells red, blue and background by the colour."""

from pathlib import Path

import numpy as np
import pytest

from bpg.inference.card import Card

CARD = Card(
    classes=("background", "red", "blue"),
    colours=((0, 0, 0), (200, 0, 0), (0, 0, 200)),
    dataset="colours",
)
WEIGHTS = np.array([[0, 0, 0], [1, 0, -1], [-1, 0, 1]], np.float32)
"""Logits of a pixel: 0, red less blue less 64, blue less red less 64."""


def write_colours(path: Path, card: Card | str | None = CARD) -> Path:
    """Write it as ONNX, with a card, or any text in its place."""
    from onnx import TensorProto, helper, numpy_helper  # noqa: PLC0415

    shapes = {"images": ["n", "h", "w", 3], "logits": ["n", 3, "h", "w"]}
    shapes["probabilities"] = shapes["logits"]
    info = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    }
    constants = {
        "weights": WEIGHTS.reshape(3, 3, 1, 1),
        "bias": np.array([0, -64, -64], np.float32),
    }
    nodes = [
        helper.make_node("Transpose", ["images"], ["pixels"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["pixels", "weights", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [info["images"]],
        [info["logits"], info["probabilities"]],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    if card is not None:
        text = card if isinstance(card, str) else card.to_json()
        helper.set_model_props(model, {"card": text})
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network's file."""
    return write_colours(tmp_path_factory.mktemp("colours") / "colours.onnx")


@pytest.fixture(scope="session")
def patches() -> np.ndarray:
    """An image of four patches, uint8 (20, 30, 3): background, red, blue, background."""
    image = np.full((20, 30, 3), 90, np.uint8)
    image[:10, 15:] = (250, 20, 30)
    image[10:, :15] = (20, 30, 250)
    return image


@pytest.fixture(scope="session")
def labels() -> np.ndarray:
    """What the network makes of it."""
    expected = np.zeros((20, 30), np.uint8)
    expected[:10, 15:] = 1
    expected[10:, :15] = 2
    return expected
