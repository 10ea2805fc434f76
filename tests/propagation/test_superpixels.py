import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from skimage import data
from skimage.segmentation import felzenszwalb

from bpg.propagation.superpixels import colours, neighbours, superpixels, textures

TINY = [(1, 1), (1, 2), (2, 1), (1, 9), (9, 1), (2, 2), (3, 2)]


def blocks(height, width, side=4):
    """Regions of side × side pixels, numbered from 0."""
    y, x = np.mgrid[:height, :width] // side
    return y * (-(-width // side)) + x


@pytest.mark.parametrize("size", [*TINY, (20, 33)])
@pytest.mark.parametrize("sigma", [0.0, 0.8])
def test_every_pixel_is_in_one_region_numbered_from_zero(size, sigma, rng):
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    regions = superpixels(image, scale=20, sigma=sigma, min_size=3)
    assert regions.shape == size
    assert regions.dtype == np.int64
    assert np.unique(regions).tolist() == list(range(regions.max() + 1))


def test_regions_hang_together_and_are_not_too_small(rng):
    image = rng.integers(0, 256, (24, 31, 3), dtype=np.uint8)
    regions = superpixels(image, scale=5, sigma=0.5, min_size=6)
    assert regions.max() > 3
    for region in range(regions.max() + 1):
        pixels = {tuple(p) for p in np.argwhere(regions == region).tolist()}
        assert len(pixels) >= 6
        walk, reached = [min(pixels)], set()
        while walk:
            y, x = walk.pop()
            if (y, x) in pixels and (y, x) not in reached:
                reached.add((y, x))
                # Felzenszwalb's graph has diagonals, too.
                walk += [(y + a, x + b) for a in (-1, 0, 1) for b in (-1, 0, 1)]
        assert reached == pixels


def test_two_flat_halves_are_two_superpixels():
    image = np.zeros((10, 12, 3), np.uint8)
    image[:, 5:] = 200
    regions = superpixels(image, scale=50, sigma=0, min_size=1)
    assert regions.max() == 1
    assert len(np.unique(regions[:, :5])) == len(np.unique(regions[:, 5:])) == 1


def test_scale_makes_them_larger(rng):
    image = rng.integers(0, 256, (24, 31, 3), dtype=np.uint8)
    count = [superpixels(image, scale=s, sigma=0.5, min_size=1).max() for s in (1, 10, 1000)]
    assert count[0] > count[1] > count[2]


SETTINGS = [(50, 0.5, 8), (100, 0.8, 50), (1, 0.0, 1), (3.7, 0.3, 20), (1e4, 2.5, 3)]


@pytest.mark.parametrize("options", SETTINGS)
@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "rocket"])
def test_photographs_have_the_superpixels_of_scikit_image(name, options):
    photograph = getattr(data, name)()[:375, :500]
    same_as_theirs(photograph, options)
    same_as_theirs(photograph[::3, ::2], options)


@settings(deadline=None)
@given(
    arrays.arrays(
        np.uint8,
        st.tuples(st.integers(1, 12), st.integers(1, 12), st.just(3)),
        # A few shades, so that many distances are equal.
        elements=st.sampled_from([0, 3, 128, 255]),
    ),
    st.sampled_from(SETTINGS),
)
def test_small_images_have_the_superpixels_of_scikit_image(image, options):
    same_as_theirs(image, options)


def same_as_theirs(image, options):
    scale, sigma, min_size = options
    found = superpixels(image, scale=scale, sigma=sigma, min_size=min_size)
    theirs = felzenszwalb(image, scale=scale, sigma=sigma, min_size=min_size)
    assert found.shape == theirs.shape
    assert (found == theirs).all()


@settings(deadline=None)
@given(
    arrays.arrays(
        np.int64,
        arrays.array_shapes(min_dims=2, max_dims=2, max_side=6),
        elements=st.integers(0, 4),
    )
)
def test_neighbours_are_all_that_touch(regions):
    pairs = set()
    height, width = regions.shape
    for y in range(height):
        for x in range(width):
            for v, u in ((y + 1, x), (y, x + 1)):
                if v < height and u < width and regions[y, x] != regions[v, u]:
                    pairs.add(tuple(sorted((int(regions[y, x]), int(regions[v, u])))))
    found = neighbours(regions)
    assert found.shape == (len(pairs), 2)
    assert [tuple(pair) for pair in found.tolist()] == sorted(pairs)


def test_neighbours_and_textures_of_a_photograph_are_those_written_plainly():
    image = data.coffee()[:375, :500]
    regions = superpixels(image, scale=50, sigma=0.5, min_size=8)
    sides = [(regions[:, :-1], regions[:, 1:]), (regions[:-1], regions[1:])]
    pairs = np.concatenate([np.stack([a.ravel(), b.ravel()], axis=1) for a, b in sides])
    pairs = np.unique(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1), axis=0)
    assert np.array_equal(neighbours(regions), pairs)
    slopes = np.stack(np.gradient(image.mean(2)), axis=2)
    roots = np.sign(slopes) * np.sqrt(np.abs(slopes) / 127.5)
    bins = np.clip((roots + 1) * 5, 0, 9).astype(np.int64) + np.array([0, 10])
    counts = np.zeros((regions.max() + 1, 20))
    np.add.at(counts, (regions[..., None], bins), 1)
    assert np.array_equal(textures(image, regions), counts / counts.sum(1, keepdims=True))


def test_one_region_has_no_neighbours():
    assert neighbours(np.zeros((3, 4), np.int64)).shape == (0, 2)
    assert neighbours(np.zeros((1, 1), np.int64)).shape == (0, 2)


@pytest.mark.parametrize("size", [(9, 14), *TINY])
def test_colours_are_histograms_of_25_bins_a_channel(size, rng):
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    image[0, 0] = 0, 255, 128
    regions = blocks(*size)
    found = colours(image, regions)
    assert found.shape == (regions.max() + 1, 75)
    for region in range(len(found)):
        counts = [0] * 75
        pixels = np.argwhere(regions == region).tolist()
        for y, x in pixels:
            for channel in range(3):
                # 25 bins of equal width over 0..256.
                counts[25 * channel + math.floor(float(image[y, x, channel]) / 256 * 25)] += 1
        expected = [number / (3 * len(pixels)) for number in counts]
        assert found[region].tolist() == pytest.approx(expected)
        assert found[region].sum() == pytest.approx(1)


def slopes(grey):
    """Central differences, one-sided at the border, downwards and to the right."""
    height, width = len(grey), len(grey[0])

    def slope(values, i):
        low, high = max(i - 1, 0), min(i + 1, len(values) - 1)
        return (values[high] - values[low]) / (high - low) if high > low else 0.0

    down = [[slope([row[x] for row in grey], y) for x in range(width)] for y in range(height)]
    right = [[slope(grey[y], x) for x in range(width)] for y in range(height)]
    return down, right


@pytest.mark.parametrize("size", [(9, 14), (2, 2), (3, 2)])
def test_textures_are_histograms_of_ten_slopes_a_direction(size, rng):
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    image[:1, :2] = [[[0] * 3, [255] * 3]]
    regions = blocks(*size)
    found = textures(image, regions)
    assert found.shape == (regions.max() + 1, 20)
    directions = slopes([[sum(map(int, pixel)) / 3 for pixel in row] for row in image.tolist()])
    for region in range(len(found)):
        counts = [0] * 20
        pixels = np.argwhere(regions == region).tolist()
        for y, x in pixels:
            for number, slope in enumerate(directions):
                root = math.copysign(math.sqrt(abs(slope[y][x]) / 127.5), slope[y][x])
                # Ten bins of equal width over -1..1; steeper ones are in the last.
                bin_of = min(max(math.floor((root + 1) * 5), 0), 9)
                counts[10 * number + bin_of] += 1
        expected = [number / (2 * len(pixels)) for number in counts]
        assert found[region].tolist() == pytest.approx(expected)


def test_textures_by_hand():
    ramp = np.zeros((5, 6, 3), np.uint8)
    ramp += (20 * np.arange(6, dtype=np.uint8))[:, None]
    whole = np.zeros((5, 6), np.int64)
    # Flat downwards: bin 5 of -1..1. A slope of 20: 0.396, bin 6.
    expected = np.zeros(20)
    expected[[5, 10 + 6]] = 0.5
    assert textures(ramp, whole)[0].tolist() == pytest.approx(expected.tolist())
    expected[[10 + 6, 10 + 3]] = 0, 0.5
    assert textures(ramp[:, ::-1], whole)[0].tolist() == pytest.approx(expected.tolist())
    # Brightness counts, not colour.
    recoloured = np.zeros((5, 6, 3), np.uint8)
    recoloured[..., 1] = 40 * np.arange(6)
    recoloured[..., 2] = 20 * np.arange(6)
    assert textures(recoloured, whole).tolist() == textures(ramp, whole).tolist()


@pytest.mark.parametrize("size", TINY)
def test_textures_of_tiny_pictures_sum_to_one(size, rng):
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    found = textures(image, np.zeros(size, np.int64))
    assert found.shape == (1, 20)
    assert found.sum() == pytest.approx(1)
    assert (found >= 0).all()
