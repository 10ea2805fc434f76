"""Images with their strokes: what does not agree is named."""

import numpy as np
import pytest
from PIL import Image

from bpg.data.masks import write_mask
from bpg.data.scribbled import read_scribble, read_scribbled
from bpg.errors import BPGError


@pytest.fixture
def data(tmp_path):
    for name in ("images", "scribbles"):
        (tmp_path / name).mkdir()
    image = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    Image.fromarray(image).save(tmp_path / "images/a.png")
    scribble = np.full((4, 5), 255, np.uint8)
    scribble[0] = 2
    write_mask(tmp_path / "scribbles/a.png", scribble)
    return tmp_path, image, scribble


def test_an_image_comes_with_its_strokes(data):
    folder, image, scribble = data
    found = read_scribbled(folder / "images", folder / "scribbles", "a", 3)
    for one, expected in zip(found, (image, scribble), strict=True):
        np.testing.assert_array_equal(one, expected)


def test_an_unknown_label_is_named(data):
    folder, *_ = data
    with pytest.raises(BPGError, match=r"a\.png: label 2; only 0\.\.1 and 255 are known"):
        read_scribble(folder / "scribbles/a.png", 2)


def test_another_size_is_named(data):
    folder, *_ = data
    write_mask(folder / "scribbles/a.png", np.zeros((5, 4), np.uint8))
    with pytest.raises(BPGError, match=r"a\.png: not of its image's size; run the stage scribbles"):
        read_scribbled(folder / "images", folder / "scribbles", "a", 3)


def test_a_missing_file_is_named(data):
    folder, *_ = data
    with pytest.raises(BPGError, match=r"b\.png"):
        read_scribble(folder / "scribbles/b.png", 3)
