"""Labels of images that are tiled, shrunk or refined by a CRF."""

from dataclasses import replace

import numpy as np
import pytest

from bpg.data.shapes import draw_sample
from bpg.errors import BPGError
from bpg.inference import segment as module
from bpg.inference.crf import dense_crf
from bpg.inference.model import open_model
from bpg.inference.options import CRFOptions, InferenceOptions
from bpg.inference.segment import SegmentOptions, probabilities, segment

CRF = CRFOptions(5, 3, 1, 4, 10, 10)


@pytest.fixture
def model(colours):
    return open_model(colours, "cpu")


@pytest.fixture(scope="module")
def photograph():
    """Looks real: (240, 240, 3)."""
    return draw_sample([0, 0, 11], 240).image


def with_card(model, **changes):
    model.card = replace(model.card, **changes)
    return model


@pytest.mark.parametrize("crf", [False, True])
def test_tiles_give_the_labels_of_the_whole(model, photograph, crf):
    scales = InferenceOptions(scales=(0.75, 1.0), flip=True)
    with_card(model, crf=CRF, inference=scales)
    at_once = segment(model, photograph, SegmentOptions(crf=crf))
    in_tiles = segment(model, photograph, SegmentOptions(crf=crf, tile=140, overlap=40))
    assert 0 < at_once.mean() < 2
    # The CRF, which sees everything, only approximately.
    assert (at_once == in_tiles).mean() > (0.995 if crf else 0.99999)


def test_the_crf_is_the_pipelines(model, photograph):
    with_card(model, crf=CRF)
    maps = model.probabilities(photograph).clip(min=module.LEAST)
    expected = dense_crf(photograph, [0, 1, 2], maps, CRF)
    np.testing.assert_array_equal(segment(model, photograph, SegmentOptions(crf=True)), expected)


@pytest.mark.parametrize("crf", [False, True])
def test_what_is_larger_than_in_training_is_shrunk_and_brought_back(model, patches, labels, crf):
    with_card(model, longest_side=30, crf=CRF)
    large = patches.repeat(8, 0).repeat(8, 1)
    found = segment(model, large, SegmentOptions(crf=crf))
    assert found.shape == (160, 240)
    wrong = found != labels.repeat(8, 0).repeat(8, 1)
    # At the borders of the patches a pixel of the small image is eight wide.
    assert not wrong[:76, :116].any()
    assert wrong.mean() < 0.03
    np.testing.assert_array_equal(
        segment(model, patches, SegmentOptions(longest_side=30)), labels
    )  # no larger: as it is


def test_the_longest_side_can_be_given(model, photograph):
    as_trained = segment(with_card(model, longest_side=40), photograph, SegmentOptions())
    own = segment(model, photograph, SegmentOptions(longest_side=0))
    given = segment(
        with_card(model, longest_side=None), photograph, SegmentOptions(longest_side=40)
    )
    np.testing.assert_array_equal(as_trained, given)
    assert (as_trained != own).any()


def test_strips_make_no_difference(model, photograph, monkeypatch):
    with_card(model, longest_side=50)
    at_once = segment(model, photograph, SegmentOptions())
    monkeypatch.setattr(module, "STRIP", 5000)
    np.testing.assert_array_equal(segment(model, photograph, SegmentOptions()), at_once)


def test_probabilities_are_at_the_images_size_and_bounded(model, photograph, monkeypatch):
    with_card(model, longest_side=50)
    found = probabilities(model, photograph, SegmentOptions())
    assert found.shape == (3, 240, 240)
    np.testing.assert_array_equal(found.argmax(0), segment(model, photograph, SegmentOptions()))
    monkeypatch.setattr(module, "PROBABILITY_LIMIT", 240 * 240 * 12 - 1)
    with pytest.raises(BPGError, match="3 probabilities for 240x240 pixels take more than"):
        probabilities(model, photograph, SegmentOptions())
