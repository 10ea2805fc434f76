from itertools import permutations

import pytest
import torch

from bpg.losses import gaussian_filter, regularisers
from bpg.losses.affinity import dense_affinity
from bpg.losses.dense_crf import dense_crf_loss
from bpg.losses.inputs import Inputs, make_inputs
from bpg.losses.normalized_cut import normalized_cut_loss
from bpg.losses.options import (
    OPTIONS,
    DenseOptions,
    GatedOptions,
    MeanTeacherOptions,
    SoftLabelOptions,
    TreeOptions,
)
from bpg.losses.regularisers import regularise

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
TERMS = [
    "normalized_cut",
    "dense_crf",
    "gated_crf",
    "tree_energy",
    "soft_label",
    "mean_teacher",
]


def options(reduction=1):
    return {
        "normalized_cut": DenseOptions(0.5, reduction, 20.0, 60.0),
        "dense_crf": DenseOptions(2.0, reduction, 20.0, 60.0),
        "gated_crf": GatedOptions(0.1, reduction, 3, 2.0, 0.4),
        "tree_energy": TreeOptions(0.4, reduction, 1.0, 1.0),
        "soft_label": SoftLabelOptions(0.3, reduction, 5.0, 0.3, 20),
        "mean_teacher": MeanTeacherOptions(1.0, reduction, 0.9),
    }


def one(term, reduction=1):
    """The term's loss of a full-size field, reduction included."""
    return lambda field: regularise({term: options(reduction)[term]}, field)[term]


def agree(found, expected):
    for one_of, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one_of, other, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("reduction", [1, 2, 4])
@pytest.mark.parametrize("term", TERMS)
def test_padding_has_no_say(term, reduction, make_batch):
    batch = make_batch(25, 33)
    value, gradient = batch.follow(one(term, reduction))
    other_value, other_gradient = batch.with_other_padding().follow(one(term, reduction))
    padded = ~batch.valid[:, None].expand_as(gradient)
    assert value > 1e-3
    agree([other_value], [value])
    agree([other_gradient[~padded]], [gradient[~padded]])
    assert not gradient[padded].any()
    assert not other_gradient[padded].any()
    assert gradient[~padded].any()


@pytest.mark.parametrize("reduction", [1, 2, 4])
@pytest.mark.parametrize("term", TERMS)
def test_more_padding_changes_nothing(term, reduction, make_batch):
    batch = make_batch(17, 25)
    value, gradient = batch.follow(one(term, reduction))
    more, wide = batch.with_more_padding().follow(one(term, reduction))
    assert wide.shape[2:] == (33, 41)
    agree([more, wide[..., 8:-8, 8:-8]], [value, gradient])
    assert wide.count_nonzero() == gradient.count_nonzero()


@pytest.mark.parametrize("term", TERMS)
def test_the_batch_twice_changes_nothing(term, make_batch):
    batch = make_batch(9, 17)
    value, gradient = batch.follow(one(term))
    twice = batch.map(lambda tensor: torch.cat([tensor, tensor]))
    again, shared = twice.follow(one(term))
    agree([again, 2 * shared], [value, torch.cat([gradient, gradient])])


@pytest.mark.parametrize("term", TERMS)
def test_a_picture_without_a_valid_pixel_changes_nothing(term, make_batch):
    batch = make_batch(9, 17)
    value, gradient = batch.follow(one(term))
    empty = batch.with_empty_picture()
    found, wide = empty.follow(one(term))
    agree([found, wide[:2]], [value, gradient])
    assert not wide[2].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("term", TERMS)
def test_nothing_valid_at_all_is_zero(term, dtype, make_batch):
    batch = make_batch().map(lambda tensor: tensor)
    batch.valid[:] = False
    logits = batch.logits.detach().to(dtype).requires_grad_()
    value = one(term)(batch.field(logits))
    (gradient,) = torch.autograd.grad(value, logits)
    assert value.item() == 0
    assert not gradient.any()


@pytest.mark.parametrize("term", ["dense_crf", "gated_crf", "tree_energy", "normalized_cut"])
def test_perfect_constant_labelling_costs_nothing(term, make_batch):
    batch = make_batch(9, 17)
    logits = torch.zeros_like(batch.logits)
    logits[:, 1] = 200
    value = one(term)(batch.field(logits))
    assert value.item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("term", TERMS)
def test_values_do_not_depend_on_company_or_weight(term, make_batch):
    field = make_batch(17, 17).field()
    chosen = options(2)
    expected = one(term, 2)(field)
    assert torch.equal(regularise(chosen, field)[term], expected)
    mixed = options(4) | {term: chosen[term]}
    assert torch.equal(regularise(mixed, field)[term], expected)
    dear = {term: type(chosen[term])(**(vars(chosen[term]) | {"weight": 99.0}))}
    assert torch.equal(regularise(dear, field)[term], expected)
    assert expected.shape == ()
    assert expected.requires_grad


def test_order_is_that_of_the_options(make_batch):
    field, chosen = make_batch().field(), options()
    for names in permutations(TERMS):
        assert list(regularise({name: chosen[name] for name in names}, field)) == list(names)
    assert regularise({}, field) == {}


def test_kernel_cut_is_both_with_one_affinity(make_batch, monkeypatch):
    field = make_batch(17, 25).field()
    calls = []

    def spy(*arguments, **named):
        calls.append(named)
        return dense_affinity(*arguments, **named)

    monkeypatch.setattr(regularisers, "dense_affinity", spy)
    both = {
        "normalized_cut": DenseOptions(0.5, 2, 20.0, 60.0),
        "dense_crf": DenseOptions(2.0, 2, 20.0, 60.0),
    }
    values = regularise(both, field)
    assert calls == [{"xy": 20.0, "rgb": 60.0}]
    grid = field.reduced(2)
    affinity = dense_affinity(grid, xy=20.0, rgb=60.0)
    expected = normalized_cut_loss(grid, affinity), dense_crf_loss(grid, affinity)
    assert torch.equal(sum(values.values()), sum(expected))


@pytest.mark.parametrize(
    "other",
    [(1, 20.0, 60.0), (2, 21.0, 60.0), (2, 20.0, 61.0), (2, 60.0, 20.0)],
)
def test_affinities_that_differ_are_not_shared(other, make_batch):
    field = make_batch(17, 25).field()
    both = {
        "normalized_cut": DenseOptions(1.0, 2, 20.0, 60.0),
        "dense_crf": DenseOptions(1.0, *other),
    }
    values = regularise(both, field)
    for term, chosen in both.items():
        assert torch.equal(values[term], regularise({term: chosen}, field)[term])
    same = regularise({"dense_crf": DenseOptions(1.0, 2, 20.0, 60.0)}, field)["dense_crf"]
    assert not torch.equal(values["dense_crf"], same)


def single(batch, device="cpu"):
    """A training step's field, in single precision, and its logits."""
    logits = batch.logits.detach().float().to(device).requires_grad_()
    images = batch.images.round().float().to(device)
    images = images.contiguous(memory_format=torch.channels_last)
    singles = (batch.features.float(), batch.edges.float(), batch.teacher.float())
    parts = (tensor.to(device) for tensor in (batch.labels, batch.valid, *singles))
    return make_inputs(logits, images, *parts), logits


@pytest.mark.parametrize("reduction", [1, 2])
@pytest.mark.parametrize("term", TERMS)
def test_autocast_changes_nothing(term, reduction, make_batch):
    results = []
    for enabled in (False, True):
        torch.manual_seed(1)
        field, logits = single(make_batch(17, 25))
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            value = one(term, reduction)(field)
        assert value.dtype == torch.float32
        results.append((value, *torch.autograd.grad(value, logits)))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@pytest.mark.parametrize("term", TERMS)
def test_single_precision_is_near_double(term, make_batch):
    # Features of the reduced grid's own: enlarged ones make ties, which rounding breaks.
    batch = make_batch(17, 25, stride=2)
    field, logits = single(batch)
    value = one(term, 2)(field)
    (gradient,) = torch.autograd.grad(value, logits)
    rounded = batch.map(lambda tensor: tensor)
    rounded.images.round_()
    expected, exact = rounded.follow(one(term, 2))
    assert value.item() == pytest.approx(expected.item(), rel=1e-4)
    torch.testing.assert_close(gradient.double(), exact, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("term", TERMS)
def test_outer_factors_reach_the_scores(term, make_batch):
    batch = make_batch()
    _, gradient = batch.follow(one(term))
    _, scaled = batch.follow(lambda field: 3 * one(term)(field) + 1)
    agree([scaled], [3 * gradient])


@pytest.mark.parametrize("term", TERMS)
def test_fewer_allocations_than_pairs(term, make_batch, allocations, monkeypatch):
    """No tensor of pixels by pixels, whatever the term."""
    monkeypatch.setitem(gaussian_filter.TILE, "cpu", 32)
    field = make_batch(33, 41).field()
    field = Inputs(
        field.probabilities.detach(), *(getattr(field, n) for n in list(vars(field))[1:])
    )
    with allocations() as seen:
        one(term)(field)
    # Six maps of places, colours and squares for each image are the most.
    assert seen.largest <= 7 * 2 * 33 * 41


@pytest.mark.cuda
@needs_cuda
@pytest.mark.parametrize("term", TERMS)
def test_cuda_equals_the_cpu(term, make_batch):
    batch = make_batch(33, 41, stride=2)
    field, logits = single(batch)
    expected = one(term, 2)(field)
    (exact,) = torch.autograd.grad(expected, logits)
    before = torch.backends.cuda.matmul.allow_tf32
    try:
        torch.backends.cuda.matmul.allow_tf32 = True
        field, logits = single(batch, "cuda")
        with torch.autocast("cuda", torch.bfloat16):
            found = one(term, 2)(field)
        (gradient,) = torch.autograd.grad(found, logits)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)
    torch.testing.assert_close(gradient.cpu(), exact, rtol=1e-3, atol=1e-6)


def test_every_term_is_tested_here():
    assert set(TERMS) == set(OPTIONS) == set(options()), "add it to TERMS and options() above"
