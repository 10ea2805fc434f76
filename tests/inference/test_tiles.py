"""Tiles must show no seam: what they give is what the whole image gives."""

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpg.data.shapes import draw_sample
from bpg.inference.options import InferenceOptions
from bpg.inference.tiles import Part, parts, region_probabilities, tiles
from bpg.resize import axis, resample

SCALES = InferenceOptions(scales=(0.75, 1.0, 1.25), flip=True)


def strided(images):
    """A network with the geometry of ours and a short view: features at every eighth pixel.

    A feature is the mean of the 7×7 pixels around its place, the mean colour outside; logits are
    enlarged with aligned corners.
    """
    height, width = images.shape[1:3]
    rows, columns = (-(-(size - 1) // 8) for size in (height, width))
    pads = ((0, 0), (3, 8 * rows + 4 - height), (3, 8 * columns + 4 - width), (0, 0))
    padded = np.pad(images / 100 - 1, pads)
    features = np.stack(
        [
            np.stack([padded[:, 8 * y : 8 * y + 7, 8 * x : 8 * x + 7].mean((1, 2))
                      for x in range(columns + 1)], 1)
            for y in range(rows + 1)
        ],
        1,
    )  # fmt: skip
    places = [np.arange(size) / 8 for size in (height, width)]
    weights = [
        np.maximum(0, 1 - np.abs(p[:, None] - np.arange(n + 1)))
        for p, n in zip(places, (rows, columns), strict=True)
    ]
    return np.einsum("yi,xj,nijc->ncyx", *weights, features).astype(np.float32)


def tiled(logits, image, options, *, tile, overlap):
    height, width = image.shape[:2]
    result = np.full((3, height, width), np.nan, np.float32)
    for rows, columns in tiles(height, width, tile=tile, overlap=overlap):
        found = region_probabilities(logits, image, rows, columns, options, overlap=overlap)
        result[:, rows.slice, columns.slice] = found
    return result


def whole(logits, image, options):
    height, width = image.shape[:2]
    return region_probabilities(
        logits, image, Part(0, height), Part(0, width), options, overlap=max(height, width)
    )


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.integers(17, 60),
    st.sampled_from([(1.0,), (0.75,), (1.25,), (0.5, 1.5)]),
    st.booleans(),
    st.integers(0, 10**6),
)
def test_with_the_view_of_the_network_as_overlap_tiles_are_exact(size, middle, scales, flip, seed):
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    options = InferenceOptions(scales=scales, flip=flip)
    # A pixel's logits depend on features up to 7 pixels away, these on pixels 3 away.
    found = tiled(strided, image, options, tile=middle + 24, overlap=12)
    np.testing.assert_allclose(found, whole(strided, image, options), atol=2e-6)


def test_a_tile_off_the_grid_would_not_be(monkeypatch):
    """The test above would notice tiles that begin anywhere."""
    image = np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8)
    options = InferenceOptions(scales=(1.0,), flip=True)
    monkeypatch.setattr("bpg.inference.tiles.STRIDE", 1)
    found = tiled(strided, image, options, tile=60, overlap=13)
    assert np.abs(found - whole(strided, image, options)).max() > 0.01


def test_an_image_that_is_not_larger_is_one_tile():
    assert list(tiles(100, 80, tile=100, overlap=20)) == [(Part(0, 100), Part(0, 80))]
    assert list(tiles(101, 80, tile=100, overlap=20)) == [
        (Part(0, 50), Part(0, 80)),
        (Part(50, 101), Part(0, 80)),
    ]


@given(st.integers(1, 5000), st.integers(1, 600))
def test_parts_are_the_whole_and_none_is_too_long(size, length):
    found = list(parts(size, length))
    assert found[0].first == 0
    assert found[-1].last == size
    assert all(a.last == b.first for a, b in pairwise(found))
    assert all(0 < part.last - part.first <= length for part in found)


def test_the_numbers_are_those_of_the_pipeline_for_the_whole_image():
    torch = pytest.importorskip("torch")
    from bpg.inference.multiscale import multiscale_probabilities  # noqa: PLC0415
    from bpg.models.network import Architecture, Network  # noqa: PLC0415

    torch.manual_seed(0)
    options = {"layers": [1, 1, 1, 1], "channels": [8, 8, 8, 8]}
    network = Network(Architecture(("background", "cat", "dog"), "resnet18", options)).eval()
    image = draw_sample([0, 0, 3], 61).image[:50]

    def logits(images):
        with torch.inference_mode():
            return network(torch.from_numpy(images).permute(0, 3, 1, 2)).logits.numpy()

    cpu = torch.device("cpu")
    expected = multiscale_probabilities(network, image, SCALES, device=cpu, bf16=False).numpy()
    np.testing.assert_allclose(whole(logits, image, SCALES), expected, atol=1e-5)


def test_memory_is_that_of_a_tile():
    program = """
import resource, sys
import numpy as np
from bpg.inference.options import InferenceOptions
from bpg.inference.tiles import region_probabilities, tiles

def logits(images):
    return np.repeat(images.transpose(0, 3, 1, 2), 4, axis=1)

image = np.zeros((int(sys.argv[1]), 300, 3), np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for rows, columns in tiles(*image.shape[:2], tile=300, overlap=32):
    region_probabilities(logits, image, rows, columns, InferenceOptions((0.5, 1.0), True), overlap=32)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""  # noqa: E501

    def kilobytes(height):
        command = [sys.executable, "-c", program, str(height)]
        return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)

    once = kilobytes(300)
    # Ten times the image: its own 2.7 MB, but not ten times the 12 channels of floats.
    assert kilobytes(3000) < once + 6000


@pytest.mark.parametrize("wanted", [1, 3, 40])
def test_a_part_is_resampled_as_in_the_whole(wanted):
    values = np.random.default_rng(0).random((1, 17)).astype(np.float32)
    by = axis(17, wanted, antialias=True)
    complete = resample(values, 1, by, 0, wanted)
    for first in range(wanted):
        low, high = by.reach(first, first + 1)
        found = resample(values[:, low:high], 1, by, first, first + 1, offset=low)
        np.testing.assert_array_equal(found, complete[:, first : first + 1])
