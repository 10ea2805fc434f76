import pytest
import torch

from bpg.models.network import Architecture, Network
from bpg.models.options import BRNArchitecture, PRNOptions

TINY = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16], "stem_type": "deep", "stem_width": 8}
CLASSES = ("background", "bird", "cat")


@pytest.fixture(autouse=True)
def one_thread_and_seed():
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture
def tiny_options() -> dict:
    return dict(TINY)


@pytest.fixture
def build():
    """Return a function that builds a tiny network with the given parts."""

    def build(prn=False, brn=None, frozen_norm=False, steps=3, mixing="mixed"):
        return Network(
            Architecture(
                classes=CLASSES,
                backbone="resnet18",
                backbone_options=dict(TINY),
                frozen_norm=frozen_norm,
                prn=PRNOptions(steps, width=4, low_width=3, mixing=mixing) if prn else None,
                brn=BRNArchitecture("probabilities", 4, 3, brn) if brn else None,
            )
        )

    return build


@pytest.fixture
def randomise():
    """Return a function that draws all parameters anew, so that no zero start hides a fault."""

    def randomise(module: torch.nn.Module) -> torch.nn.Module:
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(0.5 * torch.randn(parameter.shape, dtype=parameter.dtype))
        return module

    return randomise
