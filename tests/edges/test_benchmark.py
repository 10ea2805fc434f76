"""ODS, OIS and AP of the BSDS500 benchmark."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpg.edges.benchmark import count, matched, score, thinned
from bpg.errors import BPGError


def canvas(*pixels, size=(9, 12)):
    found = np.zeros(size, bool)
    for pixel in pixels:
        found[pixel] = True
    return found


def test_a_pair_is_not_farther_than_the_distance():
    found, contours = canvas((2, 2)), canvas((2, 5))
    assert not matched(found, contours, 2.9)[0].any()
    hits, reached = matched(found, contours, 3)
    assert np.array_equal(hits, found)
    assert np.array_equal(reached, contours)


def test_a_contour_pixel_has_one_partner():
    hits, reached = matched(canvas((2, 2), (2, 3), (2, 4)), canvas((3, 3)), 2)
    assert (hits.sum(), reached.sum()) == (1, 1)


def test_two_people_count_the_pixel_that_is_nearest_to_each():
    """Any partner would do for each person alone; of both together, two edge pixels are right."""
    edges = np.zeros((60, 60))
    edges[30, 22] = edges[30, 26] = 1
    people = np.zeros((2, 60, 60), bool)
    people[0, 30, 23] = people[1, 30, 25] = True
    assert count(edges, people, [0.5], tolerance=3.1 / np.hypot(60, 60)).tolist() == [[2, 2, 2, 2]]


def test_as_many_pairs_as_can_be():
    """The nearest first would leave (2, 2) without a partner."""
    hits, _ = matched(canvas((2, 2), (2, 4)), canvas((2, 3), (2, 5)), 1)
    assert hits.sum() == 2


places = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=5, unique=True)


@settings(max_examples=80, deadline=None)
@given(places, places, st.floats(0, 3))
def test_equals_the_best_of_all_assignments(ones, others, distance):
    found, contours = canvas(*ones, size=(4, 4)), canvas(*others, size=(4, 4))
    few, many = sorted((ones, others), key=len)
    best = max(
        sum(np.hypot(a[0] - b[0], a[1] - b[1]) <= distance for a, b in zip(few, chosen))  # noqa: B905
        for chosen in permutations(many, len(few))
    )
    hits, reached = matched(found, contours, distance)
    assert hits.sum() == reached.sum() == best
    assert not (hits & ~found).any()
    assert not (reached & ~contours).any()


def test_counts_by_hand():
    """Two people; one has drawn half of the edge, the other something else."""
    edges = np.zeros((40, 40))
    edges[20, 10:20], edges[20, 20:30] = 0.9, 0.4
    left, away = np.zeros((2, 40, 40), bool)
    left[20, 10:20] = away[5, 10:20] = True
    counts = count(edges, [left, away], [0.2, 0.5, 0.95], tolerance=0.001)
    assert counts.tolist() == [[10, 20, 10, 20], [10, 20, 10, 10], [0, 20, 0, 0]]


def test_scores_by_hand():
    thresholds = [0.2, 0.5]
    counts = np.array(
        [
            [[10, 10, 10, 20], [5, 10, 5, 5]],  # P, R: 1/2, 1; 1, 1/2: F 2/3 each
            [[6, 10, 6, 24], [6, 10, 6, 6]],  # 1/4, 3/5; 1, 3/5: F 0.35, 0.75
        ]
    )
    found = score(counts, thresholds)
    # Together: R 16/20, P 16/44; R 11/20, P 1; best on the line between them.
    line = [(0.8 - 0.25 * a, 16 / 44 + 28 / 44 * a) for a in np.linspace(0, 1, 100)]
    assert found.ods == pytest.approx(max(2 * r * p / (r + p) for r, p in line))
    assert 0.45 < found.threshold < 0.5
    # The first image at the first threshold, the second at the second: R 16/20, P 16/26.
    assert found.ois == pytest.approx(2 * 0.8 * (16 / 26) / (0.8 + 16 / 26))
    # Precision 1 at a recall of 0.55, 16/44 at 0.8, a line between them, nothing elsewhere.
    curve = [1 + (r - 0.55) / 0.25 * (16 / 44 - 1) for r in np.linspace(0.55, 0.8, 26)]
    assert found.ap == pytest.approx(sum(curve) / 100)


def test_the_best_threshold_may_lie_between_two():
    counts = np.array([[[10, 10, 10, 40], [2, 10, 2, 2]]])  # R, P: 1, 1/4; 1/5, 1
    found = score(counts, [0.2, 0.6])
    best = max(
        2 * r * p / (r + p)
        for a in np.linspace(0, 1, 100)
        for r, p in [(1 - 0.8 * a, 0.25 + 0.75 * a)]
    )
    assert found.ods == pytest.approx(best)
    assert found.ods > 0.5
    assert 0.2 < found.threshold < 0.6


def test_a_perfect_detector_scores_one_but_for_the_area():
    contours = np.zeros((40, 40), bool)
    contours[20, 8:32] = True
    counts = np.stack([count(contours.astype(float), [contours], [0.5, 0.9])] * 2)
    found = score(counts, [0.5, 0.9])
    assert (found.ods, found.ois) == (1, 1)
    assert found.ap == pytest.approx(0.01)  # one recall is no curve


@pytest.mark.parametrize("turned", [False, True])
def test_a_blurred_line_becomes_one_pixel_wide(turned):
    across = np.exp(-(np.arange(-20, 21) ** 2) / 8)
    edges = np.tile(across[:, None], (1, 41))
    lines = thinned(edges.T if turned else edges)
    lines = lines.T if turned else lines
    inside = lines[:, 6:-6]
    assert (inside[20] == 1).all()
    assert inside[np.arange(41) != 20].max() < 1e-3
    assert not lines[:, 0].any()  # fades at the border


def test_other_sizes_are_refused():
    with pytest.raises(BPGError, match="contours of"):
        count(np.zeros((4, 4)), [np.zeros((4, 5), bool)], [0.5])
