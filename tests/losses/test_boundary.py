import math

import pytest
import torch
import torch.nn.functional as F

from bpg.losses.boundary import boundary_loss, squared_error
from bpg.losses.partial_cross_entropy import partial_cross_entropy


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def case(shape=(2, 8, 9)):
    """Logits with gradient, edges in 0..1 and a valid region that is not all."""
    logits = torch.randn(shape[0], 1, *shape[1:], dtype=torch.float64, requires_grad=True)
    valid = torch.ones(shape, dtype=torch.bool)
    valid[0, :3] = False
    valid[1, :, 6:] = False
    return logits, torch.rand(shape, dtype=torch.float64), valid


def test_by_hand():
    logits = torch.tensor([[[[logit(0.5), logit(0.25)], [logit(0.9), 0.0]]]])
    edges = torch.tensor([[[1.0, 0.0], [0.9, 0.0]]])
    valid = torch.tensor([[[True, True], [True, False]]])
    # (0.5 - 1)² + 0.25² + 0; the last pixel is padding. Edge mass 1.9.
    total, pixels = squared_error(logits, edges, valid)
    assert total.item() == pytest.approx(0.25 + 0.0625)
    assert pixels.item() == 3
    assert boundary_loss(logits, edges, valid).item() == pytest.approx(0.3125 / 1.9)


def test_squared_error_is_eq_3():
    logits, edges, valid = case()
    total, pixels = squared_error(logits, edges, valid)
    chosen = logits.detach()[:, 0][valid].sigmoid(), edges[valid]
    assert total.item() == pytest.approx(F.mse_loss(*chosen, reduction="sum").item(), rel=1e-6)
    assert pixels.item() == valid.sum().item()


def test_padding_is_left_out():
    logits, edges, valid = case()
    before = boundary_loss(logits, edges, valid)
    (gradient,) = torch.autograd.grad(before, logits)
    assert not gradient[:, 0][~valid].any()
    assert (gradient[:, 0][valid] != 0).all()
    other = torch.where(valid[:, None], logits, 7.0)
    around = torch.where(valid, edges, 1.0)
    assert boundary_loss(other, around, valid).item() == pytest.approx(before.item(), rel=1e-12)


def test_no_edge_at_all_costs_at_most_one():
    nothing = torch.full((3, 1, 16, 16), -40.0)
    valid = torch.rand(3, 16, 16) < 0.8
    for share in (0.0, 0.001, 0.01, 0.2, 1.0):
        edges = torch.rand(3, 16, 16) * (torch.rand(3, 16, 16) < share)
        assert 0 <= boundary_loss(nothing, edges, valid).item() <= 1
        sure = (edges > 0).float()
        cost = boundary_loss(nothing, sure, valid).item()
        # Edges that HED is sure of are the worst case, in which it is exactly one.
        assert cost == pytest.approx(1.0 if (sure * valid).any() else 0.0)


def test_perfect_edges_cost_nothing():
    edges = torch.rand(1, 9, 9).clamp(0.01, 0.99)
    logits = (edges / (1 - edges)).log()[:, None]
    assert boundary_loss(logits, edges, torch.ones(1, 9, 9, dtype=bool)).item() < 1e-9


def test_does_not_depend_on_the_crop_size():
    logits, edges, valid = case()
    assert (edges * valid).sum() > 1
    once = boundary_loss(logits, edges, valid).item()
    tiled = boundary_loss(
        logits.repeat(1, 1, 3, 2), edges.repeat(1, 3, 2), valid.repeat(1, 3, 2)
    ).item()
    assert tiled == pytest.approx(once, rel=1e-6)
    assert boundary_loss(
        logits.repeat(4, 1, 1, 1), edges.repeat(4, 1, 1), valid.repeat(4, 1, 1)
    ).item() == pytest.approx(once, rel=1e-6)


def test_beside_a_mean_it_weighs_one_over_the_mean_edge():
    logits, edges, valid = case()
    total, pixels = squared_error(logits, edges, valid)
    expected = (total / pixels / edges[valid].mean()).item()
    assert boundary_loss(logits, edges, valid).item() == pytest.approx(expected, rel=1e-6)


def test_lambda_in_terms_of_the_printed_sums_and_of_means():
    """docs/method.md: printed sums with λ are ours with λ·m/s, a mean beside a mean ours with λ·m.

    m is the mean of the edge map and s the share of labelled pixels, both over the image.
    """
    logits, edges, valid = case((2, 12, 14))
    logits = torch.randn(2, 4, 12, 14, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 4, (2, 12, 14))
    labels[(torch.rand(labels.shape) > 0.1) | ~valid] = 255
    labelled = (labels != 255).sum()
    mean_edge, share = edges[valid].mean(), labelled / valid.sum()

    prediction = logits[:, 0].sigmoid()[valid]
    semantic = F.cross_entropy(logits, labels, ignore_index=255, reduction="sum")
    squared = F.mse_loss(prediction, edges[valid], reduction="sum")
    mean_squared = F.mse_loss(prediction, edges[valid])

    def ours(weight):
        return partial_cross_entropy(logits, labels) + weight * boundary_loss(logits, edges, valid)

    def gradients(loss):
        return torch.autograd.grad(loss, (logits, logits), retain_graph=True)

    printed = gradients(semantic + 0.7 * squared)
    for found, expected in zip(gradients(ours(0.7 * mean_edge / share)), printed, strict=True):
        assert torch.allclose(labelled * found, expected, rtol=1e-4, atol=1e-6)
    means = gradients(semantic / labelled + 0.7 * mean_squared)
    for found, expected in zip(gradients(ours(0.7 * mean_edge)), means, strict=True):
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("valid", [True, False])
def test_no_edges_or_no_picture_stays_finite(valid):
    logits = torch.randn(1, 1, 5, 5, requires_grad=True)
    mask = torch.full((1, 5, 5), valid)
    loss = boundary_loss(logits, torch.zeros(1, 5, 5), mask)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    assert logits.grad.any() == valid


def test_gradient_agrees_with_finite_differences(monkeypatch):
    # Differences need doubles throughout; the loss itself goes by single precision.
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    logits, edges, valid = case((2, 4, 7))
    assert torch.autograd.gradcheck(lambda x: boundary_loss(x, edges, valid), logits)


def test_half_precision_logits_are_squared_in_single():
    logits, edges, valid = case((2, 40, 40))
    half = logits.detach().bfloat16()
    found = boundary_loss(half, edges.float(), valid)
    assert found.dtype == torch.float32
    exact = (half.double()[:, 0].sigmoid() - edges).square()[valid].sum() / edges[valid].sum()
    assert found.item() == pytest.approx(exact.item(), rel=1e-5)
