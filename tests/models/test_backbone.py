from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import resnet101

from bpg.errors import BPGError
from bpg.models.backbone import Backbone, load_imagenet

EFFICIENTNET = "tf_efficientnet_lite0"
# As deep as they need to be for every kind of block, and no deeper.
BOTTLENECKS = {"layers": [1, 1, 2, 2]}


def backbone(name: str, options: dict, *, frozen_norm: bool = True) -> Backbone:
    return Backbone(name, options, frozen_norm=frozen_norm).eval()


@pytest.fixture
def tiny(tiny_options):
    return lambda **other: backbone("resnet18", tiny_options, **other)


# Geometry


@pytest.mark.parametrize(
    ("name", "features"), [("resnet18", 16), ("resnet101", 2048), (EFFICIENTNET, 320)]
)
def test_one_feature_for_every_eighth_pixel(name, features, tiny_options):
    network = backbone(name, tiny_options if name == "resnet18" else {})
    assert network.features == features
    sizes = [(33, 41)] if name == "resnet101" else [(1, 1), (9, 17), (33, 65), (97, 97)]
    for height, width in sizes:
        with torch.inference_mode():
            found = network(torch.randn(2, 3, height, width))
        assert found.shape == (2, features, (height - 1) // 8 + 1, (width - 1) // 8 + 1)


def smooth(network: Backbone) -> Backbone:
    """Make all kernels positive and symmetric, and pooling an average.

    Each feature is then a positive sum around its centre, if the geometry is centred.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.ones_(module.weight)
    for name, module in network.net.named_children():
        if isinstance(module, nn.MaxPool2d):
            average = nn.AvgPool2d(module.kernel_size, module.stride, module.padding)
            network.net[name] = average
    return network.double()


@pytest.mark.parametrize(
    ("name", "options", "length"),
    [
        ("resnet18", "tiny", 401),
        ("resnet101", {"layers": [1, 1, 1, 1]}, 401),
        (EFFICIENTNET, {}, 1201),
    ],
)
@pytest.mark.parametrize("axis", [2, 3])
def test_feature_i_is_centred_on_pixel_8i(name, options, length, axis, tiny_options):
    network = smooth(backbone(name, tiny_options if options == "tiny" else options))
    # A strip: its other axis is too short for the border not to matter.
    size = (length, 9) if axis == 2 else (9, length)
    image = torch.ones(1, 3, *size, dtype=torch.float64, requires_grad=True)
    features = network(image)
    middle = (length - 1) // 8 // 2
    positions = torch.arange(length, dtype=torch.float64)
    for i in (middle - 3, middle, middle + 5):
        chosen = features.select(axis, i).sum()
        (gradient,) = torch.autograd.grad(chosen, image, retain_graph=True)
        influence = gradient.abs().sum(dim=[d for d in range(4) if d != axis])
        assert influence[0] == 0, "the strip is too short: a field is cut off"
        assert influence[-1] == 0, "the strip is too short: a field is cut off"
        centroid = (influence * positions).sum() / influence.sum()
        assert centroid.item() == pytest.approx(8 * i, abs=1e-6)
        assert (influence > 0).sum() > 60


# torchvision's ResNet-101


def draw_statistics(network: nn.Module) -> None:
    """Random batch norm, so that a mixed-up name shows."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)


def test_resnet101_equals_torchvisions_dilated_one():
    published = resnet101(weights=None, replace_stride_with_dilation=[False, True, True]).eval()
    draw_statistics(published)
    ours = backbone("resnet101", {})
    result = ours.net.load_state_dict(published.state_dict(), strict=False)
    assert result.missing_keys == []
    assert sorted(result.unexpected_keys) == ["fc.bias", "fc.weight"]
    trunk = nn.Sequential(OrderedDict(list(published.named_children())[:-2]))
    image = torch.randn(1, 3, 65, 73)
    with torch.inference_mode():
        expected, found = trunk(image), ours(image)
    assert found.shape == (1, 2048, 9, 10)
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert expected.std() > 1e-2 * expected.abs().max(), "nothing to compare"


# Frozen batch norm


def train_once(network: Backbone) -> tuple[dict, dict]:
    """Return the state before and after a step on unusual images."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.ones_(module.weight)  # timm's residual branches start at zero
    network.train()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    solver = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network(5 + 3 * torch.randn(4, 3, 33, 33)).square().mean().backward()
    solver.step()
    return before, network.state_dict()


@pytest.mark.parametrize("name", ["resnet18", EFFICIENTNET])
def test_frozen_norm_moves_neither_statistics_nor_affine_parameters(name, tiny_options):
    network = backbone(name, tiny_options if name == "resnet18" else {})
    before, after = train_once(network)
    norms = {
        f"{name}.{key}"
        for name, module in network.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        for key in module.state_dict()
    }
    assert len(norms) >= 5 * 10
    for key, value in after.items():
        if key in norms:
            assert torch.equal(value, before[key]), key
        else:
            assert not torch.equal(value, before[key]), key
    assert all(p.grad is None for n, p in network.named_parameters() if n in norms)


def test_frozen_norm_stays_frozen_when_training_is_switched_on_again(tiny):
    network = tiny()
    network.train().eval().train()
    image = torch.randn(2, 3, 17, 17)
    batch = network(image)
    assert torch.allclose(batch[:1], network(image[:1]), atol=1e-5), "images see each other"


def test_norm_is_trained_unless_frozen(tiny):
    before, after = train_once(tiny(frozen_norm=False))
    still = [k for k, v in after.items() if torch.equal(v, before[k])]
    assert still == []


# Creation


@pytest.mark.parametrize(
    ("name", "options"),
    [("resnet1001", {}), ("resnet18", {"layres": [1, 1, 1, 1]}), ("vgg11", {})],
)
def test_an_impossible_backbone_is_named(name, options):
    with pytest.raises(BPGError, match=f"'{name}'") as caught:
        Backbone(name, options, frozen_norm=False)
    assert "\n" not in str(caught.value)


# Weights


def write(path: Path, tensors) -> Path:
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    return path


def classifier(network: Backbone) -> dict[str, torch.Tensor]:
    """What an ImageNet file of this backbone holds: other values, and the classifier."""
    tensors = {
        name: torch.rand(value.shape) if value.is_floating_point() else value.clone()
        for name, value in network.net.state_dict().items()
    }
    return tensors | {"fc.weight": torch.rand(7, network.features), "fc.bias": torch.rand(7)}


def assert_holds(network: Backbone, tensors: list[torch.Tensor]) -> None:
    held = [v for k, v in network.net.state_dict().items() if "num_batches" not in k]
    assert len(held) == len(tensors)
    assert all(torch.equal(a, b) for a, b in zip(held, tensors, strict=True))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_loads_by_name_whatever_the_order(suffix, tiny, tmp_path):
    network = tiny()
    tensors = classifier(network)
    path = write(tmp_path / f"weights{suffix}", dict(reversed(tensors.items())))
    load_imagenet(network, path)
    names = [k for k in network.net.state_dict() if "num_batches" not in k]
    assert_holds(network, [tensors[k] for k in names])


@pytest.mark.parametrize("with_counters", [True, False])
def test_loads_by_order_where_the_names_are_others(with_counters, tmp_path):
    network = backbone(EFFICIENTNET, {})
    # The package's file: names of its own, the last convolution and the classifier at the end.
    tensors = {
        f"_blocks.{number}.{name.rsplit('.')[-1]}": value
        for number, (name, value) in enumerate(classifier(network).items())
        if with_counters or "num_batches" not in name
    }
    load_imagenet(network, write(tmp_path / "weights.pth", tensors))
    held = [v for k, v in tensors.items() if "num_batches" not in k]
    assert_holds(network, held[:-2])


def test_loaded_weights_decide_the_features(tiny, tmp_path):
    one, other = tiny(), tiny()
    image = torch.randn(1, 3, 33, 33)
    path = write(tmp_path / "weights.safetensors", one.net.state_dict())
    assert not torch.allclose(one(image), other(image))
    load_imagenet(other, path)
    assert torch.equal(one(image), other(image))


def short(tensors):
    return dict(list(tensors.items())[:20])


def one_name_missing(tensors):
    return {k: v for k, v in tensors.items() if k != "layer2.0.bn1.weight"}


def another_shape(tensors):
    return tensors | {"layer1.0.conv1.weight": torch.rand(3, 3)}


def nan(tensors):
    tensors["layer4.0.bn2.running_var"][3] = float("nan")
    return tensors


def infinite(tensors):
    tensors["conv1.0.weight"][0, 0, 0, 0] = float("-inf")
    return tensors


@pytest.mark.parametrize("spoil", [short, one_name_missing, another_shape, nan, infinite])
def test_weights_that_do_not_fit_are_refused_and_nothing_is_loaded(spoil, tiny, tmp_path):
    network = tiny()
    before = {k: v.clone() for k, v in network.net.state_dict().items()}
    path = write(tmp_path / "weights.pth", spoil(classifier(network)))
    with pytest.raises(BPGError, match=r"weights\.pth") as caught:
        load_imagenet(network, path)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(v, before[k]) for k, v in network.net.state_dict().items())


def test_nan_in_the_unused_classifier_is_no_error(tiny, tmp_path):
    network = tiny()
    tensors = classifier(network) | {"fc.bias": torch.full((7,), float("nan"))}
    load_imagenet(network, write(tmp_path / "weights.pth", tensors))


def test_weights_of_another_architecture_are_refused(tiny, tmp_path):
    other = classifier(backbone("resnet101", {"layers": [1, 1, 1, 1]}))
    with pytest.raises(BPGError, match="same architecture"):
        load_imagenet(tiny(), write(tmp_path / "other.pth", other))


class Harmful:
    def __reduce__(self):
        return (Path.touch, (Path("harmful-pickle-was-run"),))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("kept", [0, 1, 100, 0.5, 0.99])
def test_a_cut_off_file_is_refused(kept, suffix, tiny, tmp_path):
    network = tiny()
    path = write(tmp_path / f"weights{suffix}", classifier(network))
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(BPGError, match=f"weights{suffix}"):
        load_imagenet(network, path)


def test_a_missing_file_is_named(tiny, tmp_path):
    with pytest.raises(BPGError, match=r"nothing\.pth"):
        load_imagenet(tiny(), tmp_path / "nothing.pth")


def test_pickled_code_is_not_run(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "weights.pth", {"conv1.0.weight": Harmful()})
    with pytest.raises(BPGError, match=r"weights\.pth"):
        load_imagenet(tiny(), path)
    assert not (tmp_path / "harmful-pickle-was-run").exists()


@pytest.mark.parametrize("content", [[1, 2, 3], {"epoch": 3, "state_dict": {}}, {"a": "text"}])
def test_a_file_of_something_else_is_refused(content, tiny, tmp_path):
    with pytest.raises(BPGError, match=r"weights\.pth"):
        load_imagenet(tiny(), write(tmp_path / "weights.pth", content))


def test_features_off_the_grid_are_refused_with_what_was_found():
    # Patches of 4 pixels without padding: 8x8 features of 65x65 pixels.
    with pytest.raises(BPGError, match=r"convnext_atto.*×8×8 for 65×65 pixels, not .*×9×9"):
        backbone("convnext_atto", {}, frozen_norm=False)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "no_such_model", "resnet18d.nothing"])
def test_a_backbone_that_cannot_be_built_is_one_line(name):
    with pytest.raises(BPGError, match=name) as caught:
        backbone(name, {}, frozen_norm=False)
    message = str(caught.value)
    assert "\n" not in message and not message.endswith("AssertionError")
