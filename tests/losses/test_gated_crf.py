import math

import pytest
import torch

from bpg.losses.gated_crf import gated_crf_loss
from bpg.losses.inputs import Inputs

RADIUS, XY, RGB = 3, 2.0, 0.5


def loss(field: Inputs, radius: int = RADIUS, xy: float = XY, rgb: float = RGB) -> torch.Tensor:
    return gated_crf_loss(field, radius=radius, xy=xy, rgb=rgb)


def reference(field: Inputs, radius: int = RADIUS) -> torch.Tensor:
    """Mean over valid i of the sum over the square around it of K_ij (1 - sum_k S_ik S_jk)."""
    count, _, height, width = field.images.shape
    images, shares = field.images / 255, field.probabilities
    total, pixels = 0.0, 0
    for n in range(count):
        inside = [(y, x) for y in range(height) for x in range(width) if bool(field.valid[n, y, x])]
        pixels += len(inside)
        rows = []
        for y, x in inside:
            row = [0.0] * len(inside)
            for place, (v, u) in enumerate(inside):
                if (v, u) == (y, x) or max(abs(v - y), abs(u - x)) > radius:
                    continue
                unlike = float((images[n, :, y, x] - images[n, :, v, u]).square().sum())
                far = (v - y) ** 2 + (u - x) ** 2  # in samples of the grid
                row[place] = math.exp(-far / (2 * XY**2) - unlike / (2 * RGB**2))
            rows.append(row)
        kernel = torch.tensor(rows, dtype=torch.float64)
        chosen = torch.stack([shares[n, :, y, x] for y, x in inside], dim=1)
        total = total + (kernel * (1 - chosen.T @ chosen)).sum()
    return total / pixels


@pytest.mark.parametrize("radius", [1, 3, 20])
@pytest.mark.parametrize(("size", "reduction"), [((9, 9), 1), ((9, 17), 1), ((17, 25), 2)])
def test_equals_the_sum_over_all_pairs(size, reduction, radius, make_batch):
    batch = make_batch(*size)
    expected, expected_gradient = batch.follow(lambda f: reference(f, radius), reduction)
    found, gradient = batch.follow(lambda f: loss(f, radius), reduction)
    assert expected > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-8, atol=1e-14)


@pytest.mark.parametrize("reduction", [1, 2])
def test_gradient_agrees_with_finite_differences(reduction, make_batch):
    batch = make_batch()
    assert torch.autograd.gradcheck(
        lambda logits: loss(batch.field(logits).reduced(reduction), radius=2), batch.logits
    )


def test_two_pixels_by_hand(two_pixels):
    # One sample apart; 15 of 255 in each of three colours. Each pixel has one neighbour.
    near = math.exp(-1 / (2 * XY**2) - 3 * (15 / 255) ** 2 / (2 * RGB**2))
    assert loss(two_pixels([1, 0], [0, 1])).item() == pytest.approx(near)
    assert loss(two_pixels([1, 0], [1, 0])).item() == 0
    expected = near * (1 - 0.5 * 0.2 - 0.5 * 0.8)
    assert loss(two_pixels([0.5, 0.5], [0.2, 0.8])).item() == pytest.approx(expected)


def test_constant_pictures_by_hand(constant_picture):
    assert loss(constant_picture([0, 1, 0])).item() == pytest.approx(0, abs=1e-12)
    field = constant_picture([0.5, 0.3, 0.2], (5, 9))
    field = Inputs(*(getattr(field, n) if n != "images" else 0 * field.images for n in vars(field)))
    # Every pixel of the square is like the centre: 8 neighbours, 5 on a side, 3 in a corner.
    neighbours = (3 * 7 * 8 + 2 * (3 + 7) * 5 + 4 * 3) / 45
    found = loss(field, radius=1, xy=1e6).item()
    assert found == pytest.approx(neighbours * (1 - 0.25 - 0.09 - 0.04))


def test_checkerboard_by_hand(constant_picture):
    field = constant_picture([1, 0], (10, 10))
    chequered = (torch.arange(10)[:, None] + torch.arange(10)) % 2
    shares = torch.stack([chequered, 1 - chequered])[None].double()
    field = Inputs(shares, torch.zeros_like(field.images), field.valid, field.valid, field.features)
    # Across and down differ, diagonals agree: four pairs a pixel, less the border's.
    near = math.exp(-1 / (2 * XY**2))
    assert loss(field, radius=1).item() == pytest.approx(near * 4 * 10 * 9 / 100)


def test_positions_are_counted_in_samples(make_batch):
    field = make_batch().field()
    wide = Inputs(*(getattr(field, name) for name in list(vars(field))[:-1]), spacing=4)
    assert torch.equal(loss(wide), loss(field))


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (6, 1), (2, 3)])
def test_windows_larger_than_the_picture(size):
    everywhere = torch.ones(2, *size, dtype=torch.bool)
    shares = torch.rand(2, 3, *size, dtype=torch.float64).softmax(1).requires_grad_()
    images = 255 * torch.rand(2, 3, *size, dtype=torch.float64)
    field = Inputs(shares, images, everywhere, everywhere, images)
    for radius in (1, 2, 7):
        torch.testing.assert_close(loss(field, radius), reference(field, radius) + 0.0)


@pytest.mark.parametrize("radius", [1, 6])
def test_memory_does_not_grow_with_the_radius(radius, make_batch, allocations):
    field = make_batch(33, 41, classes=5).field()
    with allocations() as seen:
        loss(field, radius)
    assert seen.largest <= field.probabilities.numel()
