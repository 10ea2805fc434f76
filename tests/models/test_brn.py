import pytest
import torch
import torch.nn.functional as F

from bpg.models.brn import BRN, _joined, foreground_background


def brn(channels="foreground", source="probabilities", classes=4, width=5, depth=3) -> BRN:
    return BRN(classes, channels=channels, source=source, width=width, depth=depth)


def test_foreground_background_by_hand():
    maps = torch.tensor([0.7, 0.1, 0.25, -3.0]).view(1, 4, 1, 1).repeat(1, 1, 1, 2)
    maps[0, :, 0, 1] = torch.tensor([-1.0, -2.0, -5.0, -4.0])
    found = foreground_background(maps)
    assert found.shape == (1, 2, 1, 2)
    assert found[0, :, 0, 0].tolist() == pytest.approx([0.7, 0.25])
    assert found[0, :, 0, 1].tolist() == pytest.approx([-1.0, -2.0])


def test_eq_1_gradient_goes_to_the_arg_max_object_channel_alone():
    torch.manual_seed(3)
    maps = torch.randn(2, 5, 4, 3, dtype=torch.float64, requires_grad=True)
    outer = torch.randn(2, 2, 4, 3, dtype=torch.float64)
    foreground_background(maps).backward(outer)
    winner = maps[:, 1:].argmax(1, keepdim=True)
    expected = torch.zeros_like(maps[:, 1:]).scatter(1, winner, outer[:, 1:])
    assert torch.equal(maps.grad[:, 1:], expected)
    assert torch.equal(maps.grad[:, :1], outer[:, :1])


@pytest.mark.parametrize("tied", [(1, 2), (2, 3), (1, 3), (1, 2, 3)])
def test_eq_1_a_tie_sends_the_whole_gradient_to_one_channel(tied):
    maps = torch.zeros(1, 4, 3, 3)
    maps[:, list(tied)] = 0.5
    maps.requires_grad_()
    foreground_background(maps)[:, 1].sum().backward()
    assert ((maps.grad[:, 1:] != 0).sum(1) == 1).all()
    assert (maps.grad[:, 1:].sum(1) == 1).all()
    untied = [k for k in range(1, 4) if k not in tied]
    assert not maps.grad[:, [0, *untied]].any()


def test_eq_1_agrees_with_finite_differences():
    # Distinct values, further apart than the step: no ties.
    values = torch.randperm(2 * 4 * 9).view(2, 4, 3, 3).double() / 10
    assert torch.autograd.gradcheck(foreground_background, values.requires_grad_())


@pytest.mark.parametrize("channels", ["foreground", "all_channels"])
@pytest.mark.parametrize("source", ["probabilities", "logits"])
def test_gradient_agrees_with_finite_differences(channels, source, randomise):
    network = randomise(brn(channels, source, classes=3, width=2).double())
    logits = (torch.randperm(3 * 16).view(1, 3, 4, 4).double() / 7).requires_grad_()
    assert torch.autograd.gradcheck(network, logits)


def test_scores_other_than_the_arg_max_get_no_edge_gradient(randomise):
    network = randomise(brn(source="logits"))
    logits = torch.randn(2, 4, 6, 7, requires_grad=True)
    network(logits).square().sum().backward()
    winner = torch.zeros_like(logits[:, 1:], dtype=torch.bool)
    winner.scatter_(1, logits[:, 1:].argmax(1, keepdim=True), True)
    assert not logits.grad[:, 1:][~winner].any()
    assert logits.grad[:, 1:][winner].any()


def test_through_the_softmax_the_others_get_as_much_as_the_winner():
    """What Eq. 1 does not promise with `source: probabilities`; docs/method.md says so."""
    logits = torch.randn(2, 6, 5, 4, dtype=torch.float64, requires_grad=True)
    foreground_background(logits.softmax(1))[:, 1].sum().backward()
    winner = 1 + logits[:, 1:].argmax(1, keepdim=True)
    p = logits.detach().softmax(1).gather(1, winner)
    size = logits.grad.abs()
    assert torch.allclose(size.gather(1, winner), p * (1 - p))
    assert torch.allclose(size.sum(1, keepdim=True), 2 * p * (1 - p))


@pytest.mark.parametrize(("channels", "inputs"), [("foreground", 2), ("all_channels", 21)])
def test_c_is_2_or_k_plus_1(channels, inputs):
    network = brn(channels, classes=21, width=6, depth=3)
    shapes = [tuple(c.weight.shape) for c in network.convolutions]
    assert shapes == [(6, inputs, 3, 3), (6, 6, 3, 3), (1, 6, 3, 3)]
    assert network(torch.randn(2, 21, 9, 5)).shape == (2, 1, 9, 5)


def test_foreground_edges_do_not_say_which_object_it_is(randomise):
    logits = torch.randn(1, 4, 8, 8)
    exchanged = logits[:, [0, 3, 1, 2]]
    two = randomise(brn("foreground"))
    assert torch.allclose(two(logits), two(exchanged), atol=1e-5)
    every = randomise(brn("all_channels"))
    assert not torch.allclose(every(logits), every(exchanged), atol=1e-2)


def test_source_decides_between_probabilities_and_scores(randomise):
    probabilities = randomise(brn(source="probabilities"))
    raw = brn(source="logits")
    raw.load_state_dict(probabilities.state_dict())
    logits = torch.randn(1, 4, 6, 6)
    assert torch.allclose(probabilities(logits), raw(logits.softmax(1)), atol=1e-6)
    assert torch.allclose(probabilities(logits), probabilities(logits + 100), atol=1e-3)
    assert not torch.allclose(raw(logits), raw(logits + 100), atol=1)


@pytest.mark.parametrize("channels", ["foreground", "all_channels"])
def test_a_constant_picture_has_constant_edges_up_to_the_border(channels, randomise):
    network = randomise(brn(channels))
    logits = torch.randn(1, 4, 1, 1).expand(1, 4, 12, 9)
    edges = network(logits)
    assert (edges - edges[..., 5, 5]).abs().max() < 1e-5


@pytest.mark.parametrize("channels", ["foreground", "all_channels"])
def test_beyond_the_border_the_maps_continue_as_their_border_pixels(channels, randomise):
    network = randomise(brn(channels, depth=4))
    logits = torch.randn(2, 4, 7, 9)
    larger = F.pad(logits, (10,) * 4, mode="replicate")
    assert torch.allclose(network(logits), network(larger)[..., 10:-10, 10:-10], atol=1e-5)


def test_starts_at_the_mean_of_hed_maps():
    edges = brn()(torch.randn(1, 4, 20, 20).mul(0.01)).sigmoid()
    assert 0.02 < edges.mean() < 0.5
    last = brn().convolutions[-1].bias
    assert last.sigmoid().item() == pytest.approx(0.285, abs=0.01)


@pytest.mark.parametrize("channels", ["foreground", "all_channels"])
def test_no_seed_starts_dead(channels):
    # Logits near zero, as the ASPP gives them at the start: a dead BRN would never learn.
    logits = 1e-3 * torch.randn(1, 4, 6, 6)
    for seed in range(300):
        torch.manual_seed(seed)
        network = brn(channels, width=4)
        network(logits).sum().backward()
        assert network.convolutions[0].weight.grad.abs().max() > 0, seed


@pytest.mark.parametrize("reach", [1, 3])
def test_the_borders_are_continued_alike_on_cpu_and_gpu(reach):
    maps = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    expected, found = F.pad(maps, (reach,) * 4, mode="replicate"), _joined(maps, reach)
    assert torch.equal(found, expected)
    outer = torch.randn_like(expected)
    gradients = [torch.autograd.grad(one, maps, outer)[0] for one in (expected, found)]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)
