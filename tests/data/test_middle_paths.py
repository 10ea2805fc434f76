from itertools import pairwise

import numpy as np

from bpg.data import middle_paths as paths
from bpg.data.middle_paths import middle_paths, widest_grid


def rng():
    return np.random.default_rng(0)


def test_a_path_leads_from_one_end_to_the_other_around_a_corner():
    region = np.zeros((60, 60), bool)
    region[5:50, 5:14] = region[41:50, 5:55] = True  # an L
    grid, width = widest_grid(region, 3)
    assert (grid.factor, width) == (1, 3)
    (path,) = middle_paths(grid, rng())
    places = grid.centres()[path]
    ends = sorted(map(tuple, places[[0, -1]].tolist()))
    assert ends[0][1] < 8
    assert ends[1][0] > 52
    assert (abs(np.diff(places, axis=0)) <= 1).all()
    # It takes the middle: column 9 above, row 45 on the right.
    above, right = places[places[:, 1] < 35][3:-3], places[places[:, 0] > 20][3:-3]
    assert (abs(above[:, 0] - 9.5) <= 2).all() or (abs(above[:, 0] - 9.5) <= 1).mean() > 0.7
    assert (abs(right[:, 1] - 45.5) <= 1).mean() > 0.7


def test_a_diagonal_step_needs_both_of_its_sides():
    region = np.zeros((9, 9), bool)
    region[1:4, 1:4] = region[4:7, 3:7] = True
    region[4, 3] = False  # the two parts meet at a corner and beside it
    region[3, 4] = True
    grid, _ = widest_grid(region, 1)
    for path in middle_paths(grid, rng()):
        places = (grid.centres()[path] - 0.5).astype(int)
        for (x, y), (next_x, next_y) in pairwise(places):
            assert region[y, next_x]
            assert region[next_y, x]


def test_large_regions_are_shrunk_and_a_block_is_all_inside():
    region = np.zeros((500, 700), bool)
    region[30:470, 40:660] = True
    grid, _ = widest_grid(region, 9)
    assert grid.factor > 1
    assert grid.inside.sum() <= paths.NODES
    for row, column in np.argwhere(grid.inside)[::50]:
        top, left = row * grid.factor, column * grid.factor
        # A disc of 9 pixels around each of its pixels is inside.
        assert region[top - 4 : top + grid.factor + 4, left - 4 : left + grid.factor + 4].all()


def test_a_thin_region_is_not_shrunk_away():
    region = np.zeros((400, 6000), bool)
    region[200:203, 10:5990] = True
    grid, width = widest_grid(region, 3)
    assert (grid.factor, width) == (1, 3)
    assert grid.extent > 5900


def test_in_a_net_the_path_stays_where_there_is_most_room(monkeypatch):
    """Too many pixels to search all of them, and too thin to shrink."""
    monkeypatch.setattr(paths, "NODES", 50)
    monkeypatch.setattr(paths, "_MOST_NODES", 400)
    region = np.zeros((200, 200), bool)
    region[1:-1:3] = region[:, 1:-1:3] = True
    region[[0, -1]] = region[:, [0, -1]] = False
    region[100:110, 100:110] = True
    grid, width = widest_grid(region, 3)
    assert (grid.factor, width) == (1, 1)
    assert grid.inside.sum() <= 400
    assert grid.inside[104, 104]


def test_far_branches_have_a_path_of_their_own_that_begins_at_the_first():
    region = np.zeros((130, 130), bool)
    region[5:16, 5:125] = region[5:125, 60:71] = True  # a T with a long leg
    grid, _ = widest_grid(region, 3)
    first, second = middle_paths(grid, rng())
    assert len(set(first) & set(second)) == 1
    assert second[-1] in first
