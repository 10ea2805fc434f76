"""GrabCut's labels: what the strokes say stays, what no class or several claim is unknown."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bpg.constants import IGNORE
from bpg.opencv import cv2
from bpg.propagation.grabcut import combine, grabcut_labels
from bpg.propagation.options import GrabCutOptions

ONCE, OFTEN = GrabCutOptions(1), GrabCutOptions(4)


def panels(*colours, side=24, noise=12):
    """Upright stripes of one colour each, with noise; and which stripe a pixel is in."""
    which = np.repeat(np.arange(len(colours)), side)[None].repeat(side, 0)
    spread = np.random.default_rng(0).integers(-noise, noise + 1, (*which.shape, 3))
    image = np.clip(np.array(colours)[which] + spread, 0, 255).astype(np.uint8)
    return image, which.astype(np.uint8)


def strokes(which, labels):
    """A short upright stroke in each stripe; None draws nothing there."""
    scribble = np.full(which.shape, IGNORE, np.uint8)
    side = len(which)
    for place, label in enumerate(labels):
        if label is not None:
            middle = place * side + side // 2
            scribble[6:-6, middle - 1 : middle + 2] = label
    return scribble


@pytest.mark.parametrize("options", [ONCE, OFTEN])
def test_plain_regions_get_the_label_of_their_stroke(options):
    image, which = panels((200, 30, 30), (30, 30, 200), (30, 180, 30))
    labels = grabcut_labels(image, strokes(which, [0, 2, 5]), options)
    np.testing.assert_array_equal(labels, np.array([0, 2, 5], np.uint8)[which])


def test_a_region_without_a_stroke_goes_to_the_colour_that_is_like_it():
    image, which = panels((200, 30, 30), (30, 30, 200), (190, 40, 40))
    labels = grabcut_labels(image, strokes(which, [3, 1, None]), ONCE)
    np.testing.assert_array_equal(labels, np.array([3, 1, 3], np.uint8)[which])


def test_a_pixel_goes_to_the_class_that_alone_claims_it():
    claims = {0: np.array([[1, 1, 0, 0]], bool), 4: np.array([[0, 1, 1, 0]], bool)}
    np.testing.assert_array_equal(combine(claims), [[0, IGNORE, 4, IGNORE]])


def test_one_class_alone_has_nothing_to_be_separated_from():
    image, which = panels((200, 30, 30), (30, 30, 200))
    for drawn in (strokes(which, [2, 2]), strokes(which, [None, None])):
        np.testing.assert_array_equal(grabcut_labels(image, drawn, ONCE), drawn)


SIDES = st.integers(1, 9)


@st.composite
def problems(draw):
    shape = draw(SIDES), draw(SIDES)
    image = draw(arrays(np.uint8, (*shape, 3)))
    scribble = draw(arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 4, 20, IGNORE])))
    return image, scribble


@settings(deadline=None, max_examples=60)
@given(problems(), st.sampled_from([ONCE, OFTEN]))
def test_strokes_keep_their_labels_and_no_other_label_appears(problem, options):
    # Any image, down to a pixel, and any strokes: fewer pixels than the mixtures have Gaussians.
    image, scribble = problem
    before = image.copy(), scribble.copy()
    labels = grabcut_labels(image, scribble, options)
    drawn = scribble != IGNORE
    assert (labels.dtype, labels.shape) == (np.uint8, scribble.shape)
    np.testing.assert_array_equal(labels[drawn], scribble[drawn])
    assert set(np.unique(labels)) <= {*np.unique(scribble[drawn]), IGNORE}
    for array, kept in zip((image, scribble), before, strict=True):
        np.testing.assert_array_equal(array, kept)


def textured():
    """Colours that overlap, so that much depends on where the mixtures begin."""
    image, which = panels((150, 90, 90), (90, 90, 150), (90, 150, 90), noise=70)
    return image, strokes(which, [1, 0, 2])


def test_other_numbers_of_the_classes_change_nothing_else():
    image, scribble = textured()
    to = np.arange(256, dtype=np.uint8)
    to[[0, 1, 2]] = 7, 3, 0
    labels = grabcut_labels(image, scribble, OFTEN)
    np.testing.assert_array_equal(grabcut_labels(image, to[scribble], OFTEN), to[labels])


def test_the_same_labels_whatever_was_drawn_before_and_in_whichever_thread():
    image, scribble = textured()
    labels = grabcut_labels(image, scribble, OFTEN)
    cv2.setRNGSeed(77)
    cv2.randu(np.zeros(5), 0, 1)
    with ThreadPoolExecutor(2) as pool:
        others = list(pool.map(lambda _: grabcut_labels(image, scribble, OFTEN), range(4)))
    for other in (grabcut_labels(image, scribble, OFTEN), *others):
        np.testing.assert_array_equal(other, labels)
