import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from bpg.forest.features import feature_count
from bpg.forest.fit import from_sklearn
from bpg.forest.options import ForestOptions

CLASSES = ("background", "bird", "cat", "dog")


@pytest.fixture(scope="session")
def options() -> ForestOptions:
    return ForestOptions(trees=7, depth=6, sigma_min=1, sigma_max=2, pixels_per_class=50)


@pytest.fixture(scope="session")
def samples(options):
    """Features (pixels, features) and labels (pixels,) that depend on them; none is a cat."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, feature_count(options.sigma_min, options.sigma_max)))
    features = features.astype(np.float32)
    first, second = features[:, 0] > 0, features[:, 5] > features[:, 1]
    return features, np.where(first, 3, np.where(second, 1, 0)).astype(np.uint8)


@pytest.fixture(scope="session")
def fitted(options, samples) -> RandomForestClassifier:
    """scikit-learn's forest."""
    forest = RandomForestClassifier(options.trees, max_depth=options.depth, random_state=3)
    return forest.fit(*samples)


@pytest.fixture(scope="session")
def forest(fitted, options):
    """Ours, of the same trees."""
    return from_sklearn(fitted, CLASSES, options)
