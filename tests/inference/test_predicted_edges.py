import numpy as np
import pytest
import torch

from bpg.inference.multiscale import predict_edges
from bpg.models.network import Architecture, Network
from bpg.models.options import BRNArchitecture

SMALL = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16], "stem_type": "deep", "stem_width": 8}
BRN = BRNArchitecture("probabilities", 4, 2, "foreground")


def network(brn):
    torch.manual_seed(0)
    classes = ("ground", "a", "b")
    return Network(Architecture(classes, "resnet18", dict(SMALL), brn=brn)).eval()


def test_the_map_is_the_sigmoid_of_what_training_regresses():
    net = network(BRN)
    image = np.random.default_rng(0).integers(0, 256, (37, 50, 3), np.uint8)
    found = predict_edges(net, image, device=torch.device("cpu"), bf16=False)
    assert (found.shape, found.dtype) == ((37, 50), np.uint8)
    with torch.no_grad():
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
        logits, none, _ = net(pixels)
        expected = net.brn(logits).sigmoid()[0, 0]
    assert none is None
    assert np.abs(found / 255 - expected.numpy()).max() <= 0.5 / 255 + 1e-6
    assert not net.training


def test_without_a_boundary_network_there_is_none():
    image = np.zeros((9, 9, 3), np.uint8)
    with pytest.raises(ValueError, match="no Boundary Regression Network"):
        predict_edges(network(None), image, device=torch.device("cpu"), bf16=False)
