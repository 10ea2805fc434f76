import struct

import numpy as np
import pytest
import zstandard
from PIL import Image
from scipy import ndimage

from bpg.errors import BPGError
from bpg.inference.probabilities import FLOOR, read_probabilities, write_probabilities


def smooth(classes, height, width, *, blur=6.0, sharp=5.0, seed=0):
    """Softmax of smooth random scores, as sure of themselves as a network's."""
    rng = np.random.default_rng(seed)
    scores = np.stack(
        [ndimage.gaussian_filter(rng.normal(size=(height, width)), blur) for _ in range(classes)]
    )
    exponents = np.exp(scores / scores.std() * sharp)
    return (exponents / exponents.sum(0)).astype(np.float32)


def round_trip(path, probabilities):
    """Return all classes' probabilities as read, zero for those not stored."""
    write_probabilities(path, probabilities)
    classes, stored = read_probabilities(path)
    assert stored.dtype == np.float32
    assert stored.shape == (len(classes), *probabilities.shape[1:])
    whole = np.zeros_like(probabilities)
    whole[classes] = stored
    return whole


@pytest.fixture
def path(tmp_path):
    (tmp_path / "run").mkdir()
    return tmp_path / "run" / "a.zst"


@pytest.mark.parametrize("shape", [(2, 31, 57), (7, 96, 96), (21, 60, 40), (3, 1, 1), (4, 1, 9)])
def test_what_is_read_is_what_was_written_within_half_a_percent(shape, path):
    probabilities = smooth(*shape)
    found = round_trip(path, probabilities)
    stored = probabilities.reshape(shape[0], -1).max(1) >= FLOOR
    assert np.abs(found - probabilities)[stored].max() < (0.005 if stored.all() else 0.05)
    assert np.abs(found.sum(0) - 1).max() < 1e-5


def test_small_probabilities_keep_their_logarithm(path):
    """The CRF takes -log p: the square root keeps 1 % within 4 % of itself."""
    values = np.linspace(0.005, 0.4, 500, dtype=np.float32)
    found = round_trip(path, np.stack([values, 1 - values])[:, None])[0, 0]
    # Half a code of 255·sqrt(p); a little more for making the sum one again.
    assert (np.abs(np.log(found / values)) < 1 / (255 * np.sqrt(values)) + 0.005).all()


@pytest.mark.parametrize("seed", range(3))
def test_the_winner_hardly_ever_changes(seed, path):
    probabilities = smooth(21, 150, 200, blur=20, sharp=8, seed=seed)
    found = round_trip(path, probabilities)
    same = found.argmax(0) == probabilities.argmax(0)
    assert same.mean() > 0.999
    # And where it does, it was a matter of less than a percent.
    two = np.sort(probabilities, 0)[-2:]
    assert (two[1] - two[0])[~same].max(initial=0) < 0.01


def test_classes_are_dropped_below_5_percent_only(path):
    peaks = [None, 0.0, 0.049, 0.051, 0.3, FLOOR]
    probabilities = np.zeros((6, 4, 8), np.float32)
    for number, peak in enumerate(peaks[1:], 1):
        probabilities[number, 2, number] = peak
    probabilities[0] = 1 - probabilities[1:].sum(0)
    write_probabilities(path, probabilities)
    classes, stored = read_probabilities(path)
    assert classes == [0, 3, 4, 5]
    assert stored[1, 2, 3] == pytest.approx(0.051, abs=0.003)


def test_a_winner_is_kept_even_under_the_floor(path):
    probabilities = np.full((30, 2, 2), 0.98 / 29, np.float32)
    probabilities[17] = 0.02
    probabilities[4, 0, 1] = 0.045
    assert probabilities.max() < FLOOR
    write_probabilities(path, probabilities)
    classes, stored = read_probabilities(path)
    assert set(classes) == set(probabilities.argmax(0).ravel().tolist()) == {0, 4}
    assert np.allclose(stored.sum(0), 1)


def test_no_probability_is_read_as_zero(path):
    probabilities = np.zeros((2, 3, 5), np.float32)
    probabilities[0, :, :2] = probabilities[1, :, 2:] = 1
    found = round_trip(path, probabilities)
    assert found.min() > 0
    assert np.isfinite(np.log(found)).all()
    assert np.abs(found - probabilities).max() < 1e-5


def test_one_class_alone(path):
    probabilities = np.zeros((5, 6, 7), np.float32)
    probabilities[2] = 1
    write_probabilities(path, probabilities)
    classes, stored = read_probabilities(path)
    assert classes == [2]
    assert (stored == 1).all()


def test_rounding_over_one_does_not_wrap_around(path):
    probabilities = np.full((1, 2, 2), 1.000001, np.float32)
    assert round_trip(path, probabilities).min() == pytest.approx(1)


def test_files_at_voc_size_are_small_and_repeat(path, tmp_path):
    """Four of 21 classes in the image: 15.8 MB as float32."""
    present = smooth(4, 375, 500, blur=25, sharp=6)
    probabilities = np.full((21, 375, 500), 0.002, np.float32)
    probabilities[[0, 5, 12, 15]] += present * (1 - 0.002 * 21)
    write_probabilities(path, probabilities)
    assert path.stat().st_size < 400_000
    write_probabilities(tmp_path / "again.zst", probabilities)
    assert path.read_bytes() == (tmp_path / "again.zst").read_bytes()
    assert [p.name for p in path.parent.iterdir()] == ["a.zst"]


# Broken files


def assert_refused(path):
    with pytest.raises(BPGError) as caught:
        read_probabilities(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(path):
    assert_refused(path)


@pytest.mark.parametrize("kept", [*range(0, 160, 7), 0.3, 0.6, 0.95])
def test_a_cut_off_file_is_refused(kept, path):
    write_probabilities(path, smooth(5, 40, 50))
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    assert_refused(path)


def test_whatever_bit_is_wrong_no_other_error_comes(path):
    write_probabilities(path, smooth(3, 12, 15, blur=2))
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for position in [*range(140), *rng.integers(140, len(content), 150)]:
        spoilt = bytearray(content)
        spoilt[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(spoilt)
        try:
            classes, stored = read_probabilities(path)
        except BPGError as error:
            assert str(path) in str(error)
        else:
            assert len(classes) == len(stored)
            assert np.isfinite(stored).all()


def packed(path, *, magic=b"BPGP", number=3, classes=(0, 1), size=(6, 9), content=None, claim=None):
    """A file of this program's format, but for what is given."""
    header = struct.pack("<4sBBII", magic, number, len(classes), *(claim or size)) + bytes(classes)
    body = bytes(len(classes) * size[0] * size[1]) if content is None else content
    path.write_bytes(zstandard.ZstdCompressor(write_checksum=True).compress(header + body))


def test_the_documented_format_is_read(path):
    packed(path, content=bytes([9] + 53 * [0] + [3] + 53 * [0]))
    classes, stored = read_probabilities(path)
    assert classes == [0, 1]
    assert stored[0] == pytest.approx(np.full((6, 9), 0.9))


@pytest.mark.parametrize(
    "change",
    [
        {"magic": b"BPGX"},
        {"classes": ()},
        {"classes": (1, 0)},
        {"classes": (1, 1)},
        {"classes": (0, 3)},
        {"number": 255, "classes": (0, 254, 255)},
        {"claim": (6, 10)},
        {"claim": (2**31, 2**31)},
        {"size": (0, 9)},
        {"content": b""},
        {"content": bytes(107)},
    ],
)
def test_a_frame_that_is_no_probability_file_is_refused(change, path):
    packed(path, **change)
    assert_refused(path)


def test_a_frame_that_would_fill_the_memory_is_refused_unread(path):
    bomb = zstandard.ZstdCompressor().compressobj(size=2**40)
    path.write_bytes(bomb.compress(bytes(2**20)) + bomb.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
    assert_refused(path)


@pytest.mark.parametrize("kind", ["JPEG", "text"])
def test_another_kind_of_file_is_refused(kind, path):
    if kind == "JPEG":
        Image.new("L", (8, 8)).save(path, format="JPEG")
    else:
        path.write_text("0.25 0.75\n")
    assert_refused(path)
