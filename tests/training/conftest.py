import signal
from dataclasses import fields

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from bpg.data.dataset import TrainingImages
from bpg.data.masks import write_mask
from bpg.data.options import Augmentation
from bpg.data.shapes import CLASSES, draw_sample
from bpg.data.strokes import rasterise
from bpg.devices import Execution
from bpg.models.network import Architecture, Network
from bpg.models.options import BRNArchitecture, PRNOptions
from bpg.training.objective import Objective
from bpg.training.options import OptimizerOptions
from bpg.training.train import train

TINY = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16], "stem_type": "deep", "stem_width": 8}
IDS = [f"p{number}" for number in range(8)]


@pytest.fixture(autouse=True)
def one_thread():
    """Whatever a test sets, the next one starts from one thread and PyTorch's defaults."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    switches = torch.backends.cudnn, torch.backends.cuda.matmul
    before = torch.backends.cudnn.benchmark, [s.allow_tf32 for s in switches]
    yield
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = before[0]
    for switch, value in zip(switches, before[1], strict=True):
        switch.allow_tf32 = value


@pytest.fixture(autouse=True)
def interruptible():
    """Where the tests run in a shell's background, SIGINT is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Eight generated images of 48 pixels with masks, scribbles and edges."""
    path = tmp_path_factory.mktemp("images")
    for name in ("images", "masks", "scribbles", "edges", "blank"):
        (path / name).mkdir()
    for number, name in enumerate(IDS):
        sample = draw_sample([11, 0, number], 48)
        Image.fromarray(sample.image).save(path / f"images/{name}.png")
        write_mask(path / f"masks/{name}.png", sample.mask)
        write_mask(path / f"scribbles/{name}.png", rasterise(sample.strokes, CLASSES, 3))
        write_mask(path / f"blank/{name}.png", np.full((48, 48), 255, np.uint8))
        objects = 255 * (sample.mask > 0).astype(np.uint8)
        outline = ndimage.morphological_gradient(objects, size=3)
        Image.fromarray(outline).save(path / f"edges/{name}.png")
    return path


@pytest.fixture
def load(folder):
    """Return a function that makes the training images."""

    def load(labels="scribbles", crop=33, varied=True, seed=0, edges=True, ids=IDS):
        low, high = (0.75, 1.25) if varied else (1.0, 1.0)
        return TrainingImages(
            ids,
            folder / "images",
            folder / labels,
            folder / "edges" if edges else None,
            Augmentation(crop, low, high, varied),
            classes=len(CLASSES),
            seed=seed,
            fill=(124, 116, 104),
        )

    return load


@pytest.fixture
def build():
    """Return a function that builds a tiny network, its weights from `seed`."""

    def build(prn=False, brn=None, frozen_norm=False, seed=0):
        torch.manual_seed(seed)
        return Network(
            Architecture(
                classes=CLASSES,
                backbone="resnet18",
                backbone_options=dict(TINY),
                frozen_norm=frozen_norm,
                prn=PRNOptions(3, width=4, low_width=3, mixing="mixed") if prn else None,
                brn=BRNArchitecture("probabilities", 8, 3, brn) if brn else None,
            )
        )

    return build


@pytest.fixture
def fit(tmp_path):
    """Return a function that trains with the given settings, the others being tame.

    `boundary_weight` and `regularisers` make the objective; what `OptimizerOptions` and `Execution`
    have goes there, the rest to `train`.
    """

    def fit(network, pictures, *, boundary_weight=1.0, regularisers=None, **settings):
        defaults = {
            "epochs": 1,
            "first_epoch": 0,
            "batch_size": 4,
            "optimizer": "adamw",
            "lr": 2e-3,
            "momentum": 0.9,
            "weight_decay": 0.01,
            "head_lr_mult": 1.0,
            "new_lr_mult": 1.0,
            "max_grad_norm": 5.0,
            "device": torch.device("cpu"),
            "num_workers": 0,
            "seed": 0,
            "title": "test, seed 0",
        }
        rest = defaults | settings

        def made(kind):
            names = {field.name for field in fields(kind)} & rest.keys()
            return kind(**{name: rest.pop(name) for name in names})

        options, execution = made(OptimizerOptions), made(Execution)
        objective = rest.pop("objective", Objective(boundary_weight, regularisers or {}))
        curves = tmp_path / "curves"
        return train(
            network,
            pictures,
            curves,
            objective=objective,
            options=options,
            execution=execution,
            **rest,
        )

    return fit


@pytest.fixture
def stacked():
    """Return a function: all images, as drawn for the first epoch."""

    def stacked(images):
        items = [images[i] for i in range(len(images))]
        return [torch.stack(plane) for plane in zip(*items, strict=True)]

    return stacked
