import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from bpg.data.human_strokes import HandOptions, draw_strokes
from bpg.data.strokes import Line, Pixels, covered
from bpg.errors import BPGError

CLASSES = ("background", "cat", "dog", "person")


def canvas(height=80, width=120, label=255):
    return np.full((height, width), label, np.uint8)


def drawn(stroke, shape, width=3.0):
    """The pixels of a stroke, bool."""
    pixels = covered(stroke.shape, shape[1], shape[0], width)
    found = np.zeros(shape, bool)
    height, length = pixels.mask.shape
    found[pixels.top : pixels.top + height, pixels.left : pixels.left + length] = pixels.mask
    return found


def strokes_of(mask, seed=0, **options):
    return draw_strokes(mask, CLASSES, HandOptions(**options), [seed]).strokes


def regions_of(mask):
    """Connected parts by another implementation: {(label, number): bool (H, W)}."""
    found = {}
    for label in np.unique(mask[mask != 255]):
        parts, count = ndimage.label(mask == label)
        found |= {(int(label), number): parts == number for number in range(1, count + 1)}
    return found


@st.composite
def masks(draw):
    """Rectangles, discs and lines on each other, with thin limbs, holes and unknown pixels."""
    height, width = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    y, x = np.mgrid[:height, :width]
    mask = np.full((height, width), draw(st.sampled_from([0, 255])), np.uint8)
    for _ in range(draw(st.integers(0, 6))):
        row, column = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        size, thin = draw(st.integers(1, 40)), draw(st.integers(1, 5))
        kind = draw(st.sampled_from(["disc", "ring", "box", "across", "down", "slant"]))
        away = np.hypot(y - row, x - column)
        where = {
            "disc": away <= size / 2,
            "ring": abs(away - size / 2) <= thin / 2,
            "box": (abs(y - row) <= size / 2) & (abs(x - column) <= thin * 2),
            "across": abs(y - row) <= thin / 2,
            "down": abs(x - column) <= thin / 2,
            "slant": abs(y - row - (x - column)) <= thin / 2,
        }[kind]
        mask[where] = draw(st.sampled_from([0, 1, 2, 3, 255]))
    return mask


options = st.builds(
    HandOptions,
    length=st.floats(0.05, 1),
    width=st.sampled_from([1, 2, 3, 3.5, 7, 20]),
    jitter=st.floats(0, 1),
    min_size=st.sampled_from([0, 0.01]),
)


@settings(max_examples=80, deadline=None)
@given(masks(), options, st.integers(0, 2**32 - 1))
def test_every_region_has_strokes_and_no_stroke_leaves_its_region(mask, options, seed):
    regions = regions_of(mask)
    with_strokes = set()
    strokes = draw_strokes(mask, CLASSES, options, [seed])
    assert (strokes.height, strokes.width) == mask.shape
    for stroke in strokes.strokes:
        where = drawn(stroke, mask.shape, options.width)
        assert where.any()
        (home,) = [name for name, region in regions.items() if (where & region).any()]
        assert not (where & ~regions[home]).any()
        assert stroke.tag == CLASSES[home[0]]
        with_strokes.add(home)
    least = max(1, options.min_size * mask.size)
    assert with_strokes == {name for name, region in regions.items() if region.sum() >= least}


@pytest.mark.parametrize("side", range(62, 140, 7))
def test_the_shortest_stroke_of_one_pixel_is_a_pixel(side):
    """Also where the region is shrunk, so that paths lead through blocks of several pixels."""
    mask = canvas(side, side, label=1)
    for stroke in strokes_of(mask, length=0.001, width=1):
        assert drawn(stroke, mask.shape, 1).sum() >= 1


@settings(max_examples=20, deadline=None)
@given(masks(), options)
def test_strokes_follow_from_mask_options_and_seed(mask, options):
    first = draw_strokes(mask, CLASSES, options, [1, 2])
    assert draw_strokes(mask.copy(), CLASSES, options, [1, 2]) == first


def test_another_seed_is_another_hand():
    mask = canvas(label=0)
    assert len({strokes_of(mask, seed) for seed in range(10)}) == 10


@pytest.mark.parametrize("length", [0.2, 0.5, 0.8, 1])
def test_the_length_is_a_share_of_the_way_through_the_region(length):
    mask = canvas(40, 300)
    mask[15:26, 20:280] = 1  # 260 pixels long
    for seed in range(5):
        (stroke,) = strokes_of(mask, seed, length=length, jitter=0)
        x = np.array(stroke.shape.points)[:, 0]
        # The width keeps the path's ends off the region's, and a pixel at either end is cut off.
        assert length * 260 - 8 < x.max() - x.min() <= length * 260
        # Short of both ends.
        assert min(x.min() - 20, 280 - x.max()) >= 0.3 * (1 - length) * 260 - 3


def test_without_jitter_a_stroke_follows_the_middle_and_with_jitter_it_strays():
    mask = canvas(60, 300)
    mask[20:41, 20:280] = 1  # the middle row is 30: y is 30.5 there

    def strays(jitter):
        found = [strokes_of(mask, seed, jitter=jitter)[0].shape.points for seed in range(10)]
        return np.concatenate([np.array(points)[:, 1] - 30.5 for points in found]).std()

    assert strays(0) < 0.5
    # The room is (10.5 - 1.5) pixels on either side.
    assert 0.15 * 9 < strays(0.2) < 0.3 * 9
    assert strays(0.2) < strays(0.5)


def test_a_compact_region_has_one_stroke_and_long_branches_have_their_own():
    y, x = np.mgrid[:120, :120]
    disc, square, cross, tee = (canvas(120, 120) for _ in range(4))
    disc[np.hypot(y - 60, x - 60) < 50] = 1
    square[10:110, 10:110] = 1
    cross[55:66, 5:115] = cross[5:115, 55:66] = 1
    tee[5:16, 5:115] = tee[5:115, 55:66] = 1
    for seed in range(8):
        counts = [len(strokes_of(mask, seed)) for mask in (disc, square, tee, cross)]
        assert counts == [1, 1, 2, 3]


def squares(count=400):
    """Squares of 8 x 8 pixels on unknown ground."""
    mask = canvas(200, 200)
    for number in range(count):
        row, column = divmod(number, 20)
        mask[10 * row : 10 * row + 8, 10 * column : 10 * column + 8] = 1 + number % 3
    return mask


def test_the_share_of_regions_with_strokes_and_more_contain_fewer():
    mask = squares()
    found = [set(strokes_of(mask, share=share, min_size=0)) for share in (0.1, 0.5, 1)]
    # Standard deviations are 6 and 10.
    assert 22 <= len(found[0]) <= 58
    assert 170 <= len(found[1]) <= 230
    assert len(found[2]) == 400
    assert found[0] < found[1] < found[2]


def test_small_regions_have_none():
    mask = canvas(100, 100)
    mask[10:20, 10:20] = 1  # exactly 1 %
    mask[50:59, 50:61] = 2  # 99 pixels
    assert {stroke.tag for stroke in strokes_of(mask, min_size=0.01)} == {"cat"}
    assert {stroke.tag for stroke in strokes_of(mask, min_size=0)} == {"cat", "dog"}


def test_the_background_may_be_left_out():
    mask = canvas(label=0)
    mask[20:50, 20:70] = 2
    assert {stroke.tag for stroke in strokes_of(mask)} == {"background", "dog"}
    assert {stroke.tag for stroke in strokes_of(mask, background=False)} == {"dog"}
    with_it = [stroke for stroke in strokes_of(mask) if stroke.tag == "dog"]
    assert with_it == list(strokes_of(mask, background=False))


@pytest.mark.parametrize(
    ("thickness", "width", "kind", "most"),
    [(1, 3, Pixels, 1), (2, 3, Pixels, 2), (3, 3, Line, 3), (6, 9, Pixels, 6), (12, 9, Line, 9)],
)
def test_strokes_are_narrower_only_where_the_region_is(thickness, width, kind, most):
    mask = canvas()
    mask[30 : 30 + thickness, 10:110] = 1
    (stroke,) = strokes_of(mask, width=width, jitter=0)
    assert isinstance(stroke.shape, kind)
    columns = drawn(stroke, mask.shape, width)[:, 55:65].sum(0)
    assert columns.max() <= most
    assert columns.min() >= most / 2


def test_a_thin_limb_does_not_make_a_stroke_of_the_body_narrower():
    mask = canvas()
    mask[20:60, 20:60] = 1
    mask[40, 60:70] = 1
    for stroke in strokes_of(mask):
        assert isinstance(stroke.shape, Line)


def test_nothing_is_drawn_along_the_border_of_the_image():
    """A region that fills the image has its middle in the image's."""
    (stroke,) = strokes_of(canvas(60, 200, label=1), jitter=0)
    y = np.array(stroke.shape.points)[:, 1]
    assert 20 < y.min() <= y.max() < 40


def test_an_unknown_mask_has_no_strokes():
    assert strokes_of(canvas()) == ()


def test_a_label_without_a_name_is_refused():
    mask = canvas(10, 10, label=0)
    mask[3, 7] = 4
    with pytest.raises(BPGError, match="label 4 in column 7, row 3 has no name: 4 classes"):
        strokes_of(mask)


@pytest.mark.parametrize(
    "wrong",
    [
        {"length": 0},
        {"length": 1.1},
        {"width": 0.5},
        {"share": 0},
        {"jitter": -0.1},
        {"min_size": float("nan")},
        {"width": True},
    ],
)
def test_options_have_limits(wrong):
    with pytest.raises(ValueError, match="validation error"):
        HandOptions(**wrong)
