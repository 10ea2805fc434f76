import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpg.inference.uncertainty import uncertain_regions, uncertainty


def test_the_entropy_by_hand():
    probabilities = np.array([[[1.0, 0.25, 0.5]], [[0.0, 0.25, 0.5]]] + [[[0, 0.25, 0]]] * 2)
    found = uncertainty(probabilities.astype(np.float32))
    assert found.shape == (1, 3)
    assert found[0] == pytest.approx([0, 1, 0.5], abs=1e-6)


def fog(height, width, *squares):
    """Sure of label 0 everywhere but in squares (top, left, side, other label)."""
    probabilities = np.zeros((4, height, width), np.float32)
    probabilities[0] = 1
    for top, left, side, other in squares:
        probabilities[0, top : top + side, left : left + side] = 0.6
        probabilities[other, top : top + side, left : left + side] = 0.4
    return probabilities


def test_the_most_uncertain_squares_come_first():
    # The second one is half as large as a square of regions: half as uncertain on average.
    probabilities = fog(50, 100, (10, 60, 20, 2), (5, 5, 10, 3))
    first, second = uncertain_regions(probabilities, 2)
    assert (first.left, first.top, first.width, first.height) == (60, 10, 20, 20)
    assert first.labels == (0, 2)
    assert second.labels == (0, 3)
    assert second.left <= 5 < second.left + second.width
    assert first.uncertainty == pytest.approx(4 * second.uncertainty)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 5), st.floats(0.01, 1))
def test_squares_lie_inside_and_do_not_overlap(height, width, number, share):
    rng = np.random.default_rng([height, width, number])
    probabilities = rng.dirichlet(np.ones(3), (height, width)).transpose(2, 0, 1)
    regions = uncertain_regions(probabilities.astype(np.float32), number, share)
    assert len(regions) <= number
    assert bool(regions) == bool(number)
    taken = np.zeros((height, width), int)
    for region in regions:
        assert region.left >= 0
        assert region.top >= 0
        assert region.left + region.width <= width
        assert region.top + region.height <= height
        taken[region.top :, region.left :][: region.height, : region.width] += 1
    assert taken.max() <= 1
    values = [region.uncertainty for region in regions]
    assert values == sorted(values, reverse=True)
