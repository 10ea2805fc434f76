import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpg.data.strokes import Line, Pixels, Stroke, covered
from bpg.draw.editing import erased, outline, thick

WIDTH, HEIGHT = 40, 30


def line(*points):
    return Stroke("cat", Line(tuple((float(x), float(y)) for x, y in points)))


def test_a_line_is_cut_in_two_where_the_eraser_crosses_it():
    left = erased(line((0, 10), (20, 10), (40, 10)), [(10, 0), (10, 20)], 4, WIDTH, HEIGHT)
    assert [piece.tag for piece in left] == ["cat", "cat"]
    first, second = (piece.shape.points for piece in left)
    assert first[0] == (0, 10) and second[-1] == (40, 10)
    assert first[-1][0] == pytest.approx(8, abs=0.5)
    assert second[0][0] == pytest.approx(12, abs=0.5)
    assert (20, 10) in second  # the corner stays, and nothing else is added
    assert (len(first), len(second)) == (2, 3)


def test_what_the_eraser_does_not_touch_stays():
    assert erased(line((0, 10), (40, 10)), [(10, 20)], 4, WIDTH, HEIGHT) is None
    dot = Stroke("cat", thick([(5, 5)], 5, WIDTH, HEIGHT))
    assert erased(dot, [(20, 20)], 9, WIDTH, HEIGHT) is None
    assert erased(dot, [(9, 9)], 2, WIDTH, HEIGHT) is None  # in its box, beside its pixels


def test_a_line_that_is_gone_over_is_gone():
    assert erased(line((5, 5), (9, 5)), [(4, 5), (10, 5)], 6, WIDTH, HEIGHT) == []
    assert erased(line((5, 5)), [(5, 6)], 6, WIDTH, HEIGHT) == []


def test_painted_pixels_lose_those_under_the_eraser():
    stroke = Stroke("cat", thick([(5, 10), (30, 10)], 9, WIDTH, HEIGHT))
    way = [(15.0, 0.0), (15.0, 29.0)]
    (left,) = erased(stroke, way, 6, WIDTH, HEIGHT)

    def drawn(shape, width=1.0):
        full = np.zeros((HEIGHT, WIDTH), bool)
        pixels = covered(shape, WIDTH, HEIGHT, width)
        height, across = pixels.mask.shape
        full[pixels.top : pixels.top + height, pixels.left : pixels.left + across] = pixels.mask
        return full

    rubbed = drawn(Line(tuple(way)), 6)
    np.testing.assert_array_equal(drawn(left.shape), drawn(stroke.shape) & ~rubbed)


POINTS = st.lists(
    st.tuples(st.floats(0, WIDTH, width=16), st.floats(0, HEIGHT, width=16)),
    min_size=1,
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(POINTS, POINTS, st.floats(1, 12))
def test_no_piece_is_within_the_eraser_and_none_is_new(points, way, rubber):
    stroke = line(*points)
    left = erased(stroke, way, rubber, WIDTH, HEIGHT)
    before = covered(stroke.shape, WIDTH, HEIGHT, 2).mask.sum()
    for piece in left or []:
        places = np.array(piece.shape.points)
        nearest = np.min([np.hypot(*(places - point).T) for point in np.array(way)], axis=0)
        assert nearest.min() > rubber / 2 - 1e-6
    after = sum(covered(piece.shape, WIDTH, HEIGHT, 2).mask.sum() for piece in left or [])
    if left is not None:
        # Cut ends are round, and two pieces may lie over each other where the line crosses itself.
        assert after <= before + 8 * len(left) + sum(len(p.shape.points) for p in left) * 80


def test_outlines_are_closed_and_pixels_have_none():
    assert outline(Line(((1.0, 2.0), (3.0, 4.0)))) == [[[1.0, 2.0], [3.0, 4.0]]]
    assert outline(Pixels(0, 0, np.ones((2, 2), bool))) == []
