import math

import pytest
import torch

from bpg.losses.inputs import Inputs
from bpg.losses.tree_energy import tree_energy_loss

LOW, HIGH = 2.0, 0.8
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's


def loss(field: Inputs, low: float = LOW, high: float = HIGH) -> torch.Tensor:
    return tree_energy_loss(field, low=low, high=high)


def standardised(field, n):
    """{pixel: colours as the network sees them}."""
    return {
        (y, x): [(float(field.images[n, c, y, x]) / 255 - MEAN[c]) / DEVIATION[c] for c in range(3)]
        for y in range(field.images.shape[2])
        for x in range(field.images.shape[3])
    }


def enlarged(field, n):
    """{pixel: features of length 1, enlarged with corners on corners}."""
    height, width = field.images.shape[2:]
    rows, columns = field.features.shape[2:]

    def unit(y, x):
        vector = field.features[n, :, y, x].tolist()
        length = math.sqrt(sum(value**2 for value in vector))
        return [value / length for value in vector]

    def corners(place, size, samples):
        """[(sample, its share)] of the two samples around this place."""
        exact = place * (samples - 1) / max(size - 1, 1)
        first = min(int(exact), max(samples - 2, 0))
        return [(first, 1 - exact + first), (min(first + 1, samples - 1), exact - first)]

    result = {}
    for y in range(height):
        for x in range(width):
            total = [0.0] * field.features.shape[1]
            for v, down in corners(y, height, rows):
                for u, right in corners(x, width, columns):
                    total = [t + down * right * f for t, f in zip(total, unit(v, u), strict=True)]
            result[y, x] = total
    return result


def filter_matrix(vectors, pixels, sigma):
    """Rows exp(-D_ij) / sum_j exp(-D_ij) over a minimum spanning tree of these pixels (Prim)."""
    here = set(pixels)

    def weight(a, b):
        return sum((p - q) ** 2 for p, q in zip(vectors[a], vectors[b], strict=True)) / sigma

    edges = [
        (pixel, (pixel[0] + down, pixel[1] + right))
        for pixel in pixels
        for down, right in ((0, 1), (1, 0))
        if (pixel[0] + down, pixel[1] + right) in here
    ]
    reached, distance = [pixels[0]], {(pixels[0], pixels[0]): 0.0}
    while len(reached) < len(pixels):
        border = [(a, b) for a, b in edges if (a in reached) != (b in reached)]
        a, b = min(border, key=lambda edge: weight(*edge))
        old, new = (a, b) if a in reached else (b, a)
        for other in reached:
            distance[new, other] = distance[other, new] = distance[old, other] + weight(old, new)
        distance[new, new] = 0.0
        reached.append(new)
    rows = [[math.exp(-distance[i, j]) for j in pixels] for i in pixels]
    return torch.tensor([[value / sum(row) for value in row] for row in rows], dtype=torch.float64)


def differences(field):
    """S - Y at the unlabelled pixels, Y = the filtered S."""
    found = []
    for n in range(len(field.images)):
        pixels = [(y, x) for y, x in torch.nonzero(field.valid[n]).tolist()]
        if not pixels:
            continue
        shares = torch.stack([field.probabilities[n, :, y, x] for y, x in pixels])
        low = filter_matrix(standardised(field, n), pixels, LOW)
        high = filter_matrix(enlarged(field, n), pixels, HIGH)
        soft = high @ (low @ shares)
        blank = [bool(field.unlabelled[n, y, x]) for y, x in pixels]
        found.append((shares - soft)[blank])
    return torch.cat(found)


def reference(field):
    difference = differences(field)
    # Away from the kinks of |S - Y|, where the derivative jumps.
    assert difference.abs().min() > 1e-5
    return difference.abs().sum() / len(difference)


def check(batch, reduction):
    expected, expected_gradient = batch.follow(reference, reduction)
    found, gradient = batch.follow(loss, reduction)
    assert 0.05 < expected < 2
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-7, atol=1e-13)


@pytest.mark.parametrize(("size", "reduction"), [((9, 9), 1), ((9, 17), 1), ((17, 25), 2)])
def test_equals_the_filters_pixel_by_pixel(size, reduction, make_batch):
    """With features on the field's grid: between coarser ones, edges of a row weigh the same."""
    check(make_batch(*size, stride=reduction), reduction)


def test_enlarges_the_features_corner_on_corner(make_batch):
    """In an image of one row there is one tree, whatever the ties."""
    batch = make_batch(9, 25)
    assert batch.features.shape[2:] == (2, 4)
    row = type(batch)(
        batch.logits.detach()[:, :, 4:5].clone().requires_grad_(),
        batch.images[:, :, 4:5],
        batch.labels[:, 4:5],
        batch.valid[:, 4:5],
        batch.features[:, :, :1],
        batch.edges[:, 4:5],
        batch.teacher[:, :, 4:5],
    )
    check(row, 1)


@pytest.mark.parametrize(("size", "reduction"), [((5, 7), 1), ((9, 9), 2)])
def test_gradient_agrees_with_finite_differences(size, reduction, make_batch):
    batch = make_batch(*size, classes=2, stride=reduction)
    reference(batch.field().reduced(reduction))
    assert torch.autograd.gradcheck(
        lambda logits: loss(batch.field(logits).reduced(reduction)), batch.logits
    )


def test_two_pixels_by_hand(two_pixels):
    distance = sum((15 / 255 / deviation) ** 2 for deviation in DEVIATION)
    near = math.exp(-distance / LOW)
    # Features are alike, so that the second filter gives both the mean of the first's.
    assert loss(two_pixels([1, 0], [0, 1])).item() == pytest.approx(1)
    assert loss(two_pixels([0.6, 0.4], [0.6, 0.4])).item() == pytest.approx(0, abs=1e-12)
    first, second = two_pixels([1, 0], [0, 1]), two_pixels([1, 0], [0, 1])
    features = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]], dtype=torch.float64)
    apart = Inputs(first.probabilities, first.images, first.valid, second.labels, features)
    # Far features: the second filter weighs exp(-2 / HIGH), the first `near`.
    far = math.exp(-2 / HIGH)
    own, other = 1 / (1 + near), near / (1 + near)
    soft = (own + far * other) / (1 + far)
    assert loss(apart).item() == pytest.approx(2 * (1 - soft))


def test_constant_prediction_costs_nothing(constant_picture):
    for shares in ([0, 1, 0], [0.5, 0.3, 0.2]):
        field = constant_picture(shares)
        assert loss(field).item() == pytest.approx(0, abs=1e-12)


def test_stays_between_zero_and_two(make_batch):
    for sharpness in (0.0, 1.0, 30.0):
        batch = make_batch(classes=5)
        assert 0 <= loss(batch.field(batch.logits * sharpness)).item() <= 2


def test_features_count_by_their_direction_alone(make_batch):
    batch = make_batch(9, 17, stride=1)
    scaled = batch.map(lambda tensor: tensor)
    lengths = 1 + 9 * torch.rand(2, 1, 9, 17, dtype=torch.float64)
    scaled.features.mul_(lengths)
    for found, expected in zip(scaled.follow(loss), batch.follow(loss), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-13)


def test_labelled_pixels_are_filtered_but_do_not_count(make_batch):
    batch = make_batch()
    field = batch.field()
    value = loss(field)
    (gradient,) = torch.autograd.grad(value, field.probabilities)
    labelled = batch.valid & (batch.labels != 255)
    # They have a say in their neighbours' Y.
    assert (gradient.permute(0, 2, 3, 1)[labelled] != 0).any(1).all()
    nobody = Inputs(
        field.probabilities, field.images, field.valid, 0 * field.labels, field.features
    )
    value = loss(nobody)
    (gradient,) = torch.autograd.grad(value, nobody.probabilities)
    assert value.item() == 0
    assert not gradient.any()


def test_features_do_not_learn_from_it(make_batch):
    batch = make_batch()
    features = batch.features.clone().requires_grad_()
    field = batch.field()
    value = loss(Inputs(field.probabilities, field.images, field.valid, field.labels, features))
    assert torch.autograd.grad(value, features, allow_unused=True) == (None,)
