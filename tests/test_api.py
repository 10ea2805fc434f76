"""Three lines of Python."""

import numpy as np
import pytest
from PIL import Image

from bpg.api import load
from bpg.errors import BPGError


def test_a_file_and_an_array_give_labels_areas_and_probabilities(
    colours, patches, labels, tmp_path
):
    Image.fromarray(patches).save(tmp_path / "é.png")
    model = load(str(colours))
    assert model.classes == ("background", "red", "blue")
    for image in (patches, tmp_path / "é.png", str(tmp_path / "é.png")):
        result = model.predict(image)
        np.testing.assert_array_equal(result.labels, labels)
        assert result.labels.dtype == np.uint8
        assert result.areas == {"background": 0.5, "red": 0.25, "blue": 0.25}
    probabilities = result.probabilities()
    assert probabilities.shape == (3, 20, 30)
    # Of a red pixel: logits 0, 250 - 30 - 64, 30 - 250 - 64.
    np.testing.assert_allclose(probabilities[:, 0, 20], [0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(probabilities.sum(0), 1, atol=1e-5)


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
)
def test_other_arrays_are_refused(colours, image):
    with pytest.raises(BPGError, match=r"must be uint8 \(H, W, 3\), RGB; this array is"):
        load(colours).predict(image)


def test_options_out_of_range_are_refused(colours, patches):
    model = load(colours)
    with pytest.raises(BPGError, match=r"tile: 100 pixels with an overlap of 50.*at least 116"):
        model.predict(patches, tile=100, overlap=50)
    with pytest.raises(BPGError, match="has no options for a CRF"):
        model.predict(patches, crf=True)
