"""Minimum spanning trees of pixel grids, and filtering along their paths."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

LEAST = 1e-30
"""Products of affinities up to this count as 0: they are negligible beside a pixel's own 1.

Smaller ones come near float32's denormal numbers, with which a CPU is many times slower.
"""


@dataclass(frozen=True)
class Jump:
    """The paths up by a fixed number of levels, from every node that is deep enough.

    In breadth-first order, these nodes are all those from some place on, and the places of their
    ancestors never decrease. So the nodes with the same ancestor are consecutive: those whose
    ancestor is at place 1 + i are nodes[offsets[i]:offsets[i + 1]].

    Attributes:
        nodes: Their places (n), int64.
        ancestors: The places (n) of their ancestors that many levels up, int64.
        products: The product (n) of the affinities along each path.
        offsets: int64; they end with the last place that has such nodes.
    """

    nodes: torch.Tensor
    ancestors: torch.Tensor
    products: torch.Tensor
    offsets: torch.Tensor


@dataclass(frozen=True)
class Forest:
    """A minimum spanning tree for each image of a batch, all below one artificial root.

    The N·P nodes are the pixels of all images; a place is a position in breadth-first order, where
    the root has place 0.

    Attributes:
        order: The node (N·P) at each place after the root, int64.
        places: The place (N·P) of each node, int64.
        parents: The place (N·P) of the parent of each place's node, int64.
        affinities: exp(-weight) (N·P) of the edge to that parent, 0 to the root.
        levels: The first place of each depth, and the end.
        jumps: Those of 1, 2, 4, … levels, up to the depth of the deepest tree.
    """

    order: torch.Tensor
    places: torch.Tensor
    parents: torch.Tensor
    affinities: torch.Tensor
    levels: tuple[int, ...]
    jumps: tuple[Jump, ...]


@torch.no_grad()
def span(maps: torch.Tensor, valid: torch.Tensor, sigma: float) -> Forest:
    """Build the minimum spanning trees of a batch on the 4-connected grid.

    An edge that touches an invalid pixel is infinitely long and taken last, so that the valid
    pixels, which must be connected, form a tree of their own. The trees themselves are found on the
    CPU (SciPy).

    Args:
        maps: f (N, F, h, w); an edge weighs |f_i - f_j|² / `sigma`.
        valid: (N, h, w) bool.
        sigma: Divides the squared differences.

    Returns:
        The trees, on the device and with the dtype of `maps`.
    """
    across = (maps[..., 1:] - maps[..., :-1]).square_().sum(1)
    down = (maps[..., 1:, :] - maps[..., :-1, :]).square_().sum(1)
    across = across.where(valid[..., 1:] & valid[..., :-1], torch.inf)
    down = down.where(valid[:, 1:] & valid[:, :-1], torch.inf)
    # A single copy from the device, as each one waits until the device has caught up.
    weights = torch.cat([across.flatten(), down.flatten()]).double().cpu().numpy() / sigma
    return make_forest(*grow(weights, tuple(valid.shape)), like=maps)


def grow(weights: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the minimum spanning trees, on the CPU.

    Args:
        weights: Of all horizontal edges (N, h, w-1), then of all vertical ones (N, h-1, w), flat;
            infinite where no value may pass.
        shape: (N, h, w).

    Returns:
        Order, parents and affinities of a `Forest`.
    """
    places = 1 + np.arange(np.prod(shape)).reshape(shape)
    roots = places[:, 0, 0]
    first = [places[..., :-1].ravel(), places[:, :-1].ravel(), np.zeros_like(roots)]
    second = [places[..., 1:].ravel(), places[:, 1:].ravel(), roots]
    # All spanning trees have the same number of edges, so that adding 1 to each weight changes no
    # minimum; SciPy takes a weight of zero for a missing edge. The artificial root is node 0,
    # infinitely far away.
    lengths = np.concatenate([1 + weights, np.full(len(roots), np.inf)])
    edges = (np.concatenate(first), np.concatenate(second))
    tree = minimum_spanning_tree(csr_array((lengths, edges), shape=(places.size + 1,) * 2))
    order, parents = breadth_first_order(tree, 0, directed=False)
    place = np.empty(places.size + 1, np.int64)
    place[order] = np.arange(places.size + 1)
    # Of an edge's two ends, the later one is the child.
    tree = tree.tocoo()
    affinities = np.empty(places.size)
    affinities[np.maximum(place[tree.row], place[tree.col]) - 1] = np.exp(1 - tree.data)
    return order[1:].astype(np.int64) - 1, place[parents[order[1:]]], affinities


def make_forest(
    order: np.ndarray, parents: np.ndarray, affinities: np.ndarray, like: torch.Tensor
) -> Forest:
    """Make a `Forest` of what `grow` returns.

    Args:
        order: The node (N·P) at each place after the root, int64.
        parents: The places (N·P) of the parents, int64. They must never decrease, as is the case in
            breadth-first order.
        affinities: (N·P), of the edges to the parents.
        like: Gives the device, and the dtype of the affinities.
    """
    count = len(order)
    places = np.empty(count, np.int64)
    places[order] = np.arange(1, count + 1)
    # behind[p] is the place of the first node whose parent is at p or later: as parents never
    # decrease, the children of p are at the places behind[p] to behind[p + 1] - 1.
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
        # `index_select`, as on a CPU indexing with brackets takes at least twice as long.
        products = products * products.index_select(0, ancestors)
        ancestors = ancestors.index_select(0, ancestors)
        # An ancestor's ancestor is at p or later if and only if the ancestor is at behind[p] or
        # later.
        behind = behind.index_select(0, behind)
        reach *= 2
    return tuple(jumps)


@torch.no_grad()
def tree_sums(forest: Forest, maps: torch.Tensor) -> torch.Tensor:
    """Return, at each pixel i, the sum of exp(-D_ij) · maps_j over all pixels j of its image.

    D_ij is the sum of the weights along the path from i to j. The sums go once from the leaves to
    the root and once back (Yang, "Stereo Matching Using Tree Filtering", PAMI 2015); not level by
    level, as there are hundreds of levels, each with its own kernel launches on a GPU, but in jumps
    of 1, 2, 4, … levels. Terms are added in the same order in each run.

    Args:
        forest: The trees of the same N images.
        maps: (N, C, h, w), of the forest's dtype.

    Returns:
        (N, C, h, w).
    """
    values = maps.flatten(2).transpose(1, 2).reshape(-1, maps.shape[1])  # a row for each node
    root = values.new_zeros(1, values.shape[1])
    sums = torch.cat([root, values.index_select(0, forest.order)])
    # Up: B_i is the sum of v over i and all below it, times the affinities on the way. Before the
    # jump by r levels, a node's sum has all that is less than r below it. What is r to 2r - 1
    # below it is less than r below exactly one node that is r below it: the jump adds it, once.
    # A bag is summed in order; on a GPU index_add_ is either not deterministic or sorts each time.
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
    # Down: T_i = B_i + w_i (T_p - w_i B_i) with p the parent of i, as T_p already contains what is
    # below i. So T_i is the sum of (1 - w²) B over i and all above it, times the affinities on the
    # way, and is built by the same jumps.
    sums[1:].mul_((1 - forest.affinities.square())[:, None])
    for jump in forest.jumps:
        above = sums.index_select(0, jump.ancestors)
        sums[-len(above) :].addcmul_(jump.products[:, None], above)
    values = sums.index_select(0, forest.places)
    return values.view(len(maps), -1, maps.shape[1]).transpose(1, 2).reshape(maps.shape)
