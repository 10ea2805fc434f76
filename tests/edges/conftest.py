import os
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from bpg.download import weights as module
from bpg.edges import hed
from bpg.errors import BPGError

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def hed_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published weights: named by BPG_HED_WEIGHTS, fetched by the pipeline, or fetched now."""
    if named := os.environ.get("BPG_HED_WEIGHTS"):
        return Path(named)
    fetched = ROOT / "data/weights/hed/hed_bsds500.h5"
    if fetched.exists():
        return fetched
    folder = tmp_path_factory.mktemp("weights")
    try:
        module.HED.fetch(folder, mirror="")
    except BPGError as error:
        pytest.skip(f"HED's weights can't be had: {error}")
    return folder / module.HED.file


@pytest.fixture(scope="session")
def published(hed_weights: Path) -> hed.HED:
    return hed.load_hed(hed_weights)


@pytest.fixture(scope="session")
def random_tensors() -> dict[str, np.ndarray]:
    """Random weights by their Keras names and in Keras' axis order, written out by hand here."""
    random = np.random.default_rng(0)
    tensors = {}

    def add(name: str, side: int, inputs: int, outputs: int) -> None:
        scale = np.sqrt(2 / (side * side * inputs))
        kernel = random.standard_normal((side, side, inputs, outputs), np.float32) * scale
        tensors[f"{name}/vars/0"] = kernel.astype(np.float32)
        tensors[f"{name}/vars/1"] = random.uniform(-0.5, 0.5, outputs).astype(np.float32)

    add("block1/layers/conv2d", 3, 3, 64)
    add("block1/layers/conv2d_1", 3, 64, 64)
    add("block2/layers/conv2d", 3, 64, 128)
    add("block2/layers/conv2d_1", 3, 128, 128)
    add("block3/layers/conv2d", 3, 128, 256)
    add("block3/layers/conv2d_1", 3, 256, 256)
    add("block3/layers/conv2d_2", 3, 256, 256)
    for block, inputs in ((4, 256), (5, 512)):
        add(f"block{block}/layers/conv2d", 3, inputs, 512)
        add(f"block{block}/layers/conv2d_1", 3, 512, 512)
        add(f"block{block}/layers/conv2d_2", 3, 512, 512)
    for number, width in enumerate((64, 128, 256, 512, 512), 1):
        add(f"dsn{number}", 1, width, 1)
        # The images of the tests are not of unit variance: keep the scores away from saturation.
        tensors[f"dsn{number}/vars/0"] /= 100
    add("fuse", 1, 5, 1)
    return tensors


@pytest.fixture(scope="session")
def random_weights(
    random_tensors: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("random") / "hed.h5"
    with h5py.File(path, "w") as file:
        for name, tensor in random_tensors.items():
            file[name] = tensor
    return path


@pytest.fixture
def spoilt(random_weights: Path, tmp_path: Path) -> Callable[[Callable[[h5py.File], None]], Path]:
    """Return a function that copies the random weights and lets its argument spoil the copy."""

    def spoil(change: Callable[[h5py.File], None]) -> Path:
        path = tmp_path / "spoilt.h5"
        shutil.copyfile(random_weights, path)
        with h5py.File(path, "r+") as file:
            change(file)
        return path

    return spoil
