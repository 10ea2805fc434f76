"""Minimum spanning trees of pixel grids, and filtering along their paths."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree


@dataclass(frozen=True)
class Forest:
    """A minimum spanning tree of each picture of a batch, all hung from one made-up root.

    In breadth-first order: `order` (N·P) names the node at each place behind the root, `parents`
    (N·P) the place of its parent (0 is the root), `affinities` (N·P) = exp(-weight) of the edge
    to it, 0 to the root; `levels` are the first places of each depth and the end.
    """

    order: torch.Tensor
    parents: torch.Tensor
    affinities: torch.Tensor
    levels: tuple[int, ...]


@torch.no_grad()
def span(maps: torch.Tensor, valid: torch.Tensor, sigma: float) -> Forest:
    """Build the trees of maps (N, F, h, w) on the grid of four neighbours.

    An edge weighs |f_i - f_j|² / `sigma`; one that touches an invalid pixel (`valid` (N, h, w)
    bool) is infinitely long and taken last, so that the valid pixels, which must hang together,
    have a tree of their own. The trees themselves are found on the CPU (SciPy).
    """
    count, _, height, width = maps.shape
    nodes = count * height * width
    places = np.arange(nodes).reshape(count, height, width)
    across = (maps[..., 1:] - maps[..., :-1]).square().sum(1)
    down = (maps[..., 1:, :] - maps[..., :-1, :]).square().sum(1)
    weights = torch.cat([across.flatten(), down.flatten()]).double().cpu().numpy() / sigma
    usable = torch.cat(
        [
            (valid[..., 1:] & valid[..., :-1]).flatten(),
            (valid[:, 1:] & valid[:, :-1]).flatten(),
        ]
    )
    weights = np.where(usable.cpu().numpy(), weights, weights.max(initial=0) + 1)
    first = np.concatenate([places[..., :-1].ravel(), places[:, :-1].ravel()])
    second = np.concatenate([places[..., 1:].ravel(), places[:, 1:].ravel()])
    # Every spanning tree has as many edges, so that one more for each changes no minimum; SciPy
    # takes a weight of zero for a missing edge.
    grid = csr_array((1 + weights, (first, second)), shape=(nodes, nodes))
    tree = minimum_spanning_tree(grid).tocoo()
    roots = places[:, 0, 0]
    hung = csr_array(
        (
            np.ones(len(tree.data) + count),
            (
                np.concatenate([tree.row + 1, np.zeros(count, int)]),
                np.concatenate([tree.col + 1, roots + 1]),
            ),
        ),
        shape=(nodes + 1, nodes + 1),
    )
    order, parents = breadth_first_order(hung, 0, directed=False)
    place = np.empty(nodes + 1, int)
    place[order] = np.arange(nodes + 1)
    parent_places = place[parents[order[1:]]]
    levels = [1]
    while levels[-1] <= nodes:
        # Parents stand in order, so a level's children follow each other.
        levels.append(1 + int(np.searchsorted(parent_places, levels[-1])))
    order_of_pixels = torch.from_numpy(order[1:].astype(np.int64) - 1).to(maps.device)
    parent_places = torch.from_numpy(parent_places.astype(np.int64)).to(maps.device)
    vectors = maps.flatten(2).transpose(1, 2).reshape(nodes, -1)[order_of_pixels]
    usable = valid.flatten()[order_of_pixels]
    # Place 0 is the made-up root, to which no value goes.
    above = torch.cat([vectors[:1], vectors])[parent_places]
    usable = usable & torch.cat([usable.new_zeros(1), usable])[parent_places]
    affinities = ((vectors - above).square().sum(1) / -sigma).exp().where(usable, 0)
    return Forest(order_of_pixels, parent_places, affinities, tuple(levels))


@torch.no_grad()
def tree_sums(forest: Forest, maps: torch.Tensor) -> torch.Tensor:
    """Return at each pixel i the sum over j of its picture of exp(-D_ij) · maps_j, (N, C, h, w).

    D_ij is the sum of the weights along the path from i to j (Yang, "Stereo Matching Using Tree
    Filtering", PAMI 2015): once from the leaves to the root, once back; linear in the nodes.
    """
    values = maps.flatten(2).transpose(1, 2).reshape(-1, maps.shape[1])  # a row for each node
    below = torch.cat([values.new_zeros(1, values.shape[1]), values[forest.order]])
    weights = torch.cat([forest.affinities.new_zeros(1), forest.affinities]).to(values.dtype)
    weights = weights[:, None]
    parents = torch.cat([forest.parents.new_zeros(1), forest.parents])
    spans = [slice(a, b) for a, b in zip(forest.levels, forest.levels[1:], strict=False)]
    for nodes in reversed(spans):
        below.index_add_(0, parents[nodes], weights[nodes] * below[nodes])
    total = below.clone()
    for nodes in spans:
        total[nodes] += weights[nodes] * (total[parents[nodes]] - weights[nodes] * below[nodes])
    sums = torch.empty_like(values)
    sums[forest.order] = total[1:]
    return sums.view(len(maps), -1, maps.shape[1]).transpose(1, 2).reshape(maps.shape)
