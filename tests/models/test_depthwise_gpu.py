"""The kernels run in Triton's interpreter, their operators on fake tensors, both on a GPU."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch._subclasses.fake_tensor import FakeTensorMode

from bpg.models import depthwise_gpu
from bpg.models.fast_convolutions import DepthwiseConv2d, StridedDepthwiseConv2d

INTERPRETED = Path(__file__).with_name("interpreted_depthwise.py")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
CASES = [  # size, stride, dilation, channels, (height, width)
    (3, 1, 1, 3, (9, 7)),
    (3, 1, 4, 65, (5, 11)),
    (5, 1, 2, 33, (8, 11)),
    (7, 1, 1, 2, (3, 4)),
    (3, 2, 1, 5, (9, 7)),
    (5, 2, 1, 40, (1, 13)),
    (3, 1, 2, 2, (1, 1)),
]
MANY = (3, 2, 1, 2, (33, 41))  # more pixels than chunks, and no multiple of them


def layer(size, stride, dilation, maps, weight):
    """PyTorch's own."""
    padding = size // 2 * dilation
    return F.conv2d(maps, weight, None, stride, padding, dilation, len(weight))


def made(size, channels, shape, device="cpu", dtype=torch.float32):
    generator = torch.Generator().manual_seed(size + channels)
    maps = torch.randn(2, channels, *shape, generator=generator)
    weight = torch.randn(channels, 1, size, size, generator=generator)
    return [value.to(device, dtype).requires_grad_() for value in (maps, weight)]


def expected(size, stride, dilation, maps, weight):
    """Result, an upstream gradient and both gradients, in float64."""
    maps, weight = (value.detach().double().requires_grad_() for value in (maps, weight))
    result = layer(size, stride, dilation, maps, weight)
    upstream = torch.linspace(-1, 1, result.numel(), dtype=torch.float64).view_as(result)
    upstream = upstream.to(result.device)
    return result, upstream, *torch.autograd.grad(result, (maps, weight), upstream)


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    """What the kernels give in Triton's interpreter, chosen before Triton is imported."""
    pytest.importorskip("triton", reason="no Triton here")
    folder = tmp_path_factory.mktemp("kernels")
    given = {}
    for number, (size, stride, dilation, channels, shape) in enumerate([*CASES, MANY]):
        maps, weight = made(size, channels, shape)
        upstream = expected(size, stride, dilation, maps, weight)[1].float()
        case = maps.detach(), weight.detach(), upstream, torch.tensor([stride, dilation])
        given |= {f"{number} {place}": value for place, value in enumerate(case)}
    save_file(given, folder / "given.safetensors")
    subprocess.run(
        [sys.executable, INTERPRETED, folder / "given.safetensors", folder / "found.safetensors"],
        env={**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""},
        check=True,
    )
    return load_file(folder / "found.safetensors")


@pytest.mark.parametrize("number", range(len(CASES) + 1))
def test_kernels_give_the_convolution_and_its_gradients(number, interpreted):
    size, stride, dilation, channels, shape = [*CASES, MANY][number]
    maps, weight = made(size, channels, shape)
    result, _, of_maps, of_weight = expected(size, stride, dilation, maps, weight)
    for place, right in enumerate((result, of_maps, of_weight)):
        found = interpreted[f"{number} {place}"]
        torch.testing.assert_close(found.double(), right.detach(), rtol=1e-5, atol=1e-4)


def test_the_operators_are_as_pytorch_wants_them(interpreted):
    """`opcheck` compares the kernels' strides, too, with what is promised to a compiler."""
    outcomes = [found for name, found in interpreted.items() if name.startswith("opcheck")]
    assert len(outcomes) == 3
    assert all(len(outcome) > 2 and outcome.all() for outcome in outcomes)


@pytest.mark.parametrize("place", [0, 1])
def test_compiled_they_have_the_same_gradients(place, interpreted):
    plain, compiled = (interpreted[f"{name} {place}"] for name in ("plain", "compiled"))
    assert plain.abs().max() > 0
    torch.testing.assert_close(compiled, plain)


def test_refuses_a_weight_for_other_maps(interpreted):
    assert interpreted["refused"].item() == 3


@pytest.mark.parametrize("case", CASES)
def test_operators_have_the_shapes_and_layout_of_a_convolution(case):
    size, stride, dilation, channels, shape = case
    with FakeTensorMode(), torch.device("cuda:0"):
        maps = torch.empty(2, channels, *shape, dtype=torch.bfloat16)
        weight = torch.empty(channels, 1, size, size, dtype=torch.bfloat16)
        result = depthwise_gpu.depthwise(maps, weight, stride, dilation)
        plain = layer(size, stride, dilation, maps, weight)
        of_maps = depthwise_gpu._input_gradient(plain, weight, list(shape), stride, dilation)
        of_weight = depthwise_gpu._weight_gradient(maps, plain, size, stride, dilation)
    assert (result.shape, result.dtype) == (plain.shape, plain.dtype)
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert (of_maps.shape, of_weight.shape) == (maps.shape, weight.shape)
    assert of_maps.is_contiguous(memory_format=torch.channels_last)
    assert of_weight.is_contiguous()


@pytest.mark.parametrize("kind", [DepthwiseConv2d, StridedDepthwiseConv2d])
@pytest.mark.parametrize("side", [8, 9])
def test_layers_use_them_where_they_suit(kind, side, monkeypatch):
    """Not for maps of even size at stride 2, which timm pads on one side only."""
    strided = kind is StridedDepthwiseConv2d
    used = []
    plain = depthwise_gpu.depthwise
    monkeypatch.setattr(depthwise_gpu, "_triton_works", lambda: True)
    monkeypatch.setattr(
        depthwise_gpu, "depthwise", lambda *given: used.append(given[2:]) or plain(*given)
    )
    with FakeTensorMode(), torch.device("cuda:0"):
        module = kind(4, 4, 3, stride=1 + strided, padding=0 if strided else 1, groups=4)
        result = module(torch.empty(2, 4, side, side))
    assert used == ([] if strided and side == 8 else [(1 + strided, 1)])
    assert result.shape[2:] == (-(-side // (1 + strided)),) * 2


def test_suits_only_what_the_kernels_can_do(monkeypatch):
    with FakeTensorMode():

        def suits(*shape, device="cuda:0", dtype=torch.bfloat16):
            return depthwise_gpu.suits(torch.empty(shape, device=device, dtype=dtype))

        monkeypatch.setattr(depthwise_gpu, "_triton_works", lambda: True)
        assert suits(1, 2, 3, 4)
        assert suits(1, 2, 3, 4, dtype=torch.float32)
        assert not suits(1, 2, 3, 4, dtype=torch.float64)
        assert not suits(1, 2, 3, 4, device="cpu")
        assert not suits(2, 2**10, 2**10, 2**10)
        monkeypatch.setattr(depthwise_gpu, "_triton_works", lambda: False)
        assert not suits(1, 2, 3, 4)


@pytest.fixture
def tried_anew():
    """Triton is tried again, and once more after the test."""
    depthwise_gpu._triton_works.cache_clear()
    yield
    depthwise_gpu._triton_works.cache_clear()


def test_without_triton_nothing_is_tried(tried_anew, monkeypatch):
    monkeypatch.setattr(depthwise_gpu, "find_spec", lambda name: None)
    assert not depthwise_gpu.triton_works()


def test_a_triton_that_cannot_run_is_said_once(tried_anew, monkeypatch):
    """Here: a GPU is claimed, and there is none."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    pytest.importorskip("triton", reason="no Triton here")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.warns(UserWarning, match=r"Triton cannot run here \(.+\): depthwise"):
        assert not depthwise_gpu.triton_works()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not depthwise_gpu.triton_works()


def test_whether_triton_works_does_not_break_the_graph(tried_anew):
    @torch.compile(backend="eager", fullgraph=True)
    def doubled(maps):
        return 2 * maps if depthwise_gpu.triton_works() else maps

    expected = 2 if depthwise_gpu.triton_works() else 1
    assert doubled(torch.ones(1)).item() == expected
    torch._dynamo.reset()


@pytest.mark.cuda
@needs_cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("case", [*CASES, MANY])
def test_gives_the_convolution_and_its_gradients_twice_on_a_gpu(case, dtype):
    size, stride, dilation, channels, shape = case
    maps, weight = made(size, channels, shape, "cuda", dtype)
    result, upstream, of_maps, of_weight = expected(size, stride, dilation, maps, weight)
    rtol, atol = (1e-5, 1e-4) if dtype == torch.float32 else (1e-2, 5e-2)
    runs = []
    for _ in range(2):
        found = depthwise_gpu.depthwise(maps, weight, stride, dilation)
        runs.append((found, *torch.autograd.grad(found, (maps, weight), upstream.to(dtype))))
    for one, other, right in zip(*runs, (result, of_maps, of_weight), strict=True):
        assert torch.equal(one, other)
        assert one.dtype == dtype
        torch.testing.assert_close(one.double(), right, rtol=rtol, atol=atol)


@pytest.mark.cuda
@needs_cuda
def test_is_an_operator_as_pytorch_wants_it():
    maps, weight = made(3, 4, (5, 7), "cuda")
    torch.library.opcheck(depthwise_gpu.depthwise, (maps, weight, 1, 2))
    maps, weight = maps.detach(), weight.detach()
    torch.library.opcheck(depthwise_gpu._input_gradient, (maps, weight, [5, 7], 1, 2))
    torch.library.opcheck(depthwise_gpu._weight_gradient, (maps, maps, 3, 1, 2))
