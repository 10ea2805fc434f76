import pytest
import torch
import torch.nn.functional as F

from bpg.grid import doubled, halve, padded_size, upsample


def ramp(height: int, width: int, step: int) -> torch.Tensor:
    """A plane that rises differently along both axes; samples `step` pixels apart."""
    y = torch.arange(height, dtype=torch.float64) * step
    x = torch.arange(width, dtype=torch.float64) * step
    return (3 * y[:, None] - 2 * x[None, :] + 5)[None, None]


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (3, 2), (5, 7)])
@pytest.mark.parametrize("factor", [2, 4, 8])
def test_upsample_reproduces_a_linear_ramp(size, factor):
    height, width = size
    fine = (factor * (height - 1) + 1, factor * (width - 1) + 1)
    found = upsample(ramp(height, width, factor), fine)
    assert torch.allclose(found, ramp(*fine, 1), atol=1e-12)


def test_upsample_keeps_the_samples_and_joins_them_by_straight_lines():
    maps = torch.tensor([[[[0.0, 8.0, 4.0]]]])
    found = upsample(maps, (1, 17))[0, 0, 0]
    expected = [0, 1, 2, 3, 4, 5, 6, 7, 8, 7.5, 7, 6.5, 6, 5.5, 5, 4.5, 4]
    assert torch.allclose(found, torch.tensor(expected))


@pytest.mark.parametrize("size", [(9, 17), (25, 33), (20, 31), (5, 8)])
def test_value_and_gradient_of_upsample_are_torchs(size):
    """Where the grids do not share all samples, too."""
    maps = torch.randn(2, 3, 5, 8, dtype=torch.float64, requires_grad=True)
    outer = torch.randn(2, 3, *size, dtype=torch.float64)
    expected = F.interpolate(maps, size=size, mode="bilinear", align_corners=True)
    found = upsample(maps, size)
    assert torch.allclose(found, expected, atol=1e-12)
    gradients = [torch.autograd.grad(one, maps, outer)[0] for one in (found, expected)]
    assert torch.allclose(*gradients, atol=1e-12)


def test_upsample_stays_in_float32_under_autocast():
    maps = torch.randn(1, 2, 5, 5).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = upsample(maps, (33, 33))
    assert found.dtype == torch.float32
    assert torch.equal(found, upsample(maps.float(), (33, 33)))


def test_upsample_gives_channels_last():
    found = upsample(torch.randn(2, 3, 5, 8), (33, 57))
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_three_doublings_are_one_enlargement_by_eight():
    maps = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    stepwise = maps
    for _ in range(3):
        stepwise = upsample(stepwise, doubled(stepwise.shape[2:]))
    assert stepwise.shape[2:] == (25, 41)
    assert torch.allclose(stepwise, upsample(maps, (25, 41)), atol=1e-12)


def test_halve_reproduces_a_linear_ramp_off_the_border():
    found = halve(ramp(9, 13, 1))
    expected = ramp(5, 7, 2)
    assert found.shape == expected.shape
    assert torch.allclose(found[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], atol=1e-12)


def test_halve_is_centred_on_even_pixels_everywhere():
    pixels = torch.zeros(1, 1, 7, 9, dtype=torch.float64, requires_grad=True)
    halved = halve(pixels)
    for i in range(4):
        for j in range(5):
            (weight,) = torch.autograd.grad(halved[0, 0, i, j], pixels, retain_graph=True)
            rows = [y for y in (2 * i - 1, 2 * i, 2 * i + 1) if 0 <= y < 7]
            columns = [x for x in (2 * j - 1, 2 * j, 2 * j + 1) if 0 <= x < 9]
            expected = torch.zeros(7, 9, dtype=torch.float64)
            expected[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = 1 / (
                len(rows) * len(columns)
            )
            assert torch.allclose(weight[0, 0], expected, atol=1e-12), (i, j)


def test_halve_keeps_a_constant_to_the_border():
    assert torch.allclose(halve(torch.full((1, 1, 17, 9), 3.25)), torch.tensor(3.25))


def test_doubled_grids_share_their_corners():
    assert doubled((1, 5)) == (1, 9)
    assert doubled(doubled(doubled((13, 6)))) == (97, 41)


def test_padded_size_is_the_smallest_8n_plus_1_that_holds_the_picture():
    for size in range(1, 100):
        found = padded_size(size)
        assert found >= size
        assert found % 8 == 1
        assert found - 8 < size
    assert [padded_size(s) for s in (1, 2, 8, 9, 10, 321, 375, 500)] == [
        1, 9, 9, 9, 17, 321, 377, 505,
    ]  # fmt: skip
