import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from bpg.constants import MEAN
from bpg.errors import BPGError
from bpg.models.network import Architecture, Network, load_network, save_network

PARTS = [
    {},
    {"prn": True},
    {"brn": "foreground"},
    {"prn": True, "brn": "foreground"},
    {"prn": True, "brn": "all_channels"},
]
TINY = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16], "stem_type": "deep", "stem_width": 8}
SIZES = [(1, 1), (2, 9), (8, 16), (9, 17), (33, 18), (31, 50)]


def pictures(*size: int, batch: int = 1) -> torch.Tensor:
    return torch.randint(0, 256, (batch, 3, *size)).float()


@pytest.mark.parametrize("parts", PARTS)
def test_scores_have_the_pictures_size_whatever_it_is(parts, build, randomise):
    network = randomise(build(**parts)).eval()
    for size in SIZES:
        with torch.inference_mode():
            logits, edges, _ = network(pictures(*size, batch=2))
        assert logits.shape == (2, 3, *size)
        assert torch.isfinite(logits).all()
        assert edges is None


@pytest.mark.parametrize("parts", PARTS)
def test_edges_are_for_training_only(parts, build):
    network = build(**parts).train()
    images = pictures(20, 33, batch=2)
    logits, edges, _ = network(images)
    assert logits.shape == (2, 3, 20, 33)
    if "brn" in parts:
        assert edges.shape == (2, 1, 20, 33)
        assert network.eval()(images).edges is None
    else:
        assert edges is None


def test_edges_are_the_brns_of_the_final_scores(build, randomise):
    network = randomise(build(prn=True, brn="foreground", frozen_norm=True)).train()
    logits, edges, _ = network(pictures(20, 33))
    assert torch.equal(edges, network.brn(logits))


def test_boundary_loss_reaches_every_trained_parameter(build):
    network = build(prn=True, brn="foreground")
    solver = torch.optim.SGD(network.parameters(), lr=0.01)
    for _ in range(4):  # PRN's convolutions hear of it one a step: the last ones start at zero
        solver.zero_grad()
        network(pictures(17, 17, batch=2)).edges.sigmoid().square().mean().backward()
        solver.step()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("prn", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (10, 15), (12, 33), (40, 27)])
def test_padding_shifts_nothing(prn, size, build, randomise):
    """An image alone, and the same one put on mean colour up to 8n + 1 by hand, agree."""
    network = randomise(build(prn=prn)).eval()
    images = pictures(*size)
    mean = 255 * torch.tensor(MEAN).view(1, 3, 1, 1)
    height, width = (-(-(extent - 1) // 8) * 8 + 1 for extent in size)
    padded = mean.expand(1, 3, height, width).clone()
    padded[..., : size[0], : size[1]] = images
    with torch.inference_mode():
        alone, framed = network(images).logits, network(padded).logits
    scale = framed.abs().max()
    assert (alone - framed[..., : size[0], : size[1]]).abs().max() <= 1e-5 * scale


@pytest.mark.parametrize("parts", PARTS)
def test_features_are_the_backbones_last_at_stride_8(parts, build):
    network = build(**parts)
    kept = []
    network.backbone.register_forward_hook(lambda _, __, output: kept.append(output))
    for mode in (True, False):
        for size, grid in (((17, 33), (3, 5)), ((20, 30), (4, 5)), ((1, 8), (1, 2))):
            features = network.train(mode)(pictures(*size, batch=2)).features
            assert features.shape == (2, network.backbone.features, *grid)
            assert features is kept[-1]


def smooth(network: nn.Module) -> nn.Module:
    """Positive, symmetric kernels and average pooling: the image is only blurred."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.ones_(module.weight)
    pool = network.backbone.net["maxpool"]
    average = nn.AvgPool2d(pool.kernel_size, pool.stride, pool.padding)
    network.backbone.net["maxpool"] = average
    return network.double().eval()


def test_scores_lie_where_the_picture_does(build):
    """A dot's response is centred on the dot, on the grid of features and between."""
    network = smooth(build())
    # Beyond the fields of backbone and head, and so that padding leaves nothing over.
    size = 801
    positions = torch.arange(size, dtype=torch.float64)
    for axis in (2, 3):
        shape = [1, 3, 9, 9]
        shape[axis] = size
        image = torch.full(shape, 255.0, dtype=torch.float64, requires_grad=True)
        logits = network(image).logits
        for pixel in (8 * 50, 8 * 50 + 4, 8 * 49 + 3):
            chosen = logits.select(axis, pixel).sum()
            (gradient,) = torch.autograd.grad(chosen, image, retain_graph=True)
            influence = gradient.abs().sum(dim=[d for d in range(4) if d != axis])
            assert influence[0] == influence[-1] == 0, "the strip is too short"
            centroid = (influence * positions).sum() / influence.sum()
            assert centroid.item() == pytest.approx(pixel, abs=1e-6)


def test_without_prn_scores_are_bilinear_between_every_eighth_pixel(build):
    network = build().eval()
    with torch.inference_mode():
        logits = network(pictures(25, 41)).logits
    nodes = logits[..., ::8, ::8]
    again = F.interpolate(nodes, size=(25, 41), mode="bilinear", align_corners=True)
    assert torch.allclose(logits, again, atol=1e-5)


@pytest.mark.parametrize("mixing", ["mixed", "shared", "grouped"])
def test_prn_and_brn_start_as_the_baseline(mixing, build):
    baseline = build().eval()
    refined = build(prn=True, brn="foreground", mixing=mixing).eval()
    refined.load_state_dict(baseline.state_dict(), strict=False)
    images = pictures(30, 21)
    assert torch.allclose(refined(images).logits, baseline(images).logits, atol=1e-5)


def test_pixels_are_normalised_for_imagenet(build):
    network = build().eval()
    seen = []
    network.backbone.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    network(torch.tensor([255.0, 0.0, 127.5]).view(1, 3, 1, 1).expand(1, 3, 9, 9))
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, (0.5 - 0.406) / 0.225]
    assert seen[0][0, :, 4, 4].tolist() == pytest.approx(expected, abs=1e-5)


def test_pictures_are_padded_by_as_little_as_needed_and_with_the_mean(build):
    network = build().eval()
    seen = []
    network.backbone.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    for size, padded in [((9, 17), (9, 17)), ((10, 16), (17, 17)), ((1, 24), (1, 25))]:
        network(torch.full((1, 3, *size), 200.0))
        assert seen[-1].shape[2:] == padded
        assert seen[-1][..., : size[0], : size[1]].all()
        assert not seen[-1][..., size[0] :, :].any()
        assert not seen[-1][..., size[1] :].any()


# Going on from another network


def weights(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(v, other[k]) for k, v in one.items())


def trained(network: nn.Module, randomise) -> nn.Module:
    """With weights of its own everywhere, batch norm's statistics included."""
    randomise(network).train()(pictures(17, 17, batch=2))
    return network


# Without two BRNs of different shapes.
PAIRS = [
    (own, given)
    for own in PARTS
    for given in PARTS
    if len({parts["brn"] for parts in (own, given) if "brn" in parts}) < 2
]


@pytest.mark.parametrize(("own", "given"), PAIRS)
def test_what_both_have_is_taken_over_and_the_rest_stays(own, given, build, randomise):
    network, start = build(**own), trained(build(**given), randomise)
    before = {name: weights(part) for name, part in network.named_children()}
    network.init_from(start)
    theirs = {name: weights(part) for name, part in start.named_children()}
    assert {"backbone", "head"} <= theirs.keys()
    for name, part in network.named_children():
        assert same(weights(part), theirs.get(name, before[name])), name
        assert name not in theirs or not same(theirs[name], before[name]), "nothing to see"


def test_the_baselines_scores_go_on_where_they_were(build, randomise):
    """PRN starts as bilinear enlargement, so a new one does not throw away what was learnt."""
    start = trained(build(), randomise).eval()
    network = build(prn=True, brn="foreground").eval()
    images = pictures(30, 21)
    logits = start(images).logits
    assert not torch.allclose(network(images).logits, logits, atol=1e-2)
    network.init_from(start)
    assert torch.allclose(network(images).logits, logits, rtol=1e-4, atol=1e-4)


def test_the_network_that_is_gone_on_from_stays_as_it_was(build, randomise):
    network, start = build(), trained(build(), randomise)
    before = weights(start)
    network.init_from(start)
    randomise(network)
    assert same(weights(start), before)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"classes": ("background", "bird", "dog")}, "classes"),
        ({"classes": ("background", "bird")}, "classes"),
        ({"backbone": "resnet34"}, "backbone"),
        ({"backbone_options": TINY | {"channels": [8, 8, 16, 24]}}, "backbone_options"),
        ({"frozen_norm": True}, "frozen_norm"),
    ],
)
def test_another_kind_of_network_cannot_be_gone_on_from(change, part, build):
    network = build()
    start = Network(replace(network.architecture, **change))
    before = weights(network)
    with pytest.raises(BPGError, match=f"another {part}: ") as caught:
        network.init_from(start)
    assert "\n" not in str(caught.value)
    assert same(weights(network), before)


# The file


@pytest.mark.parametrize("parts", PARTS)
def test_file_gives_the_same_network_back(parts, build, tmp_path, randomise):
    network = randomise(build(**parts))
    network(pictures(17, 17, batch=2))  # moves batch norm's statistics
    path = tmp_path / "run" / "model.safetensors"
    save_network(network, path)
    loaded = load_network(path)
    assert loaded.architecture == network.architecture
    assert not any(module.training for module in loaded.modules())
    images = pictures(20, 30)
    network.eval().to(memory_format=torch.channels_last)
    assert torch.equal(loaded(images).logits, network(images).logits)
    state = network.state_dict()
    assert loaded.state_dict().keys() == state.keys()
    assert all(torch.equal(v, state[k]) for k, v in loaded.state_dict().items())


def test_file_has_the_same_bytes_whatever_mode_and_memory_format(build, tmp_path):
    network = build(prn=True, brn="foreground")
    paths = [tmp_path / f"{n}.safetensors" for n in range(3)]
    save_network(network.train(), paths[0])
    save_network(network.eval().to(memory_format=torch.channels_last), paths[1])
    save_network(load_network(paths[0]), paths[2])
    contents = [path.read_bytes() for path in paths]
    assert contents[0] == contents[1] == contents[2]
    assert len(list(tmp_path.iterdir())) == 3, "something half-written was left"


def test_file_depends_on_the_weights(build, tmp_path):
    network = build()
    save_network(network, tmp_path / "a")
    with torch.no_grad():
        network.head.branches[2].bias[1] += 1e-6
    save_network(network, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() != (tmp_path / "b").read_bytes()


def test_architecture_survives_json(build):
    for parts in PARTS:
        architecture = build(**parts).architecture
        again = Architecture.from_json(architecture.to_json())
        assert again == architecture
        assert again.to_json() == architecture.to_json()


@pytest.fixture
def saved(build, tmp_path):
    """A model file, its tensors and its architecture as JSON values."""
    path = tmp_path / "model.safetensors"
    save_network(build(prn=True, brn="foreground"), path)
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        values = json.loads(file.metadata()["architecture"])
    return path, tensors, values


def assert_refused(path):
    with pytest.raises(BPGError) as caught:
        load_network(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_model_is_named(tmp_path):
    assert_refused(tmp_path / "model.safetensors")


@pytest.mark.parametrize("kept", [0, 4, 8, 200, 0.3, 0.9, -1])
def test_a_cut_off_model_is_refused(kept, saved):
    path, *_ = saved
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    assert_refused(path)


@pytest.mark.parametrize("content", [b"not a model", b"\xff" * 64, b"PK\x03\x04" + b"\0" * 100])
def test_a_foreign_file_is_refused(content, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    assert_refused(path)


@pytest.mark.parametrize(
    "metadata",
    [None, {}, {"other": "x"}, {"architecture": "no json"}, {"architecture": "[1]"}],
)
def test_safetensors_of_another_program_are_refused(metadata, tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(3)}, path, metadata)
    assert_refused(path)


@pytest.mark.parametrize(
    "change",
    [
        {"colour": "red"},
        {"classes": None},
        {"prn": {"steps": 3}},
        {"backbone": "resnet1001"},
        {"backbone_options": {"layres": [1]}},
        {"prn": {"steps": 3, "width": 4, "low_width": 3, "mixing": "stirred"}},
        {"prn": {"steps": "three", "width": 4, "low_width": 3, "mixing": "mixed"}},
        {"classes": ["background", "bird"]},
        {"prn": None},
    ],
)
def test_an_impossible_or_other_architecture_is_refused(change, saved):
    path, tensors, values = saved
    save_file(tensors, path, {"architecture": json.dumps(values | change)})
    assert_refused(path)


def without_bias(tensors):
    del tensors["head.branches.0.bias"]


def with_another(tensors):
    tensors["head.branches.9.bias"] = torch.zeros(3)


def with_another_shape(tensors):
    tensors["head.branches.0.bias"] = torch.zeros(4)


def with_nan(tensors):
    tensors["prn.refine.2.first.weight"][0, 0, 1, 1] = float("nan")


def with_infinity(tensors):
    tensors["backbone.net.bn1.running_var"][0] = float("inf")


@pytest.mark.parametrize(
    "spoil", [without_bias, with_another, with_another_shape, with_nan, with_infinity]
)
def test_spoilt_weights_are_refused(spoil, saved):
    path, tensors, values = saved
    spoil(tensors)
    save_file(tensors, path, {"architecture": json.dumps(values)})
    assert_refused(path)


def test_a_failed_save_leaves_the_old_file(build, tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    save_network(build(), path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bpg.models.network.save", fail)
    with pytest.raises(OSError, match="No space"):
        save_network(build(), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
