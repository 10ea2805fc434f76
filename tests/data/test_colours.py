"""Colours of classes on photographs."""

from itertools import combinations

import pytest

from bpg.data.colours import bright_colours


@pytest.mark.parametrize("number", [1, 2, 9, 21, 255])
def test_each_class_has_a_colour_of_its_own(number):
    colours = bright_colours(number)
    assert len(set(colours)) == number
    assert colours[0] == "#000000"  # as in VOC's palette
    assert colours == bright_colours(255)[:number]  # more classes change none
    assert all(len(colour) == 7 and int(colour[1:], 16) >= 0 for colour in colours)


def test_the_first_ones_are_bright_and_far_from_each_other():
    first = [tuple(bytes.fromhex(colour[1:])) for colour in bright_colours(9)[1:]]
    assert min(max(colour) for colour in first) > 180
    for one, other in combinations(first, 2):
        assert sum(abs(a - b) for a, b in zip(one, other, strict=True)) > 90
