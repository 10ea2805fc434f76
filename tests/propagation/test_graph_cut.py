from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpg.errors import BPGError
from bpg.propagation.graph_cut import energy, expand

NO_EDGES = np.zeros((0, 2), np.int64)


def cost(labels, unary, edges, weights):
    """The energy, node by node and edge by edge."""
    total = sum(int(unary[node][label]) for node, label in enumerate(labels))
    for (one, other), weight in zip(edges, weights, strict=True):
        if labels[one] != labels[other]:
            total += int(weight)
    return total


def allowed(fixed, count):
    """All labellings that keep the fixed nodes' labels."""
    choices = [range(count) if label < 0 else [label] for label in fixed]
    return product(*choices)


def moves(labels, fixed, count):
    """All labellings in which some free nodes have changed to one label."""
    free = [node for node, label in enumerate(fixed) if label < 0]
    for alpha in range(count):
        for changes in product([False, True], repeat=len(free)):
            moved = list(labels)
            for node, change in zip(free, changes, strict=True):
                if change:
                    moved[node] = alpha
            yield moved


@st.composite
def problems(draw, labels, most=6):
    """(unary, edges, weights, fixed) of a graph; ties, loose nodes and zero weights are common."""
    nodes = draw(st.integers(1, most))
    pairs = [(one, other) for one in range(nodes) for other in range(one + 1, nodes)]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    costs = st.one_of(st.integers(0, 3), st.integers(0, 10_000))
    unary = [[draw(costs) for _ in range(labels)] for _ in range(nodes)]
    weights = [draw(costs) for _ in edges]
    fixed = [draw(st.sampled_from([-1, -1, -1, *range(labels)])) for _ in range(nodes)]
    return (
        np.array(unary, np.int64),
        np.array(edges, np.int64).reshape(-1, 2),
        np.array(weights, np.int64),
        np.array(fixed, np.int64),
    )


def check(problem, labels, energies):
    unary, edges, weights, fixed = problem
    assert labels.shape == fixed.shape
    assert ((labels >= 0) & (labels < unary.shape[1])).all()
    assert (labels[fixed >= 0] == fixed[fixed >= 0]).all()
    start = np.where(fixed >= 0, fixed, unary.argmin(1))
    assert energies[0] == cost(start, unary, edges, weights)
    assert all(after < before for before, after in pairwise(energies))
    assert energies[-1] == cost(labels, unary, edges, weights)


@settings(deadline=None)
@given(problems(3))
def test_energy_is_the_sum_over_nodes_and_edges(problem):
    unary, edges, weights, fixed = problem
    labels = np.where(fixed >= 0, fixed, 0)
    found = energy(labels, unary, edges, weights)
    assert isinstance(found, int)
    assert found == cost(labels, unary, edges, weights)


@settings(deadline=None, max_examples=200)
@given(problems(2))
def test_two_labels_are_solved_exactly(problem):
    unary, edges, weights, fixed = problem
    labels, energies = expand(*problem)
    check(problem, labels, energies)
    least = min(cost(one, unary, edges, weights) for one in allowed(fixed, 2))
    assert energies[-1] == least


@settings(deadline=None, max_examples=150)
@given(problems(3, most=5))
def test_three_labels_end_where_no_move_helps(problem):
    unary, edges, weights, fixed = problem
    labels, energies = expand(*problem)
    check(problem, labels, energies)
    best_move = min(cost(one, unary, edges, weights) for one in moves(labels, fixed, 3))
    assert energies[-1] <= best_move
    least = min(cost(one, unary, edges, weights) for one in allowed(fixed, 3))
    assert least <= energies[-1] <= 2 * least


def grid(height, width):
    places = np.arange(height * width).reshape(height, width)
    across = np.stack([places[:, :-1].ravel(), places[:, 1:].ravel()], axis=1)
    down = np.stack([places[:-1].ravel(), places[1:].ravel()], axis=1)
    return np.concatenate([across, down])


def hard_problem(rng, labels=4, size=(3, 3)):
    """Strong edges against strong unary costs, which single changes don't solve."""
    edges = grid(*size)
    unary = rng.integers(0, 100, (size[0] * size[1], labels))
    return unary, edges, rng.integers(0, 80, len(edges)), np.full(len(unary), -1)


def test_moves_many_nodes_at_once(rng):
    """Where no single node's change helps but a set's does."""
    found = 0
    for _ in range(40):
        unary, edges, weights, fixed = hard_problem(rng, labels=3, size=(2, 3))
        labels, energies = expand(unary, edges, weights, fixed)
        assert energies[-1] <= min(
            cost(one, unary, edges, weights) for one in moves(labels, fixed, 3)
        )
        least = min(cost(one, unary, edges, weights) for one in allowed(fixed, 3))
        assert energies[-1] <= 2 * least
        found += energies[-1] == least
    # Expansion is not exact for three labels, but on such graphs nearly always.
    assert found >= 35


def test_one_cut_changes_a_whole_chain():
    """Each node prefers 0 by a little, the end is held at 1 by strong edges: all must follow."""
    unary = np.array([[0, 3]] * 6)
    edges = np.array([[i, i + 1] for i in range(5)])
    fixed = np.array([1, -1, -1, -1, -1, -1])
    labels, energies = expand(unary, edges, np.full(5, 100), fixed)
    assert labels.tolist() == [1] * 6
    assert energies == [103, 18]
    labels, energies = expand(unary, edges, np.full(5, 14), fixed)
    assert labels.tolist() == [1, 0, 0, 0, 0, 0]
    assert energies == [17]


def test_fixed_nodes_keep_labels_that_cost_more(rng):
    unary, edges, weights, fixed = hard_problem(rng)
    fixed[[0, 4, 8]] = 0, 3, 1
    unary[[0, 4, 8], [0, 3, 1]] = 100_000
    labels, _ = expand(unary, edges, weights, fixed)
    assert labels[[0, 4, 8]].tolist() == [0, 3, 1]
    all_of_them = rng.integers(0, 4, 9)
    labels, energies = expand(unary, edges, weights, all_of_them)
    assert (labels == all_of_them).all()
    assert len(energies) == 1


@pytest.mark.parametrize("weights", ["none", "zero"])
def test_without_neighbours_every_node_takes_its_cheapest(weights, rng):
    unary, edges, ones, fixed = hard_problem(rng)
    if weights == "none":
        edges, ones = NO_EDGES, np.zeros(0, np.int64)
    labels, energies = expand(unary, edges, 0 * ones, fixed)
    assert (labels == unary.argmin(1)).all()
    assert energies == [unary.min(1).sum()]


def test_a_node_alone_takes_its_cheapest(rng):
    unary, edges, weights, _ = hard_problem(rng)
    unary = np.concatenate([unary, [[9, 8, 7, 6]]])
    labels, _ = expand(unary, edges, weights, np.full(10, -1))
    assert labels[9] == 3


def test_one_label():
    unary = np.array([[5], [7]])
    labels, energies = expand(unary, np.array([[0, 1]]), np.array([3]), np.array([-1, 0]))
    assert labels.tolist() == [0, 0]
    assert energies == [12]


def test_a_start_is_improved(rng):
    unary, edges, weights, fixed = hard_problem(rng)
    fixed[2] = 1
    start = rng.integers(0, 4, 9)
    labels, energies = expand(unary, edges, weights, fixed, start)
    begun = np.where(fixed >= 0, fixed, start)
    assert energies[0] == cost(begun, unary, edges, weights)
    assert energies[-1] == cost(labels, unary, edges, weights) < energies[0]
    assert energies[-1] <= min(cost(one, unary, edges, weights) for one in moves(labels, fixed, 4))
    again, same = expand(unary, edges, weights, fixed, labels)
    assert (again == labels).all()
    assert same == [energies[-1]]


def test_arguments_stay_as_they_are(rng):
    problem = hard_problem(rng)
    start = rng.integers(0, 4, 9)
    copies = [array.copy() for array in (*problem, start)]
    expand(*problem, start)
    for array, copy in zip((*problem, start), copies, strict=True):
        assert (array == copy).all()


def test_is_deterministic_and_takes_large_costs(rng):
    """Costs as `propagate` makes them: up to 14 · 10,000 a node, hundreds of nodes."""
    edges = grid(20, 30)
    unary = rng.integers(0, 140_000, (600, 5))
    weights = rng.integers(0, 20_000, len(edges))
    fixed = np.where(rng.random(600) < 0.05, rng.integers(0, 5, 600), -1)
    labels, energies = expand(unary, edges, weights, fixed)
    check((unary, edges, weights, fixed), labels, energies)
    again, same = expand(unary, edges, weights, fixed)
    assert (again == labels).all()
    assert same == energies
    assert len(energies) > 2
    # At least as good as the best label of each node by itself, given all the others.
    for node in np.flatnonzero(fixed < 0)[::7]:
        for label in range(5):
            changed = labels.copy()
            changed[node] = label
            assert energy(changed, unary, edges, weights) >= energies[-1]


def test_renaming_nodes_and_turning_edges_changes_no_minimum(rng):
    unary, edges, weights, fixed = hard_problem(rng, labels=2)
    _, energies = expand(unary, edges, weights, fixed)
    order = rng.permutation(9)
    place = np.argsort(order)
    turned = place[edges][:, ::-1]
    labels, renamed = expand(unary[order], turned, weights, fixed)
    assert renamed[-1] == energies[-1]
    assert cost(labels[place], unary, edges, weights) == energies[-1]


def test_costs_that_would_overflow_the_flow_are_refused():
    unary = np.full((4, 2), 2**29)
    edges, weights = np.array([[0, 1]]), np.array([1])
    with pytest.raises(BPGError, match="too large"):
        expand(unary, edges, weights, np.full(4, -1))
