import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from bpg.propagation.graph_cut import energy, expand
from bpg.propagation.options import PropagationOptions
from bpg.propagation.propagate import make_problem, propagate
from bpg.propagation.superpixels import colours, textures

OPTIONS = PropagationOptions(
    scale=10, sigma=0.5, min_size=4, network_weight=1, smoothness=2, colour=0.3, texture=0.3
)
SMALL = 1e-4  # costs are whole numbers of this


def picture(rng, height=24, width=30):
    """Noise of a few colours in blocks, which makes superpixels of several sizes."""
    coarse = rng.integers(0, 256, (-(-height // 5), -(-width // 5), 3))
    blocks = np.repeat(np.repeat(coarse, 5, 0), 5, 1)[:height, :width]
    return np.clip(blocks + rng.integers(-20, 21, blocks.shape), 0, 255).astype(np.uint8)


def strokes(rng, size, labels, count=5):
    scribble = np.full(size, 255, np.uint8)
    for label in np.repeat(labels, count):
        y, x = rng.integers(size[0]), rng.integers(size[1] - 3)
        scribble[y, x : x + 3] = label
    return scribble


def shares(rng, classes, size):
    probabilities = rng.random((classes, *size)).astype(np.float32) ** 3
    return probabilities / probabilities.sum(0)


@pytest.fixture
def case(rng):
    """An image, strokes of three of eight classes and a network that knows nothing of them."""
    image = picture(rng)
    return image, strokes(rng, image.shape[:2], [0, 3, 7]), shares(rng, 8, image.shape[:2])


def test_costs_are_those_of_the_docstring(case):
    image, scribble, probabilities = case
    probabilities = probabilities.copy()
    probabilities[3, :12] = 0  # -log of it has no end
    options = replace(OPTIONS, network_weight=1.7, smoothness=2.5, colour=0.2, texture=0.4)
    problem = make_problem(image, scribble, probabilities, options)
    count = problem.regions.max() + 1
    assert count > 10
    assert problem.classes.tolist() == [0, 3, 7]
    assert problem.unary.shape == (count, 3)
    assert problem.unary.dtype == problem.weights.dtype == np.int64
    for region in range(count):
        pixels = np.argwhere(problem.regions == region).tolist()
        for place, label in enumerate([0, 3, 7]):
            total = sum(-math.log(max(float(probabilities[label, y, x]), 1e-6)) for y, x in pixels)
            expected = 1.7 * total / len(pixels)
            assert problem.unary[region, place] * SMALL == pytest.approx(expected, abs=2e-4)
    looks, weave = colours(image, problem.regions), textures(image, problem.regions)
    assert len(problem.edges) > 10
    for (one, other), weight in zip(problem.edges.tolist(), problem.weights.tolist(), strict=True):
        colour = math.dist(looks[one], looks[other]) / 0.2
        texture = math.dist(weave[one], weave[other]) / 0.4
        assert weight * SMALL == pytest.approx(2.5 * math.exp(-(colour**2) - texture**2), abs=1e-4)
    assert problem.weights.max() > 0


def test_superpixels_with_strokes_have_their_most_frequent_label(case):
    image, scribble, probabilities = case
    problem = make_problem(image, scribble, probabilities, OPTIONS)
    several = 0
    for region in range(problem.regions.max() + 1):
        drawn = [int(v) for v in scribble[problem.regions == region] if v != 255]
        if not drawn:
            assert problem.fixed[region] == -1
            continue
        most = max(drawn.count(label) for label in drawn)
        first = min(label for label in drawn if drawn.count(label) == most)
        assert problem.classes[problem.fixed[region]] == first
        several += len(set(drawn)) > 1
    assert (problem.fixed == -1).any()


def test_the_most_frequent_label_wins_a_superpixel_and_the_pixels_keep_theirs():
    image = np.zeros((8, 8, 3), np.uint8)
    scribble = np.full((8, 8), 255, np.uint8)
    scribble[1, 1:6] = 4
    scribble[5, 1:4] = 2
    certain = np.full((5, 8, 8), 0.1, np.float32)
    certain[2] = 0.6
    labels = propagate(image, scribble, certain, OPTIONS)
    expected = np.full((8, 8), 4)
    expected[5, 1:4] = 2
    assert labels.tolist() == expected.tolist()


def test_labels_are_a_mask_of_the_strokes_labels(case):
    image, scribble, probabilities = case
    # The network is sure of a class without a stroke.
    probabilities = np.full_like(probabilities, 0.01)
    probabilities[5] = 0.93
    labels = propagate(image, scribble, probabilities, OPTIONS)
    assert labels.dtype == np.uint8
    assert labels.shape == image.shape[:2]
    assert set(np.unique(labels)) <= {0, 3, 7}
    drawn = scribble != 255
    assert (labels[drawn] == scribble[drawn]).all()


def test_off_the_strokes_a_superpixel_has_one_label(case):
    problem = make_problem(*case, OPTIONS)
    labels = propagate(*case, OPTIONS)
    blank = case[1] == 255
    for region in range(problem.regions.max() + 1):
        found = np.unique(labels[blank & (problem.regions == region)])
        assert len(found) <= 1
        if problem.fixed[region] >= 0:
            assert set(found) <= {problem.classes[problem.fixed[region]]}


def test_without_smoothness_each_superpixel_takes_its_cheapest(case):
    image, scribble, probabilities = case
    options = replace(OPTIONS, smoothness=0)
    problem = make_problem(image, scribble, probabilities, options)
    labels = propagate(image, scribble, probabilities, options)
    free = np.flatnonzero(problem.fixed < 0)
    assert len(free) > 5
    chosen = set()
    for region in free:
        inside = problem.regions == region
        means = {
            label: np.mean([-math.log(max(p, 1e-6)) for p in probabilities[label][inside].tolist()])
            for label in (0, 3, 7)
        }
        best = min(means, key=means.get)
        chosen.add(best)
        assert (labels[inside] == best).all()
    assert len(chosen) > 1


def test_smoothness_makes_borders_rarer(case):
    problem = make_problem(*case, replace(OPTIONS, colour=3.0, texture=3.0))
    borders = []
    for smoothness in (0.0, 0.5, 100.0):
        options = replace(OPTIONS, colour=3.0, texture=3.0, smoothness=smoothness)
        chosen, _ = expand(*make_problem(*case, options)[2:])
        borders.append(sum(chosen[a] != chosen[b] for a, b in problem.edges))
    assert borders[0] > borders[1] > borders[2]


def test_two_colours_with_a_stroke_each_are_filled_exactly(rng):
    truth = np.zeros((32, 40), np.uint8)
    y, x = np.mgrid[:32, :40]
    truth[(y - 16) ** 2 + (x - 18) ** 2 < 110] = 6
    # Squares of two shades, which are superpixels of their own and share a histogram's bin.
    shade = 6 * ((y // 5 + x // 5) % 2)[..., None]
    colour = np.array([[218, 43, 43]] * 6 + [[32, 63, 206]])[truth]
    image = (colour + shade + rng.integers(0, 2, shade.shape)).astype(np.uint8)
    scribble = np.full(truth.shape, 255, np.uint8)
    scribble[2, 3:30], scribble[16, 14:22] = 0, 6
    uninformed = np.full((9, 32, 40), 1 / 9, np.float32)
    options = replace(OPTIONS, scale=1, sigma=0, min_size=3, texture=3)
    problem = make_problem(image, scribble, uninformed, options)
    assert (problem.fixed < 0).sum() > 20
    # The superpixels keep to the colours; which of them is whose is left to the cut.
    for region in range(problem.regions.max() + 1):
        assert len(np.unique(truth[problem.regions == region])) == 1
    assert (propagate(image, scribble, uninformed, options) == truth).all()


def test_the_network_decides_where_it_is_sure(rng):
    image = picture(rng)
    scribble = np.full(image.shape[:2], 255, np.uint8)
    scribble[0, :3], scribble[-1, -3:] = 1, 2
    sure = np.full((3, *image.shape[:2]), 1e-7, np.float32)
    sure[2] = 1
    free = make_problem(image, scribble, sure, OPTIONS)
    labels = propagate(image, scribble, sure, OPTIONS)
    untouched = np.isin(free.regions, np.flatnonzero(free.fixed < 0))
    assert (labels[untouched] == 2).all()
    deaf = replace(OPTIONS, network_weight=0)
    problem = make_problem(image, scribble, sure, deaf)
    assert not problem.unary.any()


def test_energy_never_rises(case):
    problem = make_problem(*case, OPTIONS)
    chosen, energies = expand(*problem[2:])
    assert all(after <= before for before, after in pairwise(energies))
    assert energies[-1] == energy(chosen, problem.unary, problem.edges, problem.weights)
    assert len(energies) > 1
    expected = np.where(case[1] == 255, problem.classes[chosen][problem.regions], case[1])
    assert (propagate(*case, OPTIONS) == expected).all()


@pytest.mark.parametrize("label", [0, 7])
def test_one_label_fills_the_picture(label, case):
    image, _, probabilities = case
    scribble = np.full(image.shape[:2], 255, np.uint8)
    scribble[3, 4] = label
    assert (propagate(image, scribble, probabilities, OPTIONS) == label).all()


def test_strokes_everywhere_are_the_result(case, rng):
    image, _, probabilities = case
    scribble = rng.integers(0, 8, image.shape[:2]).astype(np.uint8)
    assert (propagate(image, scribble, probabilities, OPTIONS) == scribble).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2)])
def test_tiny_pictures(size, rng):
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    scribble = np.full(size, 255, np.uint8)
    scribble[0, 0] = 1
    scribble[-1, -1] = 2
    options = replace(OPTIONS, scale=1, sigma=0, min_size=1)
    labels = propagate(image, scribble, shares(rng, 3, size), options)
    assert labels.shape == size
    assert labels[-1, -1] == 2
    assert set(np.unique(labels)) <= {1, 2}


def test_is_deterministic_and_leaves_its_arguments(case):
    copies = [array.copy() for array in case]
    first = propagate(*case, OPTIONS)
    assert (propagate(*case, OPTIONS) == first).all()
    for array, copy in zip(case, copies, strict=True):
        assert (array == copy).all()
