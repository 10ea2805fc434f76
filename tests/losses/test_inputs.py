import pytest
import torch

from bpg.grid import upsample
from bpg.losses.inputs import Inputs, make_inputs

SIZES = [(9, 9), (9, 17), (17, 25)]


def window(i, size):
    """Pixels that sample i averages: those around pixel 2i that exist."""
    return range(max(0, 2 * i - 1), min(size, 2 * i + 2))


def averaged(maps):
    """`halve`, pixel by pixel."""
    count, channels, height, width = maps.shape
    half = torch.zeros(count, channels, (height + 1) // 2, (width + 1) // 2, dtype=maps.dtype)
    for y in range(half.shape[2]):
        for x in range(half.shape[3]):
            pixels = [maps[:, :, v, u] for v in window(y, height) for u in window(x, width)]
            half[:, :, y, x] = sum(pixels) / len(pixels)
    return half


@pytest.mark.parametrize("size", SIZES)
def test_halved_averages_around_every_other_pixel(size, make_batch):
    field = make_batch(*size).field()
    half = field.halved()
    height, width = (size[0] + 1) // 2, (size[1] + 1) // 2
    assert half.spacing == 2
    assert half.probabilities.shape == (2, 3, height, width)
    for found, whole in (
        (half.probabilities, field.probabilities),
        (half.images, field.images),
        (half.teacher, field.teacher),
    ):
        torch.testing.assert_close(found, averaged(whole), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        half.probabilities.sum(1), torch.ones(2, height, width, dtype=torch.float64)
    )
    assert torch.equal(half.features, field.features)


@pytest.mark.parametrize("size", SIZES)
def test_halved_edges_are_the_strongest_around(size, make_batch):
    field = make_batch(*size).field()
    half = field.halved()
    for y in range(half.edges.shape[1]):
        for x in range(half.edges.shape[2]):
            around = [field.edges[:, v, u] for v in window(y, size[0]) for u in window(x, size[1])]
            assert torch.equal(half.edges[:, y, x], torch.stack(around).amax(0))


def test_without_edges_and_teacher_there_are_none_at_half_size(make_batch):
    batch = make_batch()
    field = make_inputs(batch.logits, batch.images, batch.labels, batch.valid, batch.features)
    assert field.halved().edges is None
    assert field.halved().teacher is None


@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_samples_lie_on_the_pixels_that_spacing_says(reduction, make_batch):
    batch = make_batch(17, 33)
    ramp = torch.arange(33.0, dtype=torch.float64).expand(2, 3, 17, 33)
    field = Inputs(batch.field().probabilities, ramp, batch.valid, batch.valid, batch.features)
    reduced = field.reduced(reduction)
    assert reduced.spacing == reduction
    assert reduced.images.shape[2:] == (16 // reduction + 1, 32 // reduction + 1)
    # Away from the image's borders, where windows are cut, a ramp's mean is its centre.
    inner = reduced.images[..., 1:-1]
    places = reduction * torch.arange(1.0, 32 // reduction)
    torch.testing.assert_close(inner, places.double().expand_as(inner))


@pytest.mark.parametrize("size", SIZES)
def test_a_window_with_padding_is_left_out(size, make_batch):
    field = make_batch(*size).field()
    valid = torch.rand(2, *size) < 0.9
    valid[:, -5:, -5:] = True
    half = Inputs(field.probabilities, field.images, valid, field.labels, field.features).halved()
    assert half.valid.dtype == torch.bool
    assert half.valid.any()
    assert not half.valid.all()
    for n in range(2):
        for y in range(half.valid.shape[1]):
            for x in range(half.valid.shape[2]):
                all_there = all(
                    valid[n, v, u] for v in window(y, size[0]) for u in window(x, size[1])
                )
                assert half.valid[n, y, x] == all_there


def test_all_valid_stays_all_valid_in_single_precision():
    field = Inputs(
        torch.rand(1, 3, 65, 129),
        torch.rand(1, 3, 65, 129),
        torch.ones(1, 65, 129, dtype=torch.bool),
        torch.ones(1, 65, 129, dtype=torch.bool),
        torch.rand(1, 4, 9, 17),
    )
    assert field.reduced(8).valid.all()


def test_unlabelled_is_that_of_the_pixel_at_the_centre(make_batch):
    batch = make_batch(17, 25)
    half = batch.field().halved()
    for n in range(2):
        for y in range(9):
            for x in range(13):
                if half.valid[n, y, x]:
                    blank = batch.labels[n, 2 * y, 2 * x] == 255
                    assert half.unlabelled[n, y, x] == blank


@pytest.mark.parametrize("reduction", [1, 2, 4])
def test_unlabelled_is_valid(reduction, make_batch):
    """The docstring of `Inputs`: valid and without a label."""
    reduced = make_batch(17, 25).field().reduced(reduction)
    assert reduced.unlabelled.any()
    assert not (reduced.unlabelled & ~reduced.valid).any()


def test_reduced_is_halved_again_and_again(make_batch):
    field = make_batch(17, 25).field()
    assert field.reduced(1) is field
    twice = field.halved().halved()
    found = field.reduced(4)
    assert found.spacing == twice.spacing == 4
    for name in ("probabilities", "images", "valid", "labels", "features", "edges", "teacher"):
        assert torch.equal(getattr(found, name), getattr(twice, name))
    assert torch.equal(field.halved().reduced(4).images, found.images)


def test_probabilities_enlarged_again_follow_a_ramp():
    """Halving and the network's enlargement share their corners."""
    ramp = torch.arange(17.0).expand(1, 3, 9, 17)
    whole = torch.ones(1, 9, 17, dtype=torch.bool)
    half = Inputs(ramp, ramp, whole, whole, ramp).halved().images
    again = upsample(half, (9, 17))
    torch.testing.assert_close(again[..., 2:-2], ramp[..., 2:-2])


def test_make_inputs(make_batch):
    batch = make_batch(9, 17)
    logits = batch.logits.detach().bfloat16().requires_grad_()
    features = batch.features.bfloat16().requires_grad_()
    field = make_inputs(logits, batch.images.float(), batch.labels, batch.valid, features)
    assert field.spacing == 1
    assert field.probabilities.dtype == field.features.dtype == torch.float32
    expected = logits.detach().double().softmax(1)
    torch.testing.assert_close(field.probabilities.double(), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(field.unlabelled, batch.valid & (batch.labels == 255))
    assert (batch.valid & ~field.unlabelled).any()
    assert not field.features.requires_grad
    weights = torch.randn_like(field.probabilities)
    (field.halved().probabilities.square() * weights[..., ::2, ::2]).sum().backward()
    assert logits.grad.any()


def test_padding_is_not_unlabelled(make_batch):
    batch = make_batch()
    labels = torch.full_like(batch.labels, 255)
    field = make_inputs(batch.logits, batch.images, labels, batch.valid, batch.features)
    assert torch.equal(field.unlabelled, batch.valid)
