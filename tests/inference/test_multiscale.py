import numpy as np
import pytest
import torch

from bpg.inference.multiscale import multiscale_probabilities, predict_edges
from bpg.inference.options import InferenceOptions
from bpg.models.network import Architecture, Network, Output
from bpg.models.options import BRNArchitecture

CPU = torch.device("cpu")
SCALES = (0.5, 0.75, 1.0, 1.25)


def picture(height, width, seed=0):
    """Smooth, so that scales see about the same."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    phases = rng.uniform(0, 6, 3)
    waves = [np.sin(x / 7 + p) + np.cos(y / (5 + p)) for p in phases]
    return (60 * np.stack(waves, 2) + 128).clip(0, 255).astype(np.uint8)


def run(network, image, scales=(1.0,), *, flip=False, bf16=False):
    return multiscale_probabilities(
        network, image, InferenceOptions(tuple(scales), flip), device=CPU, bf16=bf16
    )


def pixels(image):
    return torch.from_numpy(image).permute(2, 0, 1)[None].float()


def test_one_scale_without_flip_is_the_networks_softmax(network):
    image = picture(41, 30)
    with torch.inference_mode():
        expected = network(pixels(image)).logits.softmax(1)[0]
    found = run(network, image)
    assert torch.allclose(found, expected, atol=1e-6)
    assert (expected.amax((1, 2)) - expected.amin((1, 2)) > 0.1).any(), "nothing to compare"


def test_flip_is_the_mean_with_the_mirrored_picture_turned_back(network):
    image = picture(33, 28)
    straight = run(network, image)
    mirrored = run(network, np.ascontiguousarray(image[:, ::-1])).flip(2)
    assert (straight - mirrored).abs().max() > 0.01, "the network must not be symmetric"
    expected = (straight + mirrored) / 2
    assert torch.allclose(run(network, image, flip=True), expected, atol=1e-5)


def test_scales_are_averaged(network):
    image = picture(37, 52)
    expected = sum(run(network, image, (scale,)) for scale in SCALES) / 4
    assert torch.allclose(run(network, image, SCALES), expected, atol=1e-6)
    assert not torch.allclose(expected, run(network, image), atol=1e-3)


def test_the_mirrored_picture_gets_the_mirrored_vote(network):
    image = picture(30, 43)
    expected = run(network, image, SCALES, flip=True).flip(2)
    found = run(network, np.ascontiguousarray(image[:, ::-1]), SCALES, flip=True)
    assert torch.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (17, 40), (33, 31)])
@pytest.mark.parametrize("flip", [True, False])
def test_probabilities_at_the_pictures_size(size, flip, network):
    found = run(network, picture(*size), SCALES, flip=flip)
    assert found.shape == (3, *size)
    assert found.dtype == torch.float32
    assert found.min() >= 0
    assert torch.allclose(found.sum(0), torch.ones(size), atol=1e-5)


def test_autocast_gives_nearly_the_same_in_single_precision(network):
    image = picture(33, 31)
    found = run(network, image, SCALES, flip=True, bf16=True)
    assert found.dtype == torch.float32
    assert torch.allclose(found.sum(0), torch.ones(33, 31), atol=1e-5)
    exact = run(network, image, SCALES, flip=True)
    assert 0 < (found - exact).abs().max() < 0.2


class Echo(torch.nn.Module):
    """Logits are the image's channels, so that a vote shows where things end up."""

    def __init__(self):
        super().__init__()
        self.shapes = []

    def forward(self, images):
        self.shapes.append(tuple(images.shape))
        return Output(images / 20, None, images)


def test_the_network_sees_the_scaled_sizes():
    echo = Echo()
    run(echo, picture(375, 500), SCALES, flip=True)
    sizes = [(188, 250), (281, 375), (375, 500), (469, 625)]
    assert echo.shapes == [(2, 3, *size) for size in sizes]
    echo.shapes.clear()
    run(echo, picture(1, 3), (0.25,))
    assert echo.shapes == [(1, 3, 1, 1)]


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.0, 1.25, 2.0])
@pytest.mark.parametrize("size", [(60, 80), (61, 83)])
def test_scaling_there_and_back_shifts_nothing(scale, size):
    image = np.zeros((*size, 3), np.uint8)
    image[..., 0] = 255
    image[20:37, 31:52] = (0, 255, 0)
    found = run(Echo(), image, (scale,), flip=True)[1] > 0.5
    points = found.nonzero().float()
    assert points.mean(0).tolist() == pytest.approx([28, 41], abs=0.6)
    assert found.sum().item() == pytest.approx(17 * 21, rel=0.1)


@pytest.mark.parametrize("scale", [0.25, 0.5, 2.0])
def test_scaling_there_and_back_keeps_a_ramp(scale):
    image = np.zeros((40, 60, 3), np.uint8)
    image[..., 1] = 2 * np.arange(60) + np.arange(40)[:, None]
    found = run(Echo(), image, (scale,))
    logits = 20 * (found[1] / found[0]).log()
    difference = (logits - torch.from_numpy(image[..., 1]).float())[6:-6, 6:-6]
    assert difference.abs().max() < 0.1


def test_small_scales_average_and_do_not_skip():
    """A fine checkerboard at a third of its size is grey, not black or white."""
    image = np.zeros((63, 63, 3), np.uint8)
    image[::2, ::2] = image[1::2, 1::2] = 255
    seen = []

    def look(images):
        seen.append(images)
        return Output(images, None, images)

    run(look, image, (1 / 3,))
    assert (seen[0] - 127.5).abs().max() < 30


SMALL = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16], "stem_type": "deep", "stem_width": 8}
BRN = BRNArchitecture("probabilities", 4, 2, "foreground")


def with_brn(brn):
    torch.manual_seed(0)
    classes = ("ground", "a", "b")
    return Network(Architecture(classes, "resnet18", dict(SMALL), brn=brn)).eval()


def test_the_map_is_the_sigmoid_of_what_training_regresses():
    net = with_brn(BRN)
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
        predict_edges(with_brn(None), image, device=torch.device("cpu"), bf16=False)
