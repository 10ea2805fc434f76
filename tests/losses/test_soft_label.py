import math

import pytest
import torch

from bpg.errors import BPGError
from bpg.losses.inputs import Inputs, make_inputs
from bpg.losses.soft_label import neighbour_weights, soft_label_loss, soft_labels

SMOOTHNESS, EDGE = 5.0, 0.3


def labels(field: Inputs, iterations: int = 30, smoothness: float = SMOOTHNESS) -> torch.Tensor:
    return soft_labels(field, smoothness=smoothness, edge=EDGE, iterations=iterations)


def loss(field: Inputs, iterations: int = 30) -> torch.Tensor:
    return soft_label_loss(field, smoothness=SMOOTHNESS, edge=EDGE, iterations=iterations)


def pairs(field: Inputs):
    """(image, pixel, neighbour below or to the right, weight), both in the image."""
    for n in range(len(field.valid)):
        inside = {(y, x) for y, x in torch.nonzero(field.valid[n]).tolist()}
        for y, x in sorted(inside):
            for other in ((y + 1, x), (y, x + 1)):
                if other in inside:
                    edge = max(float(field.edges[n, y, x]), float(field.edges[n, *other]))
                    yield n, (y, x), other, math.exp(-(edge**2) / (2 * EDGE**2))


def energy(field: Inputs, y: torch.Tensor) -> torch.Tensor:
    """What the labels minimise, pixel by pixel and pair by pair."""
    total = torch.zeros((), dtype=y.dtype)
    for n, row, column in torch.nonzero(field.unlabelled).tolist():
        shares = field.probabilities.detach()[n, :, row, column]
        total = total - (shares @ y[n, :, row, column]).log()
    for n, one, other, weight in pairs(field):
        if not (field.unlabelled[n, *one] or field.unlabelled[n, *other]):
            continue  # two strokes: nothing to choose
        p, q = y[n, :, *one], y[n, :, *other]
        total = total - SMOOTHNESS * weight * ((p @ q) / (p.norm() * q.norm())).log()
    return total


def test_the_labels_go_down_the_gradient_of_the_energy(make_batch):
    """One step, with the gradient from autograd: divided by 1 + the weights of a pixel's pairs."""
    field = make_batch(7, 9).field()
    free = field.unlabelled[:, None]
    given = labels(field, iterations=0)
    logits = field.probabilities.detach().log().requires_grad_()
    (gradient,) = torch.autograd.grad(
        energy(field, torch.where(free, logits.softmax(1), given)), logits
    )
    scale = torch.ones_like(field.valid, dtype=torch.float64)
    for n, one, other, weight in pairs(field):
        scale[n, *one] += SMOOTHNESS * weight
        scale[n, *other] += SMOOTHNESS * weight
    expected = torch.where(free, (logits - gradient / scale[:, None]).softmax(1), given)
    torch.testing.assert_close(labels(field, iterations=1), expected, rtol=1e-6, atol=1e-9)


def test_the_energy_falls_to_a_place_without_a_gradient(make_batch):
    field = make_batch(7, 9).field()
    values = [energy(field, labels(field, iterations)).item() for iterations in (0, 1, 5, 20, 80)]
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.8 * values[0]
    last = labels(field, 2000)
    assert energy(field, last).item() == pytest.approx(
        energy(field, labels(field, 4000)).item(), rel=1e-3
    )


@pytest.mark.parametrize(("size", "reduction"), [((9, 9), 1), ((9, 17), 1), ((17, 25), 2)])
def test_equals_the_mean_over_unlabelled_pixels(size, reduction, make_batch):
    def reference(field: Inputs) -> torch.Tensor:
        y = labels(field)
        each = [
            -(field.probabilities[n, :, row, column] @ y[n, :, row, column]).log()
            for n, row, column in torch.nonzero(field.unlabelled).tolist()
        ]
        return torch.stack(each).mean()

    batch = make_batch(*size)
    expected, expected_gradient = batch.follow(reference, reduction)
    found, gradient = batch.follow(loss, reduction)
    assert expected > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-8, atol=1e-14)


def test_labels_are_shares_and_strokes_keep_theirs(make_batch):
    batch = make_batch(9, 17)
    y = labels(batch.field())
    torch.testing.assert_close(y.sum(1), batch.valid.double())
    for n, row, column in torch.nonzero(batch.labels != 255).tolist():
        assert y[n, batch.labels[n, row, column], row, column] == 1


def row_of(edges: list[float], strokes: dict[int, int], classes: int = 2) -> Inputs:
    """An image of one row, of which the network has no idea."""
    width = len(edges)
    marks = torch.full((1, 1, width), 255)
    for place, label in strokes.items():
        marks[0, 0, place] = label
    return Inputs(
        torch.full((1, classes, 1, width), 1 / classes, dtype=torch.float64),
        torch.zeros(1, 3, 1, width, dtype=torch.float64),
        torch.ones(1, 1, width, dtype=torch.bool),
        marks,
        torch.zeros(1, 1, 1, 1, dtype=torch.float64),
        torch.tensor(edges, dtype=torch.float64).view(1, 1, width),
    )


def test_strokes_spread_up_to_the_edge():
    field = row_of([0, 0, 0, 0, 1, 0, 0, 0, 0], {0: 0, 8: 1})
    y = labels(field, iterations=500)
    assert y[0, :, 0].argmax(0).tolist()[:4] == [0, 0, 0, 0]
    assert y[0, :, 0].argmax(0).tolist()[5:] == [1, 1, 1, 1]
    assert y[0].amax(0)[0, [1, 2, 3, 5, 6, 7]].min() > 0.9


def test_no_neighbour_means_the_networks_own_label():
    """Without strokes and neighbours, -ln S'y is least at the likeliest class."""
    field = row_of([0.0], {})
    field.probabilities.copy_(torch.tensor([0.7, 0.3], dtype=torch.float64).view(1, 2, 1, 1))
    assert labels(field, iterations=200)[0, 0, 0, 0] > 0.95
    assert labels(field, iterations=200, smoothness=0)[0, 0, 0, 0] > 0.95


def test_an_undecided_label_asks_for_nothing():
    field = row_of([0.0, 0.0], {})
    shares = field.probabilities.requires_grad_()
    logits = torch.zeros(1, 2, 1, 2, dtype=torch.float64, requires_grad=True)
    value = loss(row_of([0.0, 0.0], {}))
    assert value.item() == pytest.approx(math.log(2))
    soft = Inputs(logits.softmax(1), *(getattr(field, n) for n in list(vars(field))[1:]))
    (gradient,) = torch.autograd.grad(loss(soft), logits)
    assert not gradient.any()
    assert shares.grad is None


def test_two_pixels_weigh_by_the_stronger_edge(two_pixels):
    down, right = neighbour_weights(two_pixels([1, 0], [0, 1]), EDGE)
    assert down.shape == (1, 1, 0, 2)
    assert right.item() == pytest.approx(math.exp(-(0.5**2) / (2 * EDGE**2)))


def test_what_all_agree_on_costs_nothing(make_batch):
    batch = make_batch(9, 17)
    batch.labels[batch.labels != 255] = 1
    logits = torch.zeros_like(batch.logits)
    logits[:, 1] = 200
    assert loss(batch.field(logits)).item() == pytest.approx(0, abs=1e-5)


def test_without_edges_it_says_so(make_batch):
    batch = make_batch()
    field = make_inputs(batch.logits, batch.images, batch.labels, batch.valid, batch.features)
    with pytest.raises(BPGError, match="needs edge maps"):
        loss(field)


def test_labels_have_no_gradient(make_batch):
    field = make_batch().field()
    assert field.probabilities.requires_grad
    assert not labels(field).requires_grad
