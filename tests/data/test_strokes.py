from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpg.data import strokes as module
from bpg.data.strokes import (
    Area,
    Line,
    Pixels,
    Stroke,
    Strokes,
    covered,
    paint,
    rasterise,
    shortened,
)
from bpg.errors import BPGError

CLASSES = ["background", "cat", "dog"]


def line(tag, *points):
    """A stroke through the middle of these pixels."""
    return Stroke(tag, Line(tuple((x + 0.5, y + 0.5) for x, y in points)))


def drawn(*strokes, width=3):
    return rasterise(Strokes(12, 9, tuple(strokes)), CLASSES, width)


def rows(text):
    labels = {".": 255, "0": 0, "1": 1, "2": 2}
    return [[labels[c] for c in row] for row in text.split()]


def full(shape, width, height, line_width=3.0):
    canvas = np.zeros((height, width), np.uint8)
    paint(canvas, covered(shape, width, height, line_width), 1)
    return canvas == 1


coordinate = (
    st.floats(-8, 30)
    | st.integers(-8, 30).map(float)
    | st.integers(-8, 30).map(lambda whole: whole + 0.5)
)
points = st.lists(st.tuples(coordinate, coordinate), min_size=1, max_size=6).map(tuple)
sides = st.integers(1, 24)
widths = st.sampled_from([0.5, 1, 2, 3, 4, 5, 7.5])


@settings(max_examples=200, deadline=None)
@given(points, sides, sides, widths)
def test_a_line_covers_the_pixels_whose_centre_is_within_half_its_width(
    points, width, height, line_width
):
    found = full(Line(points), width, height, line_width)
    y, x = np.mgrid[:height, :width] + 0.5
    away = np.full((height, width), np.inf)
    for (x0, y0), (x1, y1) in pairwise(points) if len(points) > 1 else [points * 2]:
        length = (x1 - x0) ** 2 + (y1 - y0) ** 2
        along = ((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / (length or 1)
        along = along.clip(0, 1)
        away = np.minimum(away, np.hypot(x - x0 - along * (x1 - x0), y - y0 - along * (y1 - y0)))
    clear = abs(away - line_width / 2) > 1e-6  # elsewhere, rounding decides
    assert (found == (away <= line_width / 2))[clear].all()


@settings(max_examples=100, deadline=None)
@given(st.lists(points, min_size=1, max_size=3), st.integers(1, 12), st.integers(1, 12))
def test_an_area_covers_the_pixels_whose_centre_is_inside(outlines, width, height):
    found = full(Area(tuple(outlines)), width, height)
    for row in range(height):
        for column in range(width):
            x, y = column + 0.5, row + 0.5
            crossings, near = 0, False
            for outline in outlines:
                for (x0, y0), (x1, y1) in pairwise((*outline, outline[0])):
                    if (y0 <= y) != (y1 <= y):
                        at = x0 + (y - y0) / (y1 - y0) * (x1 - x0)
                        crossings += at <= x
                        near = near or abs(at - x) < 1e-6
            assert near or found[row, column] == (crossings % 2 == 1)


def test_an_outline_inside_another_is_a_hole():
    square = ((1.0, 1.0), (8.0, 1.0), (8.0, 8.0), (1.0, 8.0))
    hole = ((3.0, 3.0), (6.0, 3.0), (6.0, 6.0), (3.0, 6.0))
    found = full(Area((square, hole)), 12, 9)
    assert found.sum() == 7 * 7 - 3 * 3
    assert found[1, 1]
    assert not found[4, 4]


def test_pixels_are_cut_off_at_the_border():
    painted = np.ones((4, 5), bool)
    for left, top, count in [(-2, -1, 9), (10, 7, 4), (0, 0, 20), (12, 0, 0), (0, -4, 0)]:
        assert full(Pixels(left, top, painted), 12, 9).sum() == count


def test_the_box_is_the_smallest():
    found = covered(Line(((2.5, 3.5), (6.5, 3.5))), 12, 9, 3)
    assert (found.left, found.top, found.mask.shape) == (1, 2, (3, 7))
    nothing = covered(Line(((-50.0, 3.5),)), 12, 9, 3)
    assert nothing.mask.shape == (0, 0)


def test_long_strokes_are_drawn_in_parts(monkeypatch):
    rng = np.random.default_rng(0)
    scrawl = Line(tuple(map(tuple, rng.uniform(0, 60, (300, 2)).tolist())))
    outline = Area((scrawl.points,))
    whole = full(scrawl, 60, 60), full(outline, 60, 60)
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", 7)
    np.testing.assert_array_equal(full(scrawl, 60, 60), whole[0])
    np.testing.assert_array_equal(full(outline, 60, 60), whole[1])


def test_strokes_slightly_over_the_border_are_clipped():
    expected = np.full((9, 12), 255)
    expected[3:6, 9:12] = 1
    np.testing.assert_array_equal(drawn(line("cat", (10, 4), (13, 4))), expected)


def test_lines_are_3_pixels_wide_and_later_strokes_lie_on_top():
    row = line("dog", (2, 3), (9, 3))
    column = line("background", (6, 1), (6, 6))
    expected = """
        .....000....
        .....000....
        .22220002222
        .22220002222
        .22220002222
        .....000....
        .....000....
        .....000....
        ............
    """
    expected = expected.replace("2222\n", "222.\n")
    np.testing.assert_array_equal(drawn(row, column), rows(expected))
    other_way = drawn(column, row)
    assert (other_way[2:5, 5:8] == 2).all()
    assert other_way[1, 6] == 0


def test_a_stroke_without_a_class_takes_labels_away():
    labels = drawn(line("cat", (2, 3), (9, 3)), line(None, (5, 3)))
    assert (labels[2:5, 4:7] == 255).all()
    assert labels[3, 2] == 1


def test_labels_follow_the_order_of_the_classes():
    stroke = line("dog", (4, 4), (7, 4))
    for order, label in ((["dog", "cat"], 0), (["cat", "background", "dog"], 2)):
        labels = rasterise(Strokes(12, 9, (stroke,)), order, 3)
        assert set(np.unique(labels)) == {label, 255}
        assert labels.dtype == np.uint8


def test_an_unknown_tag_is_named():
    with pytest.raises(BPGError, match="stroke 2: unknown tag 'cow'; the tags are background, c"):
        drawn(line("cat", (1, 1)), line("cow", (1, 1)))


@pytest.mark.parametrize(("width", "pixels"), [(1, 1), (2, 5), (3, 9), (5, 21)])
def test_one_point_is_a_dot_of_the_lines_width(width, pixels):
    labels = drawn(line("cat", (5, 4)), width=width)
    assert (labels == 1).sum() == pixels
    assert labels[4, 5] == 1


def test_width_1_is_the_plain_line():
    labels = drawn(line("cat", (1, 1), (4, 1), (4, 3)), width=1)
    assert sorted(zip(*np.nonzero(labels == 1), strict=True)) == [
        (1, 1), (1, 2), (1, 3), (1, 4), (2, 4), (3, 4)
    ]  # fmt: skip


def test_joints_of_wide_lines_have_no_notch():
    labels = drawn(line("cat", (2, 6), (8, 6), (8, 1)), width=5)
    assert labels[7, 9] == 1  # the outer corner, two pixels from (8, 6)


def length(line):
    return sum(np.hypot(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(line.points))


def test_a_shortened_line_is_what_lies_around_its_middle():
    bent = Line(((0, 0), (4, 0), (4, 2), (4, 4)))
    assert shortened(bent, 0.5).points == ((2, 0), (4, 0), (4, 2))
    assert shortened(bent, 0.25).points == ((3, 0), (4, 0), (4, 1))
    assert shortened(bent, 1) is bent


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 50), st.floats(0, 50)), min_size=1, max_size=6),
    st.floats(0.01, 1),
)
def test_a_shortened_line_has_its_share_of_the_length_and_lies_on_the_line(points, share):
    whole = Line(tuple(points))
    part = shortened(whole, share)
    assert length(part) == pytest.approx(share * length(whole), abs=1e-6)
    there = full(whole, 50, 50, 3.5)
    assert (there[full(part, 50, 50, 3.0) == 1] == 1).all()


def test_what_is_no_line_keeps_its_size():
    for shape in (Area((((0, 0), (4, 0), (4, 4)),)), Pixels(1, 1, np.ones((2, 3), bool))):
        assert shortened(shape, 0.1) is shape
    dot = Line(((3, 4),))
    assert shortened(dot, 0.1) is dot
