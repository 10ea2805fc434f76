import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from bpg.data.frames import resized, small_copy, turned
from bpg.data.strokes import Area, Line, Pixels, covered, paint


def canvas(shape, width, height):
    drawn = np.zeros((height, width), np.uint8)
    paint(drawn, covered(shape, width, height, 1), 1)
    return drawn


SHAPES = {
    "line": Line(((1.5, 1.5), (6.5, 1.5), (6.5, 3.5))),
    "area": Area((((1.0, 1.0), (6.0, 1.0), (6.0, 4.0)),)),
    "pixels": Pixels(1, 2, np.array([[1, 1, 0], [0, 1, 1]], bool)),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_strokes_turn_as_pillow_turns_the_image(tmp_path, shape, orientation):
    """A stroke drawn on the stored pixels, turned, covers what those pixels become."""
    stored = canvas(shape, 8, 6)
    image = Image.fromarray(stored)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    shown = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.png")))
    height, width = shown.shape
    found = canvas(turned(shape, orientation, width, height), width, height)
    if isinstance(shape, Area):  # where a centre lies on the outline, either side may count
        assert (found != shown).sum() <= 3
    else:
        np.testing.assert_array_equal(found, shown)


def test_lines_and_areas_shrink_with_the_image():
    assert resized(Line(((10.0, 4.0),)), (20, 8), (5, 4)) == Line(((2.5, 2.0),))
    area = Area((((0.0, 0.0), (20.0, 0.0), (20.0, 8.0)),))
    assert resized(area, (20, 8), (5, 4)) == Area((((0.0, 0.0), (5.0, 0.0), (5.0, 4.0)),))
    assert resized(area, (20, 8), (20, 8)) is area


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_painted_pixels_shrink_to_those_that_they_cover_by_a_quarter(data):
    width, height = data.draw(st.integers(2, 30)), data.draw(st.integers(2, 30))
    after = data.draw(st.integers(1, width)), data.draw(st.integers(1, height))
    mask = np.zeros((height, width), bool)
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    right = data.draw(st.integers(left + 1, width))
    bottom = data.draw(st.integers(top + 1, height))
    mask[top:bottom, left:right] = True
    box = Pixels(left, top, mask[top:bottom, left:right])
    found = canvas(resized(box, (width, height), after), *after)
    # The share of each new pixel, by the definition.
    across, down = width / after[0], height / after[1]
    share = np.zeros(after[::-1])
    for row in range(after[1]):
        for column in range(after[0]):
            wide = min(right, (column + 1) * across) - max(left, column * across)
            high = min(bottom, (row + 1) * down) - max(top, row * down)
            share[row, column] = max(0, wide) * max(0, high) / (across * down)
    clear = abs(share - 0.25) > 1e-5
    if (share >= 0.25).any():
        np.testing.assert_array_equal(found[clear] == 1, (share >= 0.25)[clear])
    else:  # a stroke thinner than that does not vanish
        assert found.any()
        assert share[found == 1].min() > 0


def test_a_thin_stroke_stays_connected():
    mask = np.zeros((200, 200), bool)
    for offset in range(5):
        mask[np.arange(195), np.arange(195) + offset] = True
    found = canvas(resized(Pixels(0, 0, mask), (200, 200), (40, 40)), 40, 40)
    assert found.any(1)[:38].all()


def test_small_copies_are_averages():
    image = np.zeros((4, 4, 3), np.uint8)
    image[:2, :2] = 100
    np.testing.assert_array_equal(small_copy(image, 2)[..., 0], [[100, 0], [0, 0]])
    assert small_copy(image, 4) is image
