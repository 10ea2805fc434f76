import math

import pytest
import torch

from bpg.errors import BPGError
from bpg.losses.inputs import Inputs, make_inputs
from bpg.losses.mean_teacher import mean_teacher_loss


def reference(field: Inputs) -> torch.Tensor:
    """The mean over unlabelled pixels of (1 - H(t) / ln(K+1)) H(t, S), pixel by pixel."""
    each = []
    for n, row, column in torch.nonzero(field.unlabelled).tolist():
        t, s = field.teacher[n, :, row, column], field.probabilities[n, :, row, column]
        doubt = -sum(float(share) * math.log(float(share)) for share in t)
        each.append((1 - doubt / math.log(len(t))) * -(t @ s.log()))
    return torch.stack(each).mean()


@pytest.mark.parametrize(("size", "reduction"), [((9, 9), 1), ((9, 17), 1), ((17, 25), 2)])
def test_equals_the_mean_pixel_by_pixel(size, reduction, make_batch):
    batch = make_batch(*size)
    expected, expected_gradient = batch.follow(reference, reduction)
    found, gradient = batch.follow(mean_teacher_loss, reduction)
    assert expected > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-8, atol=1e-14)


def test_gradient_agrees_with_finite_differences(make_batch):
    batch = make_batch()
    assert torch.autograd.gradcheck(
        lambda logits: mean_teacher_loss(batch.field(logits)), batch.logits
    )


def with_teacher(field: Inputs, shares: list[float]) -> Inputs:
    teacher = torch.tensor(shares, dtype=torch.float64).view(1, -1, 1, 1)
    parts = {name: getattr(field, name) for name in vars(field)}
    return Inputs(**parts | {"teacher": teacher.expand_as(field.probabilities)})


def test_by_hand(constant_picture):
    sure = with_teacher(constant_picture([0.5, 0.3, 0.2]), [0, 1, 0])
    assert mean_teacher_loss(sure).item() == pytest.approx(-math.log(0.3))
    lost = with_teacher(constant_picture([0.5, 0.3, 0.2]), [1 / 3, 1 / 3, 1 / 3])
    assert mean_teacher_loss(lost).item() == pytest.approx(0, abs=1e-12)


def test_strokes_are_left_to_the_cross_entropy(constant_picture):
    field = with_teacher(constant_picture([0.5, 0.3, 0.2]), [0, 1, 0])
    field.labels[:] = 0
    value = mean_teacher_loss(field)
    (gradient,) = torch.autograd.grad(value, field.probabilities)
    assert value.item() == 0
    assert not gradient.any()


def test_without_a_teacher_it_says_so(make_batch):
    batch = make_batch()
    field = make_inputs(batch.logits, batch.images, batch.labels, batch.valid, batch.features)
    with pytest.raises(BPGError, match="needs a teacher"):
        mean_teacher_loss(field)
