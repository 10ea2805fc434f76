import math

import pytest
import torch

from bpg.losses.affinity import dense_affinity
from bpg.losses.inputs import Inputs
from bpg.losses.normalized_cut import normalized_cut_loss

XY, RGB = 5.0, 90.0


def loss(field: Inputs, xy: float = XY, rgb: float = RGB) -> torch.Tensor:
    return normalized_cut_loss(field, dense_affinity(field, xy=xy, rgb=rgb))


@pytest.fixture
def reference(gaussian_matrices):
    """The images' mean of sum_k S_k' A (1 - S_k) / d' S_k with d = A 1."""

    def reference(field):
        values = []
        for n, affinity in enumerate(gaussian_matrices(field, XY, RGB)):
            shares = field.probabilities[n].flatten(1)
            degrees = affinity.sum(1)
            cuts = [share @ affinity @ (1 - share) / (degrees @ share) for share in shares]
            values.append(sum(cuts))
        return sum(values) / len(values)

    return reference


@pytest.mark.parametrize(("size", "reduction"), [((9, 9), 1), ((9, 17), 1), ((17, 25), 2)])
def test_equals_the_sum_over_all_pairs(size, reduction, make_batch, reference):
    batch = make_batch(*size)
    expected, expected_gradient = batch.follow(reference, reduction)
    found, gradient = batch.follow(loss, reduction)
    assert 0.5 < expected < 2.5
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-8, atol=1e-14)


@pytest.mark.parametrize("reduction", [1, 2])
def test_gradient_agrees_with_finite_differences(reduction, make_batch):
    batch = make_batch(9, 9)
    assert torch.autograd.gradcheck(
        lambda logits: loss(batch.field(logits).reduced(reduction)), batch.logits
    )


def test_two_pixels_by_hand(two_pixels):
    near = math.exp(-1 / (2 * XY**2) - 3 * 15**2 / (2 * RGB**2))
    # Each segment is one pixel: it cuts `near` of 1 + near.
    assert loss(two_pixels([1, 0], [0, 1])).item() == pytest.approx(2 * near / (1 + near))
    assert loss(two_pixels([1, 0], [1, 0])).item() == pytest.approx(0, abs=1e-12)


def test_constant_pictures_by_hand(constant_picture):
    # A segment that is a share of everything keeps that share of its affinity: sum_k (1 - p_k).
    assert loss(constant_picture([0.5, 0.3, 0.2])).item() == pytest.approx(2)
    assert loss(constant_picture([0.25, 0.25, 0.25, 0.25])).item() == pytest.approx(3)
    # Only the class that is there counts.
    assert loss(constant_picture([0, 1, 0])).item() == pytest.approx(0, abs=1e-12)
    assert loss(constant_picture([0.5, 0.5, 0])).item() == pytest.approx(1)


def test_checkerboard_by_hand(constant_picture):
    field = constant_picture([1, 0], (10, 10))
    chequered = (torch.arange(10)[:, None] + torch.arange(10)) % 2
    shares = torch.stack([chequered, 1 - chequered])[None].double()
    field = Inputs(shares, torch.zeros_like(field.images), field.valid, field.valid, field.features)
    # All pixels alike: each of the two segments cuts half of its affinity.
    assert loss(field, xy=1e6).item() == pytest.approx(1)
    assert loss(field, xy=1e-3).item() == pytest.approx(0, abs=1e-12)


def test_stays_between_zero_and_the_number_of_classes(make_batch):
    for sharpness in (0.0, 1.0, 30.0):
        for _ in range(5):
            batch = make_batch(classes=5)
            value = loss(batch.field(batch.logits * sharpness))
            assert 0 <= value.item() <= 5


@pytest.mark.parametrize("absent", [-10.0, -16.0, -40.0, -200.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_class_that_is_not_there_stays_finite(absent, dtype, make_batch):
    batch = make_batch(9, 17)
    logits = batch.logits.detach().to(dtype).clone()
    logits[:, 1] = absent
    logits.requires_grad_()
    field = batch.field(logits)
    value = loss(field)
    (gradient,) = torch.autograd.grad(value, logits)
    assert torch.isfinite(value)
    assert 0 <= value.item() <= 3
    assert torch.isfinite(gradient).all()
    # Its term is bounded, and so is the pull at its logits.
    assert gradient.abs().max() < 1
    two = Inputs(field.probabilities[:, ::2], *(getattr(field, n) for n in list(vars(field))[1:]))
    if absent < -10:
        assert value.item() == pytest.approx(loss(two).item(), rel=1e-5)
        assert not gradient[:, 1].abs().gt(1e-5).any()
    else:
        assert value.item() > loss(two).item() + 0.5


def test_each_picture_counts_alike(make_batch):
    """A mean over images, not over their pixels: the second is much smaller here."""
    batch = make_batch(9, 17)
    valid = batch.valid.clone()
    valid[1, 3:], valid[1, :, 4:] = False, False
    field = batch.field()

    def one(n):
        fields = (field.probabilities, field.images, valid, valid, field.features)
        return loss(Inputs(*(tensor[n] for tensor in fields))).item()

    whole, first, second = one(slice(0, 2)), one(slice(0, 1)), one(slice(1, 2))
    assert abs(first - second) > 1e-3
    assert whole == pytest.approx((first + second) / 2, rel=1e-12)
