"""Drawing pixels of the strokes, and scikit-learn's forest as arrays of ours."""

from dataclasses import replace

import joblib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.ensemble import RandomForestClassifier

from bpg.constants import IGNORE
from bpg.errors import BPGError
from bpg.forest.features import feature_count
from bpg.forest.fit import draw_pixels, fit_forest, from_sklearn, labelled_pixels
from bpg.forest.options import ForestOptions

CLASSES = ("background", "bird", "cat", "dog")
OPTIONS = ForestOptions(trees=6, depth=5, sigma_min=1, sigma_max=2, pixels_per_class=50)
MAPS = arrays(np.uint8, (5, 6), elements=st.sampled_from([0, 1, 3, IGNORE]))


def counted(drawn) -> np.ndarray:
    return np.bincount(np.concatenate([one.labels for one in drawn.values()]), minlength=4)


@given(st.lists(MAPS, min_size=1, max_size=4), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_every_class_gives_what_it_has_up_to_the_limit(maps, limit, seed):
    scribbles = {str(place): one for place, one in enumerate(maps)}
    strokes = {name: labelled_pixels(one) for name, one in scribbles.items()}
    there = np.bincount(np.ravel(maps), minlength=256)
    if not there[:IGNORE].any():
        with pytest.raises(BPGError, match="no pixel of any training image is labelled"):
            draw_pixels(strokes, limit, seed)
        return
    drawn = draw_pixels(strokes, limit, seed)
    np.testing.assert_array_equal(counted(drawn), np.minimum(there[:4], limit))
    for name, one in drawn.items():
        assert len(one.pixels)
        assert (np.diff(one.pixels) > 0).all()  # each once
        np.testing.assert_array_equal(scribbles[name].ravel()[one.pixels], one.labels)


def test_the_seed_decides_which():
    strokes = {str(place): labelled_pixels(np.zeros((9, 9), np.uint8)) for place in range(3)}
    one, same, other = (draw_pixels(strokes, 20, seed) for seed in (5, 5, 6))
    for name in strokes:
        np.testing.assert_array_equal(one[name].pixels, same[name].pixels)
    assert any(one[name].pixels.tolist() != other[name].pixels.tolist() for name in strokes)


@pytest.mark.parametrize("seed", range(4))
def test_probabilities_are_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    # Few values, so that many of a tree's thresholds are halfway and some pixels lie on them.
    features = rng.integers(0, 6, (300, 24)).astype(np.float32) / np.float32(3)
    labels = rng.choice([1, 3], 300)
    fitted = RandomForestClassifier(11, max_depth=None, random_state=seed).fit(features, labels)
    ours = from_sklearn(fitted, CLASSES, OPTIONS).classify(features)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours[:, [1, 3]], fitted.predict_proba(features), atol=1e-6)
    assert not ours[:, [0, 2]].any()  # classes without a stroke


def test_a_value_on_a_threshold_goes_where_scikit_learn_sends_it(fitted, forest):
    # Pixels made of the very thresholds, and of the next numbers above and below.
    inner = forest.features >= 0
    for step in (-np.inf, None, np.inf):
        rows = np.zeros((inner.sum(), fitted.n_features_in_), np.float32)
        values = forest.thresholds[inner]
        if step is not None:
            values = np.nextafter(values, np.float32(step))
        rows[np.arange(len(rows)), forest.features[inner]] = values
        expected = fitted.predict_proba(rows)
        np.testing.assert_allclose(forest.classify(rows)[:, [0, 1, 3]], expected, atol=1e-6)


def test_a_fit_follows_its_options(samples):
    features, labels = samples
    forest = fit_forest(features, labels, CLASSES, OPTIONS, seed=1)
    assert len(forest.roots) == 6
    node, depth = forest.roots.astype(int), 0
    while (forest.children[node] != node[:, None]).any():
        node, depth = np.unique(forest.children[node]), depth + 1
    assert depth == 5
    assert forest.classes == CLASSES
    right = forest.classify(features).argmax(1) == labels
    assert right.mean() > 0.9


def test_classes_count_alike_however_few_their_pixels():
    # The same features for both: only the weights decide. Nine of ten are class 0.
    features = np.zeros((100, feature_count(1, 2)), np.float32)
    labels = np.repeat([0, 1], [90, 10]).astype(np.uint8)
    forest = fit_forest(features, labels, CLASSES, replace(OPTIONS, trees=200), seed=0)
    np.testing.assert_allclose(forest.classify(features[:1])[0], [0.5, 0.5, 0, 0], atol=0.05)


def test_the_seed_decides_the_trees_and_the_number_of_cores_nothing(samples):
    features, labels = samples
    found = [fit_forest(features, labels, CLASSES, OPTIONS, seed) for seed in (1, 1, 2)]
    with joblib.parallel_config("sequential"):
        found.append(fit_forest(features, labels, CLASSES, OPTIONS, seed=1))
    first, again, other, alone = (one.thresholds.tolist() for one in found)
    assert first == again == alone != other


def test_a_single_class_is_certain():
    features = np.zeros((5, feature_count(1, 2)), np.float32)
    forest = fit_forest(features, np.full(5, 2, np.uint8), CLASSES, OPTIONS, seed=0)
    np.testing.assert_array_equal(forest.classify(features), [[0, 0, 1, 0]] * 5)
