"""What a network makes of a folder's images, in the folder's classes."""

from dataclasses import replace

import numpy as np
import pytest

from bpg.data.masks import write_image
from bpg.draw.answers import Answers, Score
from bpg.draw.store import Store
from bpg.errors import BPGError
from bpg.inference.card import Scores
from bpg.inference.model import open_model
from bpg.inference.options import CRFOptions
from bpg.inference.segment import SegmentOptions, segment
from tests.colours import CARD, write_colours


@pytest.fixture
def store(tmp_path, patches):
    (tmp_path / "own/images").mkdir(parents=True)
    write_image(tmp_path / "own/images/a.png", patches)
    store = Store(tmp_path / "own")
    yield store
    store.close()


def test_the_labels_are_the_folders(store, colours, labels):
    for name in ("blue", "green", "red"):  # another order, and a class more
        store.add_class(name)
    answers = Answers(store, colours)
    found = answers.answer("a.png")
    assert found.by == "network"
    assert found.classes == ("background", "blue", "green", "red")
    np.testing.assert_array_equal(found.labels, np.array([0, 3, 1])[labels])


def test_the_score_is_the_cards(store, tmp_path):
    for scores, miou, measured_on in (
        (None, None, ""),
        (Scores(61.5, 62.5, "masks", 9), 61.5, "masks"),
    ):
        path = write_colours(tmp_path / "scored.onnx", replace(CARD, scores=scores))
        answers = Answers(store, path)
        assert answers.score("a.png") == Score(miou, measured_on, None)
    answers.use_forest()
    assert answers.score("a.png") == Score(None, "0 held-out strokes", 0)


def test_after_a_renaming_it_is_said_what_to_do(store, colours, labels):
    answers = Answers(store, colours)
    assert store.classes == ["background", "red", "blue"]  # the network's, if there were none
    np.testing.assert_array_equal(answers.answer("a.png").labels, labels)
    store.rename_class("red", "rouge")
    for ask in (lambda: answers.answer("a.png"), answers.next):
        with pytest.raises(BPGError, match=r"knows background, red, blue, .* train again"):
            ask()
    store.rename_class("rouge", "red")
    np.testing.assert_array_equal(answers.answer("a.png").labels, labels)


def test_with_crf_as_bpg_predict_does_it(store, patches, tmp_path):
    noisy = patches.astype(int) + np.random.default_rng(0).normal(0, 60, patches.shape)
    noisy = noisy.clip(0, 255).astype(np.uint8)
    write_image(store.root / "images/a.png", noisy)
    crf = CRFOptions(5, 3, 1, 4, 8, 60)
    path = write_colours(tmp_path / "crf.onnx", replace(CARD, crf=crf))
    model = open_model(path)
    with_crf, without = (segment(model, noisy, SegmentOptions(crf=on)) for on in (True, False))
    assert (with_crf != without).any()
    answers = Answers(store, path)
    for _ in range(2):  # the second one is remembered
        found = answers.answer("a.png")
        assert found.by == "network with CRF"
        np.testing.assert_array_equal(found.labels, with_crf)
    answers.use(write_colours(tmp_path / "plain.onnx"))
    np.testing.assert_array_equal(answers.answer("a.png").labels, without)
