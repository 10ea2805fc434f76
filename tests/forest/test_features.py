"""Features: scikit-image's, at scales that double, at any size of the image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.feature import multiscale_basic_features

from bpg.forest.features import feature_count, pixel_features, sigmas


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(1, 8, [1, 2, 4, 8]), (1, 15.9, [1, 2, 4, 8]), (0.3, 1.2, [0.3, 0.6, 1.2]), (2, 2, [2])],
)
def test_the_scales_double_up_to_the_limit(low, high, expected):
    assert sigmas(low, high) == pytest.approx(expected)


@given(st.floats(0.1, 64), st.floats(0.1, 64))
def test_no_scale_is_left_out_and_none_is_above_the_limit(one, other):
    low, high = sorted((one, other))
    found = sigmas(low, high)
    assert found[0] == low
    assert found[-1] <= high * (1 + 1e-6) < 2 * found[-1] * (1 + 2e-6)


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (20, 31, 3)).astype(np.uint8)


def test_they_are_scikit_images(image):
    found = pixel_features(image, 1, 4)
    expected = multiscale_basic_features(image, sigma_min=1, sigma_max=4, channel_axis=-1)
    assert (found.dtype, found.shape) == (np.float32, (20, 31, feature_count(1, 4)))
    np.testing.assert_array_equal(found, expected)


def test_a_limit_between_two_scales_is_the_lower_one(image):
    np.testing.assert_array_equal(pixel_features(image, 1, 3.9), pixel_features(image, 1, 2))


def test_a_plain_image_has_its_colour_and_neither_edges_nor_texture():
    image = np.full((9, 7, 3), (255, 51, 0), np.uint8)
    found = pixel_features(image, 1, 2).reshape(9, 7, 3, 2, 4)  # channel, scale, feature
    expected = np.zeros((3, 2, 4))
    expected[:, :, 0] = [[1], [0.2], [0]]
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1), (2, 2)])
def test_an_image_may_be_a_single_pixel_wide(shape):
    found = pixel_features(np.full((*shape, 3), 51, np.uint8), 1, 4)
    assert found.shape == (*shape, feature_count(1, 4))
    np.testing.assert_allclose(found[..., 0], 0.2, atol=1e-6)


def test_a_mirrored_image_has_mirrored_features(image):
    mirrored = pixel_features(image[:, ::-1], 1, 4)
    np.testing.assert_allclose(mirrored[:, ::-1], pixel_features(image, 1, 4), atol=1e-5)
