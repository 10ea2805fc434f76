"""Minimum-energy labels on a graph by α-expansion (Boykov, Veksler and Zabih, PAMI 2001)."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from bpg.errors import BPGError

Costs = NDArray[np.int64]


def energy(
    labels: NDArray[np.int64], unary: Costs, edges: NDArray[np.int64], weights: Costs
) -> int:
    """Return sum_i unary[i, labels_i] + the weights of the edges whose ends have different labels.

    All costs are integers, so that energies are compared exactly.

    Args:
        labels: (nodes,).
        unary: Cost of each label at each node (nodes, labels).
        edges: Pairs of nodes (edges, 2).
        weights: (edges,), at least 0.
    """
    cut = labels[edges[:, 0]] != labels[edges[:, 1]]
    return int(unary[np.arange(len(labels)), labels].sum() + weights[cut].sum())


def expand(
    unary: Costs,
    edges: NDArray[np.int64],
    weights: Costs,
    fixed: NDArray[np.int64],
    start: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.int64], list[int]]:
    """Minimise `energy` by expansion moves.

    With two labels the result is the minimum. With more, no change of any set of nodes to one label
    lowers the energy further, and it is at most twice the minimum (where unary costs are not
    negative).

    Args:
        unary: Cost of each label at each node (nodes, labels).
        edges: Pairs of nodes (edges, 2).
        weights: (edges,), at least 0.
        fixed: The labels (nodes,) of nodes that keep theirs, -1 for the others.
        start: The initial labels (nodes,) of the others; by default each node's cheapest.

    Returns:
        The labels (nodes,), and the energies: the initial one, then one for each accepted move,
        each lower than the one before.

    Raises:
        BPGError: The sum of the costs comes near 32 bits, in which SciPy's maximum flow counts.
    """
    labels = np.where(fixed >= 0, fixed, unary.argmin(1) if start is None else start)
    if int(np.abs(unary).max(1).sum()) + 4 * int(weights.sum()) >= 2**30:
        raise BPGError("the graph cut's costs are too large; lower network_weight or smoothness")
    energies = [energy(labels, unary, edges, weights)]
    count, last = unary.shape[1], 0
    number = 0
    # Until every label has been tried without success since the last change.
    while number - last < count:
        moved = _best_move(labels, number % count, unary, edges, weights, fixed)
        value = energy(moved, unary, edges, weights)
        number += 1
        if value < energies[-1]:
            labels, last = moved, number
            energies.append(value)
    return labels, energies


def _best_move(
    labels: NDArray[np.int64],
    alpha: int,
    unary: Costs,
    edges: NDArray[np.int64],
    weights: Costs,
    fixed: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return the best labelling that changes free nodes to `alpha` only, by one minimum cut."""
    free = np.flatnonzero((fixed < 0) & (labels != alpha))
    if not len(free):
        return labels
    place = np.full(len(labels), -1)
    place[free] = np.arange(len(free))
    # What changing costs a node, beyond what staying does.
    change = unary[free, alpha] - unary[free, labels[free]]
    first, second = edges.T
    # Edges with one free end: the other end keeps its label.
    for one, other in ((first, second), (second, first)):
        lone = (place[one] >= 0) & (place[other] < 0)
        differs = (labels[other[lone]] != alpha).astype(np.int64)
        differed = (labels[other[lone]] != labels[one[lone]]).astype(np.int64)
        np.add.at(change, place[one[lone]], weights[lone] * (differs - differed))
    # Two free ends: w·[labels differ] if both stay, w if one changes, 0 if both do.
    both = (place[first] >= 0) & (place[second] >= 0)
    one, other, w = place[first[both]], place[second[both]], weights[both]
    stay = w * (labels[first[both]] != labels[second[both]])
    # = stay + (w - stay)·x_one - w·x_other + (2w - stay)·(1 - x_one)·x_other, x = "changes".
    np.add.at(change, one, w - stay)
    np.add.at(change, other, -w)
    source, sink = len(free), len(free) + 1
    # A node on the source's side keeps its label. Cutting source → node costs what changing costs.
    nodes = np.arange(len(free))
    tails = np.concatenate([one, np.full(len(free), source), nodes])
    heads = np.concatenate([other, nodes, np.full(len(free), sink)])
    capacities = np.concatenate([2 * w - stay, np.maximum(change, 0), np.maximum(-change, 0)])
    size = len(free) + 2
    network = csr_array((capacities, (tails, heads)), shape=(size, size)).astype(np.int32)
    network.sum_duplicates()
    network.eliminate_zeros()
    rest = network - maximum_flow(network, source, sink).flow
    rest.data[rest.data < 0] = 0
    rest.eliminate_zeros()
    stays = breadth_first_order(rest, source, return_predecessors=False)
    moved = labels.copy()
    moved[free] = alpha
    kept = free[stays[stays < len(free)]]
    moved[kept] = labels[kept]
    return moved
