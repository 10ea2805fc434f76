import pytest
import torch

from bpg.models.network import Architecture, Network
from bpg.models.options import PRNOptions

TINY = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16], "stem_type": "deep", "stem_width": 8}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def network() -> Network:
    """A tiny network with PRN, random in all its parts, in evaluation mode."""
    torch.manual_seed(0)
    prn = PRNOptions(3, width=4, low_width=3, mixing="mixed")
    network = Network(Architecture(("background", "bird", "cat"), "resnet18", TINY, prn=prn))
    with torch.no_grad():
        for module in (network.head, network.prn):
            for parameter in module.parameters():
                parameter.copy_(0.3 * torch.randn(parameter.shape))
    return network.eval()
