import math

import pytest
import torch

from bpg.losses.affinity import dense_affinity
from bpg.losses.dense_crf import dense_crf_loss
from bpg.losses.inputs import Inputs

XY, RGB = 5.0, 90.0


def loss(field: Inputs, xy: float = XY, rgb: float = RGB) -> torch.Tensor:
    return dense_crf_loss(field, dense_affinity(field, xy=xy, rgb=rgb))


@pytest.fixture
def reference(gaussian_matrices):
    """sum_k S_k' A (1 - S_k) over the batch's valid pairs, over the sum of their affinities."""

    def reference(field):
        cut, pairs = 0.0, 0.0
        for n, affinity in enumerate(gaussian_matrices(field, XY, RGB)):
            shares = field.probabilities[n].flatten(1)
            for share in shares:
                cut = cut + share @ affinity @ (1 - share)
            pairs = pairs + affinity.sum()
        return cut / pairs

    return reference


@pytest.mark.parametrize(("size", "reduction"), [((9, 9), 1), ((9, 17), 1), ((17, 25), 2)])
def test_equals_the_sum_over_all_pairs(size, reduction, make_batch, reference):
    batch = make_batch(*size)
    expected, expected_gradient = batch.follow(reference, reduction)
    found, gradient = batch.follow(loss, reduction)
    assert 0.1 < expected < 0.9
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-8, atol=1e-14)


@pytest.mark.parametrize("reduction", [1, 2])
def test_gradient_agrees_with_finite_differences(reduction, make_batch):
    batch = make_batch(9, 9)
    assert torch.autograd.gradcheck(
        lambda logits: loss(batch.field(logits).reduced(reduction)), batch.logits
    )


def test_affinity_is_of_the_valid_pixels_alone(make_batch, gaussian_matrices):
    batch = make_batch(9, 17)
    field = batch.field()
    found = dense_affinity(field, xy=XY, rgb=RGB)
    assert not found.sums.requires_grad
    for n, affinity in enumerate(gaussian_matrices(field, XY, RGB)):
        shares = field.probabilities[n].detach().flatten(1)
        torch.testing.assert_close(found.sums[n], shares @ affinity, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(found.degrees[n, 0], affinity.sum(0), rtol=1e-10, atol=1e-12)
        outside = ~batch.valid[n].flatten()
        assert not found.degrees[n, :, outside].any()
        assert not found.sums[n, :, outside].any()
        assert not found.probabilities[n, :, outside].any()


def test_two_pixels_by_hand(two_pixels):
    # One pixel apart, 15 in each of three colours.
    near = math.exp(-1 / (2 * XY**2) - 3 * 15**2 / (2 * RGB**2))
    assert loss(two_pixels([1, 0], [0, 1])).item() == pytest.approx(near / (1 + near))
    assert loss(two_pixels([1, 0], [1, 0])).item() == 0
    # The second pixel differs from itself, too: two draws from its shares.
    unsure = two_pixels([1, 0], [0.25, 0.75])
    itself, pair = 0.25 * 0.75 + 0.75 * 0.25, 1 * 0.75
    expected = (itself + 2 * near * pair) / (2 + 2 * near)
    assert loss(unsure).item() == pytest.approx(expected)


def test_constant_pictures_by_hand(constant_picture):
    assert loss(constant_picture([0, 1, 0])).item() == pytest.approx(0, abs=1e-12)
    third = constant_picture([1 / 3, 1 / 3, 1 / 3])
    assert loss(third).item() == pytest.approx(2 / 3)
    assert loss(constant_picture([0.5, 0.3, 0.2])).item() == pytest.approx(1 - 0.25 - 0.09 - 0.04)


def test_checkerboard_by_hand(constant_picture):
    field = constant_picture([1, 0], (10, 10))
    chequered = (torch.arange(10)[:, None] + torch.arange(10)) % 2
    shares = torch.stack([chequered, 1 - chequered])[None].double()
    field = Inputs(shares, torch.zeros_like(field.images), field.valid, field.valid, field.features)
    # All pixels alike: half of the pairs have different labels.
    assert loss(field, xy=1e6).item() == pytest.approx(0.5)
    # None but with itself: no pair has.
    assert loss(field, xy=1e-3).item() == pytest.approx(0, abs=1e-12)
    halves = Inputs(shares.sort(3).values, *(getattr(field, n) for n in list(vars(field))[1:]))
    assert loss(halves, xy=1.0).item() < 0.2 < loss(field, xy=1.0).item()


def test_stays_between_zero_and_one(make_batch):
    for sharpness in (0.0, 1.0, 30.0):
        for _ in range(5):
            batch = make_batch(classes=5)
            value = loss(batch.field(batch.logits * sharpness))
            assert 0 <= value.item() <= 1


def test_spacing_keeps_the_kernel_in_pixels_of_the_full_size(make_batch):
    batch = make_batch()
    field = batch.field()
    wide = Inputs(*(getattr(field, name) for name in list(vars(field))[:-1]), spacing=4)
    assert loss(wide, xy=20.0).item() == pytest.approx(loss(field, xy=5.0).item(), rel=1e-12)
