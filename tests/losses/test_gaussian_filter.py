import math

import numpy as np
import pytest
import torch

from bpg.losses import gaussian_filter
from bpg.losses.gaussian_filter import LEAST, closed_form, gaussian_sums, pixel_features

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def dense(features, maps):
    """exp(-|f_i - f_j|² / 2) for every pair, one after the other, in doubles."""
    features, maps = features.double().numpy(), maps.double().numpy()
    sums = np.zeros_like(maps)
    for n in range(len(features)):
        for i in range(features.shape[2]):
            for j in range(features.shape[2]):
                distance = sum((features[n, :, i] - features[n, :, j]) ** 2)
                sums[n, :, i] += math.exp(-distance / 2) * maps[n, :, j]
    return torch.from_numpy(sums)


def photograph(height, width, *, dtype=torch.float32, low=0, high=255):
    """Two smooth images with a little noise, which have many pixels alike."""
    y, x = torch.meshgrid(torch.linspace(0, 3, height), torch.linspace(0, 5, width), indexing="ij")
    waves = torch.stack([(y + k).sin() * (x * (1 + n)).cos() for n in (0, 1) for k in (0, 1, 2)])
    noisy = (waves.view(2, 3, height, width) + 1) / 2 + 0.02 * torch.randn(2, 3, height, width)
    return (low + (high - low) * noisy.clamp(0, 1)).to(dtype)


@pytest.mark.parametrize("tile", [1, 7, 512])
def test_equals_the_sum_over_all_pairs_whatever_the_tile(tile, monkeypatch):
    monkeypatch.setitem(gaussian_filter.TILE, "cpu", tile)
    features = 2 * torch.rand(2, 5, 45, dtype=torch.float64)
    maps = torch.randn(2, 3, 45, dtype=torch.float64)
    torch.testing.assert_close(
        gaussian_sums(features, maps), dense(features, maps), rtol=1e-12, atol=1e-12
    )


def test_every_pixel_counts_itself_and_a_far_one_not_at_all():
    features = torch.tensor([[[0.0, 1.0, 500.0]]], dtype=torch.float64)
    found = gaussian_sums(features, torch.tensor([[[1.0, 10.0, 100.0]]], dtype=torch.float64))
    near = math.exp(-0.5)
    expected = torch.tensor([[[1 + 10 * near, near + 10, 100.0]]], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("tile", [7, 512])
def test_is_symmetric(tile, monkeypatch):
    monkeypatch.setitem(gaussian_filter.TILE, "cpu", tile)
    features = torch.rand(1, 5, 60, dtype=torch.float64)
    x, y = torch.randn(2, 1, 1, 60, dtype=torch.float64)
    left = (x * gaussian_sums(features, y)).sum()
    right = (y * gaussian_sums(features, x)).sum()
    torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-12)


def test_pictures_of_a_batch_do_not_mix():
    features, maps = torch.rand(3, 5, 30), torch.rand(3, 2, 30)
    alone = [gaussian_sums(features[n : n + 1], maps[n : n + 1]) for n in range(3)]
    assert torch.equal(gaussian_sums(features, maps), torch.cat(alone))


@pytest.mark.parametrize("spacing", [1, 4])
def test_features_are_places_and_colours_over_the_deviations(spacing):
    images = 255 * torch.rand(2, 3, 4, 6, dtype=torch.float64)
    found = pixel_features(images, xy=20.0, rgb=15.0, spacing=spacing)
    assert found.shape == (2, 5, 24)
    for n in range(2):
        for y in range(4):
            for x in range(6):
                expected = [y * spacing / 20, x * spacing / 20, *(images[n, :, y, x] / 15).tolist()]
                assert found[n, :, 6 * y + x].tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("low", [0, 225])
def test_single_precision_is_enough_for_real_pictures(low):
    """Bright images are the hard case: their squares are large and their differences small."""
    images = photograph(33, 49, low=low)
    single = pixel_features(images, xy=100.0, rgb=15.0, spacing=2)
    double = pixel_features(images.double(), xy=100.0, rgb=15.0, spacing=2)
    maps = torch.rand(2, 3, 33 * 49)
    # Independent of the module: differences first, in doubles, and squared afterwards.
    affinity = (torch.cdist(double.mT, double.mT, compute_mode="donot_use_mm_for_euclid_dist")) ** 2
    expected = maps.double() @ (affinity / -2).exp()
    error = (gaussian_sums(single, maps).double() / expected - 1).abs().max()
    assert error < (1e-5 if low else 5e-5)


def test_no_tensor_is_larger_than_a_tile_or_the_input(allocations, monkeypatch):
    monkeypatch.setitem(gaussian_filter.TILE, "cpu", 64)
    for points in (500, 2000, 4000):
        features, maps = torch.rand(1, 5, points), torch.rand(1, 3, points)
        with allocations() as seen:
            gaussian_sums(features, maps)
        assert seen.largest <= max(64**2, 7 * points)
        assert seen.largest < points**2 / 16


def test_half_of_the_tiles_are_computed(monkeypatch):
    monkeypatch.setitem(gaussian_filter.TILE, "cpu", 10)
    calls = []
    whole = torch.Tensor.exp_
    monkeypatch.setattr(torch.Tensor, "exp_", lambda self: calls.append(self.shape) or whole(self))
    gaussian_sums(torch.rand(1, 5, 95), torch.rand(1, 2, 95))
    assert len(calls) == 10 * 11 / 2
    assert max(calls) == (10, 10)


def test_autocast_leaves_the_exponents_exact():
    features = pixel_features(photograph(9, 17), xy=20.0, rgb=15.0, spacing=1)
    maps = torch.rand(2, 3, 9 * 17)
    expected = gaussian_sums(features, maps)
    with torch.autocast("cpu", torch.bfloat16):
        assert (maps @ maps.mT).dtype == torch.bfloat16
        found = gaussian_sums(features, maps)
        assert (maps @ maps.mT).dtype == torch.bfloat16
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


@pytest.mark.parametrize("allowed", [True, False])
def test_tf32_is_off_inside_and_as_before_outside(allowed, monkeypatch):
    switch = torch.backends.cuda.matmul
    before = switch.allow_tf32
    seen = []
    whole = torch.Tensor.exp_

    def spy(tensor):
        seen.append(switch.allow_tf32)
        return whole(tensor)

    monkeypatch.setattr(torch.Tensor, "exp_", spy)
    try:
        switch.allow_tf32 = allowed
        gaussian_sums(torch.rand(1, 5, 4), torch.rand(1, 1, 4))
        assert seen == [False]
        assert switch.allow_tf32 == allowed
        with pytest.raises(RuntimeError):
            gaussian_sums(torch.rand(1, 5, 4), torch.rand(1, 1, 5))
        assert switch.allow_tf32 == allowed
    finally:
        switch.allow_tf32 = before


@pytest.mark.cuda
@needs_cuda
def test_cuda_equals_the_cpu_whatever_the_precision_around():
    features = pixel_features(photograph(33, 49), xy=100.0, rgb=15.0, spacing=2)
    maps = torch.rand(2, 3, 33 * 49)
    expected = gaussian_sums(features.double(), maps.double())
    before = torch.backends.cuda.matmul.allow_tf32
    try:
        torch.backends.cuda.matmul.allow_tf32 = True
        with torch.autocast("cuda", torch.bfloat16):
            found = gaussian_sums(features.cuda(), maps.cuda())
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.cpu().double(), expected, rtol=1e-4, atol=1e-4)


def test_closed_form_hands_its_derivative_on():
    variable = torch.randn(2, 3, requires_grad=True)
    gradient = torch.randn(2, 3)
    value = closed_form(variable, torch.tensor(4.0), gradient)
    assert value.item() == 4.0
    (found,) = torch.autograd.grad(3 * value**2, variable)
    torch.testing.assert_close(found, 3 * 2 * 4.0 * gradient)


def test_pairs_that_are_far_apart_count_nothing_and_cost_no_more():
    """Exponents that float32 underflows at take up to 180 times as long on some processors."""
    features = torch.tensor([[0.0, 100.0, 40.0]]).expand(1, 1, 3).contiguous()
    maps = torch.tensor([[[0.25, 0.5, 1.0]]])
    assert torch.equal(gaussian_sums(features, maps), maps)
    assert math.exp(LEAST) > torch.finfo(torch.float32).tiny  # no denormal numbers
    assert math.exp(LEAST) < 1e-6 * torch.finfo(torch.float32).eps
