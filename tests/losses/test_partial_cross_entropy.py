import math

import pytest
import torch
import torch.nn.functional as F

from bpg.losses import partial_cross_entropy as module
from bpg.losses.partial_cross_entropy import partial_cross_entropy


@pytest.fixture(autouse=True, params=["gathered", "fixed shapes"])
def form(request, monkeypatch):
    """Every test of the form for CPUs and of the one for GPUs."""
    if request.param == "fixed shapes":
        monkeypatch.setattr(module, "_over_labelled", module._over_all)


def case(labelled: float, shape=(2, 5, 7, 6)):
    """Logits with gradient, and labels of which about the share `labelled` is set."""
    logits = (3 * torch.randn(shape, dtype=torch.float64)).requires_grad_()
    labels = torch.randint(0, shape[1], (shape[0], *shape[2:]))
    labels[torch.rand(labels.shape) > labelled] = 255
    return logits, labels


def gradient(loss, logits):
    return torch.autograd.grad(loss, logits)[0]


@pytest.mark.parametrize("labelled", [0.05, 0.5, 1.0])
def test_equals_torchs_own_with_ignored_pixels(labelled):
    logits, labels = case(labelled)
    assert (labels != 255).any()
    found = partial_cross_entropy(logits, labels)
    expected = F.cross_entropy(logits, labels, ignore_index=255)
    # The loss computes in float32, as it must under autocast.
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    difference = gradient(found, logits) - gradient(expected, logits)
    assert difference.abs().max() < 1e-7


def test_by_hand():
    logits = torch.zeros(1, 3, 1, 3)
    logits[0, :, 0, 0] = torch.tensor([1.0, 2.0, 0.0]).log()
    logits[0, 0, 0, 0] = 0.0
    logits[0, 2, 0, 0] = 0.0  # probabilities 1/4, 1/2, 1/4
    labels = torch.tensor([[[1, 255, 0]]])
    found = partial_cross_entropy(logits, labels).item()
    assert found == pytest.approx((math.log(2) + math.log(3)) / 2, rel=1e-6)


def test_scores_at_unlabelled_pixels_change_nothing():
    logits, labels = case(0.3)
    before = partial_cross_entropy(logits, labels)
    blank = (labels == 255)[:, None].expand_as(logits)
    assert not gradient(before, logits)[blank].any()
    other = torch.where(blank, 50 * torch.randn_like(logits), logits)
    assert partial_cross_entropy(other, labels).item() == before.item()


def test_is_a_mean_over_the_labelled_pixels_whatever_the_crop():
    logits, labels = case(0.3)
    framed = F.pad(logits, (3, 4, 5, 6), value=9.0)
    around = F.pad(labels, (3, 4, 5, 6), value=255)
    assert partial_cross_entropy(framed, around).item() == pytest.approx(
        partial_cross_entropy(logits, labels).item(), rel=1e-6
    )
    tiled = partial_cross_entropy(logits.repeat(1, 1, 2, 3), labels.repeat(1, 2, 3))
    assert tiled.item() == pytest.approx(partial_cross_entropy(logits, labels).item(), rel=1e-6)


def test_is_a_mean_over_the_batch_and_not_over_pictures():
    logits, labels = case(1.0, (2, 3, 4, 4))
    labels[1] = 255
    labels[1, 0, 0] = 0
    found = partial_cross_entropy(logits, labels).item()
    each = [F.cross_entropy(logits[[n]], labels[[n]], ignore_index=255).item() for n in (0, 1)]
    assert found == pytest.approx((16 * each[0] + each[1]) / 17, rel=1e-6)


def test_without_any_label_it_is_zero_with_a_zero_gradient():
    logits, labels = case(0.0)
    labels[:] = 255
    loss = partial_cross_entropy(logits, labels)
    assert loss.item() == 0
    found = gradient(loss, logits)
    assert found.shape == logits.shape
    assert not found.any()


def test_half_precision_scores_are_summed_in_single():
    logits, labels = case(1.0, (1, 4, 64, 64))
    half = logits.detach().bfloat16()
    found = partial_cross_entropy(half, labels)
    assert found.dtype == torch.float32
    expected = F.cross_entropy(half.double(), labels)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
