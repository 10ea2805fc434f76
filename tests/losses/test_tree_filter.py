import math
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bpg.losses.tree_filter import Forest, grow, make_forest, span, tree_sums

SIGMA = 0.7

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def edges_of(maps, valid, n, sigma=SIGMA):
    """{(pixel, pixel): weight} of the edges between valid neighbours of image n."""
    height, width = maps.shape[2:]
    edges = {}
    for y in range(height):
        for x in range(width):
            for v, u in ((y, x + 1), (y + 1, x)):
                if v < height and u < width and valid[n, y, x] and valid[n, v, u]:
                    difference = (maps[n, :, y, x] - maps[n, :, v, u]).double()
                    edges[(y, x), (v, u)] = float(difference.square().sum()) / sigma
    return edges


def spans_all(chosen, nodes):
    """Whether these edges hold all the nodes together."""
    reached = {next(iter(nodes))}
    for _ in nodes:
        for a, b in chosen:
            if a in reached or b in reached:
                reached |= {a, b}
    return reached == set(nodes)


def cheapest_of_all(edges, nodes):
    """The least total weight over all spanning trees, one after the other."""
    return min(
        sum(edges[edge] for edge in chosen)
        for chosen in combinations(edges, len(nodes) - 1)
        if spans_all(chosen, nodes)
    )


def prim(edges, nodes):
    """The edges of a minimum spanning tree, by Prim's method."""
    reached, tree = {min(nodes)}, []
    while len(reached) < len(nodes):
        border = [edge for edge in edges if (edge[0] in reached) != (edge[1] in reached)]
        edge = min(border, key=edges.get)
        tree.append(edge)
        reached |= set(edge)
    return tree


def inside(valid, n):
    return {(y, x) for y, x in torch.nonzero(valid[n]).tolist()}


def links(forest: Forest, size):
    """[(image, pixel, image and pixel of its parent or None, affinity)] of a forest."""
    height, width = size

    def pixel(node):
        return node // (height * width), (node // width % height, node % width)

    order, parents = forest.order.tolist(), forest.parents.tolist()
    return [
        (*pixel(order[place]), pixel(order[parent - 1]) if parent else None, affinity)
        for place, (parent, affinity) in enumerate(
            zip(parents, forest.affinities.tolist(), strict=True)
        )
    ]


def check_forest(forest, maps, valid, sigma=SIGMA, rel=1e-9):
    """Each image has one tree over the grid; its valid part is a tree by itself, of least weight.

    Return each image's [(edge, weight)] between valid pixels.
    """
    count, _, height, width = maps.shape
    assert sorted(forest.order.tolist()) == list(range(count * height * width))
    trees = []
    for n in range(count):
        mine = [link for link in links(forest, (height, width)) if link[0] == n]
        assert all(parent is None or parent[0] == n for _, _, parent, _ in mine)
        assert sum(parent is None for _, _, parent, _ in mine) == 1
        assert all(affinity == 0 for _, _, parent, affinity in mine if parent is None)
        joined = {(min(p, q[1]), max(p, q[1])): a for _, p, q, a in mine if q is not None}
        everything = {(y, x) for y in range(height) for x in range(width)}
        assert len(joined) == height * width - 1
        assert spans_all(joined, everything)
        for (y, x), (v, u) in joined:
            assert abs(y - v) + abs(x - u) == 1
        edges, nodes = edges_of(maps, valid, n, sigma), inside(valid, n)
        tree = [(edge, edges[edge]) for edge in joined if edge in edges]
        for edge, affinity in joined.items():
            if edge in edges:
                assert affinity == pytest.approx(math.exp(-edges[edge]), rel=rel)
            else:
                assert affinity == 0
        assert len(tree) == max(len(nodes) - 1, 0)
        if nodes:
            assert spans_all([edge for edge, _ in tree], nodes)
            total = sum(edges[edge] for edge in prim(edges, nodes))
            assert sum(weight for _, weight in tree) == pytest.approx(total, rel=rel, abs=1e-12)
        trees.append(tree)
    return trees


def check_levels(forest):
    """A level's parents are in the level above it, the first level's is the root."""
    parents, levels = forest.parents.tolist(), forest.levels
    assert levels[0] == 1
    assert levels[-1] == len(parents) + 1
    above = [0]
    for first, last in pairwise(levels):
        places = list(range(first, last))
        assert places
        assert all(parents[place - 1] in above for place in places)
        above = places


def path_sums(trees, maps, valid):
    """sum_j exp(-D_ij) maps_j with D_ij by a walk from every pixel; a padded one's is its own."""
    sums = torch.zeros_like(maps)
    for n, tree in enumerate(trees):
        neighbours = {}
        for (a, b), weight in tree:
            neighbours.setdefault(a, []).append((b, weight))
            neighbours.setdefault(b, []).append((a, weight))
        for y in range(maps.shape[2]):
            for x in range(maps.shape[3]):
                distance, walk = {(y, x): 0.0}, [(y, x)]
                while walk:
                    here = walk.pop()
                    for there, weight in neighbours.get(here, []):
                        if there not in distance:
                            distance[there] = distance[here] + weight
                            walk.append(there)
                for (v, u), length in distance.items():
                    sums[n, :, y, x] += math.exp(-length) * maps[n, :, v, u]
                assert valid[n, y, x] or len(distance) == 1
    return sums


def hang(trees):
    """The forest of [(parents, affinities)] by hand; a root's parent is None; one size for all."""
    size = len(trees[0][0])
    links = [
        (n * size + node, None if parent is None else n * size + parent, affinity)
        for n, (parents, affinities) in enumerate(trees)
        for node, (parent, affinity) in enumerate(zip(parents, affinities, strict=True))
    ]
    children = {}
    for node, parent, _ in links:
        children.setdefault(parent, []).append(node)
    order = list(children[None])
    for node in order:  # grows on the way
        order += children.get(node, [])
    places = {node: place for place, node in enumerate(order, 1)} | {None: 0}
    parents = [places[links[node][1]] for node in order]
    affinities = [0.0 if links[node][1] is None else links[node][2] for node in order]
    like = torch.empty(0, dtype=torch.float64)
    return make_forest(np.array(order), np.array(parents), np.array(affinities), like)


def walked_sums(trees, maps, every=1):
    """The sums of [(parents, affinities)] over maps (N, 1, 1, size), by a walk from each node.

    Or from every so many-th, as N lists.
    """
    sums = []
    for n, (parents, affinities) in enumerate(trees):
        neighbours = [[] for _ in parents]
        for node, (parent, affinity) in enumerate(zip(parents, affinities, strict=True)):
            if parent is not None:
                neighbours[node].append((parent, affinity))
                neighbours[parent].append((node, affinity))
        values = maps[n, 0, 0].tolist()
        mine = []
        for start in range(0, len(parents), every):
            total, walk = 0.0, [(start, None, 1.0)]
            while walk:
                node, before, product = walk.pop()
                total += product * values[node]
                walk += [
                    (other, node, product * affinity)
                    for other, affinity in neighbours[node]
                    if other != before
                ]
            mine.append(total)
        sums.append(mine)
    return torch.tensor(sums, dtype=maps.dtype)


@pytest.mark.parametrize("size", [(2, 2), (2, 3), (3, 2)])
def test_weighs_no_more_than_any_spanning_tree(size):
    for _ in range(10):
        maps = torch.rand(2, 3, *size, dtype=torch.float64)
        valid = torch.ones(2, *size, dtype=torch.bool)
        trees = check_forest(span(maps, valid, SIGMA), maps, valid)
        for n, tree in enumerate(trees):
            expected = cheapest_of_all(edges_of(maps, valid, n), inside(valid, n))
            assert sum(weight for _, weight in tree) == pytest.approx(expected)


@pytest.mark.parametrize("size", [(7, 5), (9, 17), (1, 30), (30, 1)])
def test_is_prims_tree_on_larger_grids(size):
    maps = torch.randn(2, 4, *size, dtype=torch.float64)
    valid = torch.ones(2, *size, dtype=torch.bool)
    forest = span(maps, valid, SIGMA)
    trees = check_forest(forest, maps, valid)
    check_levels(forest)
    for n, tree in enumerate(trees):
        # All weights differ, so there is one minimum.
        assert {edge for edge, _ in tree} == set(prim(edges_of(maps, valid, n), inside(valid, n)))


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_ties_and_flat_pictures_and_padding(data):
    """Images of few grey levels have many trees of least weight; any will do."""
    height, width = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5))
    levels = data.draw(st.integers(0, 2))
    pixels = st.lists(
        st.integers(0, levels), min_size=2 * height * width, max_size=2 * height * width
    )
    maps = torch.tensor(data.draw(pixels), dtype=torch.float64).view(2, 1, height, width)
    valid = torch.zeros(2, height, width, dtype=torch.bool)
    for n in range(2):
        top, left = data.draw(st.integers(0, height)), data.draw(st.integers(0, width))
        bottom, right = data.draw(st.integers(0, height)), data.draw(st.integers(0, width))
        valid[n, top:bottom, left:right] = True
    forest = span(maps, valid, SIGMA)
    trees = check_forest(forest, maps, valid)
    check_levels(forest)
    values = torch.arange(2.0 * height * width, dtype=torch.float64).view(2, 1, height, width)
    torch.testing.assert_close(tree_sums(forest, values), path_sums(trees, values, valid))


def test_no_path_crosses_padding_however_alike_it_is():
    """The padded column is one grey, and the way round it through the image is dear."""
    maps = torch.zeros(1, 1, 4, 3, dtype=torch.float64)
    maps[0, 0, :, 2] = 1
    maps[0, 0, 3] = torch.tensor([0.0, 0.5, 1.0])
    valid = torch.ones(1, 4, 3, dtype=torch.bool)
    valid[0, :3, 1] = False
    forest = span(maps, valid, 1.0)
    (tree,) = check_forest(forest, maps, valid, 1.0)
    sums = tree_sums(forest, valid[:, None].double())
    # From the top left: its column for nothing, then two steps of 0.25 and the other column.
    expected = 4 + math.exp(-0.25) + 4 * math.exp(-0.5)
    assert sums[0, 0, 0, 0].item() == pytest.approx(expected)
    assert len(tree) == 8
    assert sums[0, 0, 1, 1].item() == 0


def test_what_is_at_padding_changes_nothing_inside():
    maps = torch.rand(2, 3, 7, 8, dtype=torch.float64)
    valid = torch.zeros(2, 7, 8, dtype=torch.bool)
    valid[0, :5, 2:], valid[1, 3:, :6] = True, True
    values = torch.rand(2, 2, 7, 8, dtype=torch.float64) * valid[:, None]
    expected = tree_sums(span(maps, valid, SIGMA), values)
    for scale in (0.0, 1.0, 1e6):
        other = torch.where(valid[:, None], maps, scale * torch.rand_like(maps))
        found = tree_sums(span(other, valid, SIGMA), values)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def test_nothing_valid():
    forest = span(torch.rand(2, 3, 3, 4), torch.zeros(2, 3, 4, dtype=torch.bool), SIGMA)
    check_levels(forest)
    assert not forest.affinities.any()
    values = torch.rand(2, 2, 3, 4)
    assert torch.equal(tree_sums(forest, values), values)


def test_sigma_divides_the_weights():
    maps = torch.rand(1, 2, 4, 5, dtype=torch.float64)
    valid = torch.ones(1, 4, 5, dtype=torch.bool)
    for sigma in (0.02, 1.0, 50.0):
        check_forest(span(maps, valid, sigma), maps, valid, sigma)


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 2), (3, 4), (4, 3)])
def test_tree_sums_are_sums_over_all_paths(size):
    maps = torch.rand(3, 2, *size, dtype=torch.float64)
    valid = torch.ones(3, *size, dtype=torch.bool)
    forest = span(maps, valid, SIGMA)
    trees = check_forest(forest, maps, valid)
    values = torch.randn(3, 4, *size, dtype=torch.float64)
    found = tree_sums(forest, values)
    assert found.shape == values.shape
    torch.testing.assert_close(found, path_sums(trees, values, valid), rtol=1e-12, atol=1e-12)


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_tree_sums_of_any_trees(data):
    """Deep and shallow ones side by side, cut and unweighted edges among the others."""
    size = data.draw(st.integers(1, 12))
    affinity = st.sampled_from([0.0, 1.0, 1e-20]) | st.floats(0, 1)
    trees = []
    for _ in range(data.draw(st.integers(1, 3))):
        names = data.draw(st.permutations(range(size)))
        parents = [None] * size
        for place in range(1, size):
            # Each from the one before is a path, all from the first a star.
            parents[names[place]] = names[data.draw(st.integers(0, place - 1))]
        trees.append((parents, data.draw(st.lists(affinity, min_size=size, max_size=size))))
    maps = torch.rand(len(trees), 1, 1, size, dtype=torch.float64)
    found = tree_sums(hang(trees), maps)
    torch.testing.assert_close(found[:, 0, 0], walked_sums(trees, maps), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("lowest", [0.0, 0.9, 1.0])
def test_tree_sums_of_paths_and_a_star(lowest):
    """A path of 1,000 nodes from its end and from within, and a star."""
    size, within = 1000, 400
    path = [None, *range(size - 1)]
    both_ways = [*range(1, within + 1), None, *range(within, size - 1)]
    star = [None] + [0] * (size - 1)
    trees = [
        (parents, (lowest + (1 - lowest) * torch.rand(size)).tolist())
        for parents in (path, both_ways, star)
    ]
    forest = hang(trees)
    assert len(forest.levels) == size + 1
    assert len(forest.jumps) == 10
    maps = torch.rand(3, 1, 1, size, dtype=torch.float64)
    found = tree_sums(forest, maps)[:, 0, 0, ::37]
    torch.testing.assert_close(found, walked_sums(trees, maps, 37), rtol=1e-11, atol=0)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 7, 8, 9])
def test_every_node_counts_once_around_powers_of_two(depth):
    """With nothing lost on the way each node has the sum of all; of powers of two it is exact."""
    parents = [None, *range(depth)]
    maps = 2.0 ** torch.arange(depth + 1, dtype=torch.float64).view(1, 1, 1, -1)
    forest = hang([(parents, [1.0] * len(parents))])
    assert torch.equal(tree_sums(forest, maps), maps.sum().expand_as(maps))


def test_repeats_exactly():
    maps, values = torch.rand(3, 4, 33, 33), torch.randn(3, 5, 33, 33)
    valid = torch.ones(3, 33, 33, dtype=torch.bool)
    first, second = (tree_sums(span(maps, valid, SIGMA), values) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.cuda
@needs_cuda
def test_cuda_repeats_exactly_and_equals_the_cpu():
    size, values = (3, 81, 81), torch.rand(3, 21, 81, 81)
    # The trees once, for a difference in rounding might choose others.
    fields = grow(np.random.default_rng(0).exponential(size=2 * 3 * 81 * 80), size)
    expected = tree_sums(make_forest(*fields, like=values), values)
    on_gpu = values.cuda()
    first, second = (tree_sums(make_forest(*fields, like=on_gpu), on_gpu) for _ in range(2))
    assert torch.equal(first, second)
    torch.testing.assert_close(first.cpu(), expected, rtol=1e-5, atol=0)


def test_pictures_of_a_batch_do_not_mix():
    maps, values = torch.rand(3, 2, 5, 6), torch.rand(3, 2, 5, 6)
    valid = torch.ones(3, 5, 6, dtype=torch.bool)
    valid[1] = False
    valid[1, 2:, :4] = True
    together = tree_sums(span(maps, valid, SIGMA), values)
    for n in range(3):
        one = slice(n, n + 1)
        alone = tree_sums(span(maps[one], valid[one], SIGMA), values[one])
        torch.testing.assert_close(together[one], alone)


@pytest.mark.parametrize("levels", [2, 4, 64])
def test_ties_are_broken_alike_whatever_is_around(levels):
    """Real images are full of ties; their trees must not depend on batch or padding."""
    maps = torch.randint(0, levels, (3, 3, 33, 33)).double() / levels
    valid = torch.ones(3, 33, 33, dtype=torch.bool)
    values = torch.rand(3, 2, 33, 33, dtype=torch.float64)
    expected = tree_sums(span(maps[1:2], valid[1:2], SIGMA), values[1:2])
    in_batch = tree_sums(span(maps, valid, SIGMA), values)[1:2]
    torch.testing.assert_close(in_batch, expected, rtol=1e-12, atol=1e-12)
    pad = torch.nn.functional.pad
    around = (8, 16, 16, 8)
    wide = span(pad(maps, around), pad(valid, around), SIGMA)
    padded = tree_sums(wide, pad(values, around))[1:2, :, 16:-8, 8:-16]
    torch.testing.assert_close(padded, expected, rtol=1e-12, atol=1e-12)


def test_pictures_of_one_pixel():
    maps, values = torch.rand(4, 2, 1, 1), torch.rand(4, 3, 1, 1)
    forest = span(maps, torch.ones(4, 1, 1, dtype=torch.bool), SIGMA)
    assert forest.levels == (1, 5)
    assert torch.equal(tree_sums(forest, values), values)


def test_tree_sums_are_symmetric():
    maps = torch.rand(1, 3, 8, 9, dtype=torch.float64)
    forest = span(maps, torch.ones(1, 8, 9, dtype=torch.bool), SIGMA)
    x, y = torch.randn(2, 1, 1, 8, 9, dtype=torch.float64)
    torch.testing.assert_close((x * tree_sums(forest, y)).sum(), (y * tree_sums(forest, x)).sum())


def test_single_precision_is_enough():
    maps = torch.rand(1, 3, 33, 41)
    valid = torch.ones(1, 33, 41, dtype=torch.bool)
    values = torch.rand(1, 2, 33, 41)
    found = tree_sums(span(maps, valid, 5.0), values)
    assert found.dtype == torch.float32
    expected = tree_sums(span(maps.double(), valid, 5.0), values.double())
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)
