import pytest
import torch
import torch.nn.functional as F

from bpg.models.deeplab import ASPP


@pytest.mark.parametrize("rates", [(6, 12, 18, 24), (1, 2)])
def test_equals_the_sum_of_torchs_dilated_convolutions(rates, randomise):
    head = randomise(ASPP(4, 3, rates))
    state = head.state_dict()
    features = torch.randn(2, 4, 13, 11)
    expected = torch.zeros(2, 3, 13, 11)
    for number, rate in enumerate(rates):
        weight, bias = state[f"branches.{number}.weight"], state[f"branches.{number}.bias"]
        expected += F.conv2d(features, weight, bias, padding=rate, dilation=rate)
    assert torch.allclose(head(features), expected, atol=1e-5)


@pytest.mark.parametrize("size", [(13, 11), (24, 25), (7, 30)])
def test_gradients_are_torchs_where_a_rate_exceeds_the_grid(size, randomise):
    head = randomise(ASPP(4, 3))
    features = torch.randn(2, 4, *size, requires_grad=True)
    outer = torch.randn(2, 3, *size)
    plain = sum(branch(features) for branch in head.branches)
    leaves = [features, *head.parameters()]
    expected = torch.autograd.grad(plain, leaves, outer)
    found = torch.autograd.grad(head(features), leaves, outer)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-4)


def test_taps_are_summed_in_float32_under_autocast(randomise):
    """No more is lost than by rounding every tap once."""
    head = randomise(ASPP(8, 3, (1, 2, 3)))
    features = torch.randn(1, 8, 9, 9).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = head(features)
    assert found.dtype == torch.float32
    exact = head.double()(features.double())
    assert (found - exact).abs().max() < 2**-7 * exact.abs().max()
    assert (found != found.bfloat16().float()).float().mean() > 0.5


def test_the_derivative_is_that_of_finite_differences():
    head = ASPP(2, 2, (1, 3)).double()
    features = torch.randn(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(head, features)


def test_published_rates_are_the_default_and_reach_that_far():
    head = ASPP(1, 1)
    with torch.no_grad():
        for branch in head.branches:
            branch.weight.fill_(1)
    features = torch.zeros(1, 1, 61, 61)
    features[0, 0, 30, 30] = 1
    response = head(features)[0, 0].detach()
    # Four centres on top of each other, and eight neighbours at each of the four rates.
    assert response[30, 30] == pytest.approx(4)
    expected = {
        (30 + dy * rate, 30 + dx * rate)
        for rate in (6, 12, 18, 24)
        for dy in (-1, 0, 1)
        for dx in (-1, 0, 1)
    }
    assert {tuple(p) for p in response.nonzero().tolist()} == expected


def test_starts_from_a_normal_of_deviation_001_and_zero_biases():
    head = ASPP(256, 21)
    assert len(head.branches) == 4
    for branch in head.branches:
        assert branch.weight.mean().abs() < 3e-4
        assert branch.weight.std().item() == pytest.approx(0.01, rel=0.02)
        assert not branch.bias.any()
