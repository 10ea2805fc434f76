import numpy as np
import pytest
import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import nn

from bpg.models import fast_convolutions as module
from bpg.models.backbone import Backbone
from bpg.models.fast_convolutions import (
    DepthwiseConv2d,
    PointwiseConv2d,
    StridedDepthwiseConv2d,
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


def compare(plain, fast, maps, layout):
    """Both give the same values and gradients, in float64."""
    results = []
    for layer in (plain, fast):
        given = maps.clone().contiguous(memory_format=layout).requires_grad_()
        found = layer(given)
        weights = torch.linspace(-1, 1, found.numel(), dtype=torch.float64).view_as(found)
        (found * weights).sum().backward()
        results.append((found, given.grad, *(p.grad for p in layer.parameters())))
    for one, other in zip(*results, strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("size", "dilation"), CASES)
@pytest.mark.parametrize("shape", [(13, 17), (8, 8), (1, 9)])
@pytest.mark.parametrize("bias", [False, True])
def test_values_and_gradients_equal_pytorchs(size, dilation, shape, bias):
    plain, fast = (layer.double() for layer in made(size, dilation, bias=bias))
    assert type(fast) is DepthwiseConv2d
    maps = torch.randn(2, 6, *shape, dtype=torch.float64)
    compare(plain, fast, maps, torch.channels_last)


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


def halving(size, channels, *, bias=False):
    torch.manual_seed(size)
    options = {"stride": 2, "groups": channels, "bias": bias}
    plain, fast = (Conv2dSame(channels, channels, size, **options) for _ in range(2))
    fast.load_state_dict(plain.state_dict())
    return plain, with_fast_convolutions(fast)


@pytest.mark.parametrize("size", [3, 5, 7])
@pytest.mark.parametrize("shape", [(13, 17), (1, 9), (8, 8), (9, 12)])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_values_and_gradients_of_stride_2_equal_timms(size, shape, bias, layout):
    plain, fast = (layer.double() for layer in halving(size, 6, bias=bias))
    assert type(fast) is StridedDepthwiseConv2d
    maps = torch.randn(2, 6, *shape, dtype=torch.float64)
    compare(plain, fast, maps, layout)


@pytest.mark.parametrize("size", [3, 5])
def test_under_autocast_stride_2_gives_float64s_numbers_rounded(size):
    _, fast = halving(size, 4)
    maps = torch.randn(5, 4, 33, 33).bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = fast(maps)
    assert found.dtype == torch.bfloat16
    upstream = torch.randn_like(found)
    found.backward(upstream)
    weight = fast.weight.detach().bfloat16().double().requires_grad_()
    given = maps.detach().double().requires_grad_()
    F.conv2d(given, weight, None, 2, size // 2, 1, 4).backward(upstream.double())
    torch.testing.assert_close(fast.weight.grad.double(), weight.grad, rtol=0.01, atol=0.05)
    torch.testing.assert_close(maps.grad.double(), given.grad, rtol=0.01, atol=0.02)


@pytest.mark.parametrize(("size", "dilation"), CASES)
@pytest.mark.parametrize("channels", [6, 32, 70])
@pytest.mark.parametrize("threads", [1, 3])
def test_the_compiled_weight_gradient_equals_pytorchs(size, dilation, channels, threads):
    torch.manual_seed(0)
    maps, gradient = torch.randn(2, 2, channels, 9, 11).bfloat16()
    weight = torch.randn(channels, 1, size, size).bfloat16()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = module._weight_gradient(maps, gradient, weight, dilation)
    finally:
        torch.set_num_threads(before)
    padding = size // 2 * dilation
    leaf = weight.double().requires_grad_()
    result = F.conv2d(maps.double(), leaf, None, 1, padding, dilation, channels)
    result.backward(gradient.double())
    torch.testing.assert_close(found.double(), leaf.grad, rtol=0.01, atol=0.02)
    assert found.dtype == torch.bfloat16


def test_the_layout_of_the_maps_changes_no_bit():
    torch.manual_seed(0)
    maps, gradient = torch.randn(2, 2, 40, 9, 11).bfloat16()
    weight = torch.randn(40, 1, 5, 5).bfloat16()
    expected = module._weight_gradient(maps, gradient, weight, 2)
    by_pixel = [one.contiguous(memory_format=torch.channels_last) for one in (maps, gradient)]
    assert torch.equal(module._weight_gradient(*by_pixel, weight, 2), expected)


def test_the_compiled_part_refuses_what_does_not_fit():
    compiled = module.compiled("_bpg_depthwise", module._SOURCE)
    maps = np.zeros((1, 4, 4, 2), np.uint16)
    for one, other, options in (
        (maps, maps[:, :3], {}),
        (maps[0], maps[0], {}),
        (maps, maps, {"size": 2}),
        (maps, maps, {"dilation": 0}),
        (maps, maps, {"threads": 0}),
    ):
        with pytest.raises(ValueError):
            compiled.weight_gradient(
                one, other, **{"size": 3, "dilation": 1, "threads": 1} | options
            )


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
    if device == "cpu":  # on a GPU the matrix product is for autocast only, which knows no float64
        assert results[1][0].is_contiguous(memory_format=torch.channels_last)
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("device", DEVICES)
def test_under_autocast_a_wide_pointwise_convolution_equals_pytorchs_in_bf16(device):
    torch.manual_seed(0)
    plain = nn.Conv2d(256, 8, 1).to(device)
    fast = nn.Conv2d(256, 8, 1).to(device)
    fast.load_state_dict(plain.state_dict())
    with_fast_convolutions(fast)
    maps = torch.randn(2, 256, 5, 7, device=device).contiguous(memory_format=torch.channels_last)
    results = []
    for layer in (plain, fast):
        given = maps.clone().requires_grad_()
        with torch.autocast(device, torch.bfloat16):
            found = layer(given)
        found.float().square().sum().backward()
        results.append((found, given.grad, *(p.grad for p in layer.parameters())))
    assert results[1][0].is_contiguous(memory_format=torch.channels_last)
    for one, other in zip(*results, strict=True):
        # Two roundings to 8 bits, of sums of up to 256 products.
        torch.testing.assert_close(
            one, other, rtol=0.02, atol=0.02 * float(one.detach().abs().max())
        )


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
