import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bpg.models.backbone import Backbone
from bpg.models.fast_convolutions import (
    DepthwiseConv2d,
    PointwiseConv2d,
    with_fast_convolutions,
)

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.cuda,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
        ],
    ),
]
CASES = [(size, dilation) for size in (3, 5, 7) for dilation in (1, 2, 3, 4, 6)]


def made(size, dilation, channels=6, *, bias=False):
    torch.manual_seed(size + dilation)
    padding = size // 2 * dilation
    plain = nn.Conv2d(
        channels, channels, size, padding=padding, dilation=dilation, groups=channels, bias=bias
    )
    fast = with_fast_convolutions(
        nn.Conv2d(
            channels, channels, size, padding=padding, dilation=dilation, groups=channels, bias=bias
        )
    )
    fast.load_state_dict(plain.state_dict())
    return plain, fast


@pytest.mark.parametrize(("size", "dilation"), CASES)
@pytest.mark.parametrize("shape", [(13, 17), (8, 8), (1, 9)])
@pytest.mark.parametrize("bias", [False, True])
def test_values_and_gradients_equal_pytorchs(size, dilation, shape, bias):
    plain, fast = (layer.double() for layer in made(size, dilation, bias=bias))
    assert type(fast) is DepthwiseConv2d
    maps = torch.randn(2, 6, *shape, dtype=torch.float64)
    results = []
    for layer in (plain, fast):
        given = maps.clone().contiguous(memory_format=torch.channels_last).requires_grad_()
        found = layer(given)
        weights = torch.linspace(-1, 1, found.numel(), dtype=torch.float64).view_as(found)
        (found * weights).sum().backward()
        results.append((found, given.grad, *(p.grad for p in layer.parameters())))
    for one, other in zip(*results, strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_the_gradient_is_that_of_finite_differences():
    _, fast = made(5, 4, channels=2)
    fast.double()
    maps = torch.randn(1, 2, 6, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(fast, maps)


def test_under_autocast_the_weights_learn_from_sums_in_float32():
    """Of 5,000 products each; PyTorch's own gradient is the judge, in float64."""
    _, fast = made(3, 2, channels=4)
    maps = torch.randn(5, 4, 32, 32).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = fast(maps)
    assert found.dtype == torch.bfloat16
    upstream = torch.randn_like(found)
    found.backward(upstream)
    weight = fast.weight.detach().bfloat16().double().requires_grad_()
    F.conv2d(maps.double(), weight, padding=2, dilation=2, groups=4).backward(upstream.double())
    assert fast.weight.grad.dtype == torch.float32
    torch.testing.assert_close(fast.weight.grad.double(), weight.grad, rtol=0.01, atol=0.05)


@pytest.mark.parametrize(
    "other",
    [
        nn.Conv2d(4, 8, 3, padding=1, groups=4),
        nn.Conv2d(4, 4, 3, padding=1, groups=2),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.Conv2d(4, 4, 3, padding=1, groups=4, stride=2),
        nn.Conv2d(4, 4, 3, groups=4),
        nn.Conv2d(4, 4, 4, padding=2, groups=4),
        nn.Conv2d(4, 4, (3, 1), padding=(1, 0), groups=4),
        nn.Conv2d(4, 4, 3, padding=1, groups=4, padding_mode="reflect"),
        nn.Conv2d(1, 1, 3, padding=1, groups=1),
        nn.Conv2d(64, 128, 1),
        nn.Conv2d(256, 256, 1, stride=2),
        nn.Conv2d(256, 256, 1, groups=2),
        nn.Conv2d(256, 256, 1, padding=1),
    ],
)
def test_other_convolutions_are_left_alone(other):
    assert type(with_fast_convolutions(other)) is nn.Conv2d


def test_nothing_is_computed_on_the_meta_device():
    _, fast = made(5, 4)
    assert fast.to("meta")(torch.empty(2, 6, 9, 9, device="meta")).shape == (2, 6, 9, 9)
    wide = with_fast_convolutions(nn.Conv2d(6, 256, 1)).to("meta")
    assert wide(torch.empty(2, 6, 9, 9, device="meta")).shape == (2, 256, 9, 9)


@pytest.mark.parametrize(("inputs", "outputs"), [(256, 8), (3, 256)])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("device", DEVICES)
def test_a_wide_pointwise_convolution_equals_pytorchs(inputs, outputs, bias, layout, device):
    torch.manual_seed(0)
    plain = nn.Conv2d(inputs, outputs, 1, bias=bias).double().to(device)
    fast = nn.Conv2d(inputs, outputs, 1, bias=bias).double().to(device)
    fast.load_state_dict(plain.state_dict())
    assert type(with_fast_convolutions(fast)) is PointwiseConv2d
    maps = torch.randn(2, inputs, 5, 7, dtype=torch.float64, device=device)
    results = []
    for layer in (plain, fast):
        given = maps.clone().contiguous(memory_format=layout).requires_grad_()
        found = layer(given)
        found.square().sum().backward()
        results.append((found, given.grad, *(p.grad for p in layer.parameters())))
    assert results[1][0].is_contiguous(memory_format=torch.channels_last)
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_what_works_in_place_behind_a_pointwise_convolution_makes_no_copy():
    """A view's gradient is copied whole, three times."""
    fast = with_fast_convolutions(nn.Conv2d(256, 8, 1))
    maps = torch.randn(2, 256, 5, 7).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        found = fast(maps)
    assert not found._is_view()
    assert found.dtype == torch.bfloat16
    assert F.relu(found, inplace=True).grad_fn.next_functions[0][0].name() == "_PointwiseBackward"


def test_the_default_recipes_backbone_keeps_pytorchs_own():
    """Its models were trained with these; what is narrow gains nothing."""
    options = {"layers": [1, 1, 1, 1], "channels": [32, 48, 64, 96], "stem_type": "deep"}
    backbone = Backbone("resnet18", {**options, "stem_width": 16}, frozen_norm=False)
    kinds = {type(module) for module in backbone.modules() if isinstance(module, nn.Conv2d)}
    assert kinds == {nn.Conv2d}
