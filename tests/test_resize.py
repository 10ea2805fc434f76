"""Resizing in NumPy, against PyTorch's."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from bpg.resize import axis, resample, shrink, shrunk_size

# Not to a width of 1: there PyTorch's antialiasing gives every row the same values.
SIZES = st.tuples(st.integers(2, 50), st.integers(2, 50))


@settings(max_examples=60, deadline=None)
@given(SIZES, SIZES, st.booleans(), st.integers(0, 10**6))
def test_the_numbers_are_pytorchs(size, wanted, antialias, seed):
    image = np.random.default_rng(seed).random((*size, 2)).astype(np.float32)
    found = image
    for along in (0, 1):
        by = axis(size[along], wanted[along], antialias=antialias)
        found = resample(found, along, by, 0, wanted[along])
    expected = F.interpolate(
        torch.from_numpy(image).permute(2, 0, 1)[None],
        wanted,
        mode="bilinear",
        align_corners=False,
        antialias=antialias,
    )
    np.testing.assert_allclose(found, expected[0].permute(1, 2, 0).numpy(), atol=2e-5)


def test_by_hand():
    by = axis(4, 2, antialias=True)
    # Centres at 0.5 and 2.5, triangles that reach 2 samples: 3/4, 3/4, 1/4, divided by their sum.
    np.testing.assert_allclose(resample(np.array([0.0, 7, 0, 0]), 0, by, 0, 2), [3, 1], rtol=1e-6)
    plain = axis(4, 2, antialias=False)
    np.testing.assert_allclose(resample(np.array([0.0, 8, 0, 2]), 0, plain, 0, 2), [4, 1])


def test_one_row_of_a_column_is_its_mean_weighted_by_a_triangle():
    column = np.array([[0.0], [1], [2], [3], [4]])
    assert resample(column, 0, axis(5, 1, antialias=True), 0, 1) == pytest.approx(2)


def test_the_longer_side_is_brought_to_the_limit_and_no_image_enlarged():
    assert shrunk_size((400, 300), 100) == (100, 75)
    assert shrunk_size((3, 4000), 100) == (1, 100)
    assert shrunk_size((40, 30), 100) == (40, 30)
    assert shrunk_size((400, 300), None) == (400, 300)


def test_strips_make_no_difference(monkeypatch):
    image = np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)
    at_once = shrink(image, (31, 22))
    monkeypatch.setattr("bpg.resize.STRIP", 500)
    np.testing.assert_array_equal(shrink(image, (31, 22)), at_once)
    assert at_once.dtype == np.uint8
    assert shrink(image, (90, 70)) is image
