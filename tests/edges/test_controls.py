import numpy as np
import pytest

from bpg.edges.controls import WIDTH, fit, shuffled, true_edges


@pytest.fixture
def square():
    mask = np.zeros((20, 24), np.uint8)
    mask[6:14, 8:16] = 1
    return mask


def test_both_sides_of_a_contour_are_edge_and_nothing_far_from_it(square):
    edges = true_edges(square)
    assert (edges[10, 7], edges[10, 8]) == (255, 255)  # ground and object, side by side
    assert (edges[10, 6], edges[10, 9]) == (128, 128)  # one pixel farther, of WIDTH = 2
    assert edges[10, 12] == edges[10, 3] == edges[0, 0] == 0
    assert WIDTH == 2
    assert (true_edges(square.T) == edges.T).all()


def test_which_labels_meet_does_not_matter(square):
    other = np.where(square == 1, 5, 3).astype(np.uint8)
    assert (true_edges(other) == true_edges(square)).all()


def test_the_pictures_frame_is_no_edge():
    assert not true_edges(np.full((9, 9), 2, np.uint8)).any()
    assert not true_edges(np.full((9, 9), 255, np.uint8)).any()


def test_a_ring_of_ignored_pixels_has_one_contour_in_its_middle(square):
    ringed = square.copy()
    ringed[5:15, 7:17] = 255
    ringed[7:13, 9:15] = 1  # a ring of two pixels, around the same contour
    assert (true_edges(ringed)[8:12] == true_edges(square)[8:12]).all()


def test_shuffled_gives_every_picture_another_ones_map():
    names = [f"{n:03}" for n in range(50)]
    receivers = shuffled(names)
    assert sorted(receivers) == sorted(receivers.values()) == names
    assert not [name for name, receiver in receivers.items() if name == receiver]
    assert receivers == shuffled(names)
    assert receivers != shuffled(names, seed=1)
    assert shuffled(["alone"]) == {"alone": "alone"}


def test_a_map_is_stretched_to_the_other_pictures_size():
    edge = np.zeros((10, 20), np.uint8)
    edge[:, 10:] = 255
    stretched = fit(edge, (40, 30))
    assert stretched.shape == (30, 40)
    assert stretched.dtype == np.uint8
    assert (stretched[:, :18] == 0).all()
    assert (stretched[:, 22:] == 255).all()
