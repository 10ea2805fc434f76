"""Colours of classes on photographs."""

from itertools import combinations

import numpy as np
import pytest
from skimage.color import rgb2lab

from bpg.data.colours import BACKGROUND_COLOUR, bright_colours


@pytest.mark.parametrize("number", [1, 2, 9, 21, 255])
def test_each_class_has_a_colour_of_its_own(number):
    colours = bright_colours(number)
    assert len(set(colours)) == number
    assert colours[0] == "#000000"  # as in VOC's palette
    assert colours == bright_colours(255)[:number]  # more classes change none
    assert all(len(colour) == 7 and int(colour[1:], 16) >= 0 for colour in colours)


def test_twenty_classes_are_bright_and_far_from_each_other_and_from_the_background():
    colours = [BACKGROUND_COLOUR, *bright_colours(21)[1:]]
    lab = rgb2lab(np.array([list(bytes.fromhex(one[1:])) for one in colours]) / 255)
    assert lab[1:, 0].min() > 45
    assert min(np.linalg.norm(one - other) for one, other in combinations(lab, 2)) > 30
