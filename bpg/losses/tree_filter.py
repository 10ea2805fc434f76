"""Minimum spanning trees of pixel grids, and filtering along their paths."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

LEAST = 1e-30
"""Products of affinities up to this count as 0: they are nothing beside a pixel's own 1.

Smaller ones come near float32's denormal numbers, with which a CPU is many times as slow.
"""


@dataclass(frozen=True)
class Jump:
    """The ways up by one number of levels, from every node that lies deep enough.

    In breadth-first order these `nodes` (places) are all from some place on, and the places of
    their `ancestors` so many levels up never fall. `products` are of the affinities on the way.
    So the nodes with the same ancestor follow each other: those of place 1 + i are
    nodes[offsets[i]:offsets[i + 1]]; offsets end with the last place that has any.
    """

    nodes: torch.Tensor
    ancestors: torch.Tensor
    products: torch.Tensor
    offsets: torch.Tensor


@dataclass(frozen=True)
class Forest:
    """A minimum spanning tree of each image of a batch, all hung from one made-up root.

    In breadth-first order: `order` (N·P) names the node at each place behind the root, `places`
    (N·P) the place of each node; `parents` (N·P) are the places of the parents (0 is the root),
    `affinities` (N·P) = exp(-weight) of the edge to them, 0 to the root; `levels` are the first
    places of each depth and the end. `jumps` reach 1, 2, 4, … levels up, as far as the deepest
    tree goes.
    """

    order: torch.Tensor
    places: torch.Tensor
    parents: torch.Tensor
    affinities: torch.Tensor
    levels: tuple[int, ...]
    jumps: tuple[Jump, ...]


@torch.no_grad()
def span(maps: torch.Tensor, valid: torch.Tensor, sigma: float) -> Forest:
    """Build the trees of maps (N, F, h, w) on the grid of four neighbours.

    An edge weighs |f_i - f_j|² / `sigma`; one that touches an invalid pixel (`valid` (N, h, w)
    bool) is infinitely long and taken last, so that the valid pixels, which must hang together,
    have a tree of their own. The trees themselves are found on the CPU (SciPy).
    """
    across = (maps[..., 1:] - maps[..., :-1]).square_().sum(1)
    down = (maps[..., 1:, :] - maps[..., :-1, :]).square_().sum(1)
    across = across.where(valid[..., 1:] & valid[..., :-1], torch.inf)
    down = down.where(valid[:, 1:] & valid[:, :-1], torch.inf)
    # One copy from the device, for each waits until the device has done all before it.
    weights = torch.cat([across.flatten(), down.flatten()]).double().cpu().numpy() / sigma
    return make_forest(*grow(weights, tuple(valid.shape)), like=maps)


def grow(weights: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a `Forest`'s order, parents and affinities for `shape` (N, h, w), on the CPU alone.

    weights: of all edges across, (N, h, w-1), then of all down, (N, h-1, w), flat; infinite where
    no value may pass.
    """
    places = 1 + np.arange(np.prod(shape)).reshape(shape)
    roots = places[:, 0, 0]
    first = [places[..., :-1].ravel(), places[:, :-1].ravel(), np.zeros_like(roots)]
    second = [places[..., 1:].ravel(), places[:, 1:].ravel(), roots]
    # Every spanning tree has as many edges, so that one more for each changes no minimum; SciPy
    # takes a weight of zero for a missing edge. The made-up root is node 0, infinitely far.
    lengths = np.concatenate([1 + weights, np.full(len(roots), np.inf)])
    edges = (np.concatenate(first), np.concatenate(second))
    tree = minimum_spanning_tree(csr_array((lengths, edges), shape=(places.size + 1,) * 2))
    order, parents = breadth_first_order(tree, 0, directed=False)
    place = np.empty(places.size + 1, np.int64)
    place[order] = np.arange(places.size + 1)
    # Of an edge's two ends the later one is the child.
    tree = tree.tocoo()
    affinities = np.empty(places.size)
    affinities[np.maximum(place[tree.row], place[tree.col]) - 1] = np.exp(1 - tree.data)
    return order[1:].astype(np.int64) - 1, place[parents[order[1:]]], affinities


def make_forest(
    order: np.ndarray, parents: np.ndarray, affinities: np.ndarray, like: torch.Tensor
) -> Forest:
    """Make the Forest of these fields, on the device and with the dtype of `like`.

    order (N·P); parents (N·P), which must never fall, as in breadth-first order; affinities (N·P).
    """
    count = len(order)
    places = np.empty(count, np.int64)
    places[order] = np.arange(1, count + 1)
    # behind[p] is the place of the first node whose parent is at p or later: as parents never
    # fall, the children of p are the places behind[p] to behind[p + 1] - 1.
    behind = 1 + np.concatenate([[0], np.cumsum(np.bincount(parents, minlength=count + 1))])
    levels = [1]
    while levels[-1] <= count:
        levels.append(int(behind[levels[-1]]))

    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values).to(like.device)

    ways, products = tensor(parents), torch.from_numpy(affinities).to(like)
    jumps = _jumps(ways, products, tensor(behind), levels)
    return Forest(tensor(order), tensor(places), ways, products, tuple(levels), jumps)


def _jumps(
    parents: torch.Tensor, affinities: torch.Tensor, behind: torch.Tensor, levels: list[int]
) -> tuple[Jump, ...]:
    ancestors = F.pad(parents, (1, 0))  # the root's is the root
    products = F.pad(affinities, (1, 0))
    nodes = torch.arange(len(ancestors), device=parents.device)
    deepest = len(levels) - 2
    jumps, reach = [], 1
    while reach <= deepest:
        products = F.threshold(products, LEAST, 0.0)
        start, end = levels[reach], levels[deepest - reach + 1]
        jumps.append(
            Jump(nodes[start:], ancestors[start:], products[start:], behind[1 : end + 1] - start)
        )
        # `index_select`, for on a CPU brackets take twice as long or more.
        products = products * products.index_select(0, ancestors)
        ancestors = ancestors.index_select(0, ancestors)
        # An ancestor's ancestor is at p or later if and only if the ancestor is at behind[p] or
        # later.
        behind = behind.index_select(0, behind)
        reach *= 2
    return tuple(jumps)


@torch.no_grad()
def tree_sums(forest: Forest, maps: torch.Tensor) -> torch.Tensor:
    """Return at each pixel i the sum over j of its image of exp(-D_ij) · maps_j, (N, C, h, w).

    D_ij is the sum of the weights along the path from i to j (Yang, "Stereo Matching Using Tree
    Filtering", PAMI 2015): once from the leaves to the root, once back. Not level by level, for
    there are hundreds of levels and a GPU would be launched for each, but in jumps of 1, 2, 4, …
    levels. maps must have the dtype of the forest. Sums are taken in the same order in each run.
    """
    values = maps.flatten(2).transpose(1, 2).reshape(-1, maps.shape[1])  # a row for each node
    root = values.new_zeros(1, values.shape[1])
    sums = torch.cat([root, values.index_select(0, forest.order)])
    # Up: B_i is the sum of v over i and all below it, times the affinities on the way. Before the
    # jump by r levels, a node's sum has all that is less than r below it. What is r to 2r - 1
    # below it is less than r below just one node that is r below it: the jump adds it, once.
    # A bag is summed in order; on a GPU index_add_ either is not, or sorts each time.
    for jump in forest.jumps:
        below = F.embedding_bag(
            jump.nodes,
            sums,
            jump.offsets,
            mode="sum",
            per_sample_weights=jump.products,
            include_last_offset=True,
        )
        sums[1 : 1 + len(below)].add_(below)
    # Down: T_i = B_i + w_i (T_p - w_i B_i) with p the parent of i, for T_p has what is below i
    # already. So T_i is the sum of (1 - w²) B over i and all above it, times the affinities on
    # the way, and grows by the same jumps.
    sums[1:].mul_((1 - forest.affinities.square())[:, None])
    for jump in forest.jumps:
        above = sums.index_select(0, jump.ancestors)
        sums[-len(above) :].addcmul_(jump.products[:, None], above)
    values = sums.index_select(0, forest.places)
    return values.view(len(maps), -1, maps.shape[1]).transpose(1, 2).reshape(maps.shape)
