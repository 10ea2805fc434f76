"""The pipeline against programs that others wrote, or against the published recipe spelt out."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from pydensecrf import densecrf
from pydensecrf.utils import unary_from_softmax
from safetensors.torch import save_file
from torch import nn
from torchmetrics.classification import MulticlassJaccardIndex
from torchvision import models

from bpg.evaluation.score import score
from bpg.inference.crf import dense_crf
from bpg.models.backbone import load_imagenet
from bpg.models.network import Architecture, Network
from bpg.strict_yaml import read_as
from pipeline.params import Recipe

PAPER_RECIPE = Path(__file__).parents[1] / "params/recipe/paper.yaml"
CLASSES = tuple("abcdefg")


@pytest.fixture(autouse=True)
def one_thread_and_seed():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


# DeepLab-v2 against torchvision's dilated ResNet with ASPP and bilinear enlargement by hand


def pictures(batch: int, size: tuple[int, int]) -> torch.Tensor:
    """Patches of random colours: noise would be averaged out on the way to the logits."""
    return F.interpolate(255 * torch.rand(batch, 3, 5, 4), size=size)


def published_trunk(name: str) -> nn.Module:
    """torchvision's ResNet at stride 8, with statistics that let images through to the end."""
    trunk = getattr(models, name)(weights=None, replace_stride_with_dilation=[False, True, True])
    for module in trunk.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            module.momentum = 1.0  # the statistics become those of the batch below
    with torch.no_grad():
        features_of(trunk.train(), pictures(4, (65, 65)) / 100)
    return trunk.eval()


def features_of(trunk: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    """torchvision's own forward pass, stopped before the classifier."""
    x = trunk.maxpool(trunk.relu(trunk.bn1(trunk.conv1(pixels))))
    return trunk.layer4(trunk.layer3(trunk.layer2(trunk.layer1(x))))


def eightfold(samples: int) -> torch.Tensor:
    """The matrix that interpolates n + 1 samples linearly to 8n + 1: sample i stays at 8i."""
    fine, coarse = np.arange(8 * (samples - 1) + 1) / 8, np.arange(samples)
    columns = [np.interp(fine, coarse, unit) for unit in np.eye(samples)]
    return torch.tensor(np.stack(columns, 1), dtype=torch.float32)


def deeplab_by_hand(trunk: nn.Module, head: list, images: torch.Tensor) -> torch.Tensor:
    height, width = images.shape[2:]
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    deviation = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    padded_height, padded_width = (
        next(n for n in range(size, size + 8) if n % 8 == 1) for size in (height, width)
    )
    pixels = torch.zeros(len(images), 3, padded_height, padded_width)
    pixels[..., :height, :width] = (images / 255 - mean) / deviation
    features = features_of(trunk, pixels)
    coarse = sum(
        F.conv2d(features, weight, bias, padding=rate, dilation=rate)
        for rate, (weight, bias) in zip((6, 12, 18, 24), head, strict=True)
    )
    down, across = (eightfold(n) for n in coarse.shape[2:])
    return (down @ coarse @ across.T)[..., :height, :width]


# Long enough for a dilation of 24 at stride 8; the second of each pair is not of the form 8n + 1.
@pytest.mark.parametrize(
    ("name", "suffix", "size"),
    [
        ("resnet101", ".pth", (25, 209)),
        ("resnet101", ".safetensors", (19, 206)),
        ("resnet50", ".safetensors", (217, 17)),
        ("resnet50", ".pth", (30, 204)),
    ],
)
def test_scores_equal_torchvisions_trunk_with_aspp_by_hand(name, suffix, size, tmp_path):
    trunk = published_trunk(name)
    tensors = {key: value.contiguous() for key, value in trunk.state_dict().items()}
    path = tmp_path / f"weights{suffix}"
    save_file(tensors, path) if suffix == ".safetensors" else torch.save(tensors, path)
    network = Network(Architecture(CLASSES, name, frozen_norm=True)).eval()
    load_imagenet(network.backbone, path)
    head = [(torch.randn(7, 2048, 3, 3) / 4000, torch.randn(7) / 4) for _ in range(4)]
    with torch.no_grad():
        for branch, (weight, bias) in zip(network.head.branches, head, strict=True):
            branch.weight.copy_(weight)
            branch.bias.copy_(bias)
    images = pictures(2, size)
    with torch.inference_mode():
        found, edges, _ = network(images)
        expected = deeplab_by_hand(trunk, head, images)
    assert edges is None
    assert found.shape == expected.shape == (2, 7, *size)
    assert (found - expected).abs().max() <= 1e-4
    # Logits that differ by image and by pixel: otherwise 1e-4 would say little.
    assert expected.std(dim=(2, 3)).min() > 0.2
    assert (expected[0] - expected[1]).abs().mean() > 0.2


# Logits against torchmetrics, from files that Pillow alone writes and reads


def test_miou_of_files_equals_torchmetrics(tmp_path):
    rng = np.random.default_rng(5)
    names = [f"p{number}" for number in range(4)]
    for folder in ("masks", "raw", "crf"):
        (tmp_path / folder).mkdir()
    for name in names:
        size = rng.integers(20, 50, 2)
        truth = rng.integers(0, 7, size)
        for folder, kept in (("raw", 0.5), ("crf", 0.8)):
            guess = np.where(rng.random(size) < kept, truth, rng.integers(0, 7, size))
            Image.fromarray(guess.astype(np.uint8)).save(tmp_path / folder / f"{name}.png")
        truth[rng.random(size) < 0.1] = 255
        Image.fromarray(truth.astype(np.uint8)).save(tmp_path / "masks" / f"{name}.png")
    folders = [tmp_path / folder for folder in ("masks", "raw", "crf")]
    found, _ = score(names, *folders, CLASSES)
    for kind in ("raw", "crf"):
        metric = MulticlassJaccardIndex(7, average="none", ignore_index=255)
        for name in names:
            guess, truth = (
                torch.tensor(np.array(Image.open(tmp_path / folder / f"{name}.png"))).long()[None]
                for folder in (kind, "masks")
            )
            metric.update(guess, truth)
        expected = 100 * metric.compute()
        assert found[kind]["iou"] == pytest.approx(expected.tolist(), abs=1e-4)
        assert found[kind]["miou"] == pytest.approx(expected.mean().item(), abs=1e-4)
    assert found["crf"]["miou"] - found["raw"]["miou"] > 10


# The paper's recipe against numbers written out here


def test_crf_of_the_papers_recipe_agrees_with_the_published_calls():
    """DeepLab's constants and pydensecrf's own unary, as deeplab-pytorch has them."""
    recipe = read_as(PAPER_RECIPE, Recipe)
    rng = np.random.default_rng(7)
    image = np.full((45, 60, 3), 70)
    image[:, 25:] = (160, 120, 90)
    image = (image + rng.normal(0, 4, image.shape)).clip(0, 255).astype(np.uint8)
    logits = rng.normal(0, 1, (4, 45, 60))
    logits[1, :, :25] += 1
    logits[2, :, 25:] += 1
    probabilities = torch.tensor(logits).softmax(0).numpy().astype(np.float32)

    crf = densecrf.DenseCRF2D(60, 45, 4)
    crf.setUnaryEnergy(np.ascontiguousarray(unary_from_softmax(probabilities)))
    crf.addPairwiseGaussian(sxy=1, compat=3)
    crf.addPairwiseBilateral(sxy=67, srgb=3, rgbim=np.ascontiguousarray(image), compat=4)
    expected = np.array(crf.inference(10)).reshape(4, 45, 60).argmax(0)

    options = recipe.crf
    found = dense_crf(image, [0, 1, 2, 3], probabilities, options)
    assert (found == expected).mean() > 0.995
    assert (expected != probabilities.argmax(0)).mean() > 0.05, "the CRF must do something"
