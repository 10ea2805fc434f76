"""Fit a forest on the pixels of the strokes."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from bpg.constants import IGNORE
from bpg.errors import BPGError
from bpg.forest.features import Features
from bpg.forest.forest import LEAF, Forest
from bpg.forest.options import ForestOptions


class Labelled(NamedTuple):
    """The labelled pixels of an image.

    Attributes:
        pixels: Their places (pixels,), row by row, ascending.
        labels: Their labels (pixels,), 0..K.
    """

    pixels: NDArray[np.int32]
    labels: NDArray[np.uint8]


def labelled_pixels(scribble: NDArray[np.uint8]) -> Labelled:
    """Find the labelled pixels of an image.

    Args:
        scribble: Labels (H, W); 255 = nothing drawn.
    """
    pixels = np.flatnonzero(scribble != IGNORE).astype(np.int32)
    return Labelled(pixels, scribble.ravel()[pixels])


def draw_pixels(strokes: Mapping[str, Labelled], limit: int, seed: int) -> dict[str, Labelled]:
    """Draw pixels of the strokes, the same number from every class or all that there are.

    Args:
        strokes: {image: its strokes}.
        limit: The largest number of pixels of a class.
        seed: Of the draw.

    Returns:
        {image: what is drawn of its strokes}, without images of which nothing is.

    Raises:
        BPGError: No pixel of any image is labelled.
    """
    labels = np.concatenate([one.labels for one in strokes.values()])
    if not len(labels):
        raise BPGError("no pixel of any training image is labelled; draw strokes")
    rng = np.random.default_rng(seed)
    drawn = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        drawn[rng.choice(of_class, min(limit, len(of_class)), replace=False)] = True
    ends = np.cumsum([len(one.labels) for one in strokes.values()])
    found = {
        name: Labelled(one.pixels[part], one.labels[part])
        for (name, one), part in zip(strokes.items(), np.split(drawn, ends[:-1]), strict=True)
    }
    return {name: one for name, one in found.items() if len(one.labels)}


def fit_forest(
    features: Features,
    labels: NDArray[np.uint8],
    classes: Sequence[str],
    options: ForestOptions,
    seed: int,
) -> Forest:
    """Fit scikit-learn's random forest, classes weighted so that each counts as much.

    Each tree has its own random numbers, so that the number of cores changes nothing.

    Args:
        features: Of the pixels (pixels, features).
        labels: Of the pixels (pixels,), 0..K.
        classes: Names of the labels.
        options: Of the forest.
        seed: Of the trees.
    """
    fitted = RandomForestClassifier(
        options.trees,
        max_depth=options.depth,
        class_weight="balanced",
        random_state=seed,
        n_jobs=-1,
    ).fit(features, labels)
    return from_sklearn(fitted, classes, options)


def from_sklearn(
    fitted: RandomForestClassifier, classes: Sequence[str], options: ForestOptions
) -> Forest:
    """Take the arrays out of scikit-learn's forest.

    Args:
        fitted: A fitted forest; its classes are labels 0..K, some of which may be missing.
        classes: Names of all labels.
        options: What it was fitted with.
    """
    trees = [one.tree_ for one in fitted.estimators_]
    ends = np.cumsum([tree.node_count for tree in trees])
    roots = ends - [tree.node_count for tree in trees]
    features = np.concatenate([np.maximum(tree.feature, LEAF) for tree in trees])
    leaf = features == LEAF
    children = np.concatenate(
        [
            np.stack([tree.children_left, tree.children_right], 1) + root
            for tree, root in zip(trees, roots, strict=True)
        ]
    )
    children[leaf] = np.flatnonzero(leaf)[:, None]
    values = np.concatenate([tree.value[tree.feature < 0, 0] for tree in trees])
    shares = np.zeros((len(values), len(classes)))
    shares[:, fitted.classes_] = values / values.sum(1, keepdims=True)
    return Forest(
        tuple(classes),
        options,
        roots.astype(np.int32),
        features.astype(np.int32),
        _below(np.where(leaf, 0, np.concatenate([tree.threshold for tree in trees]))),
        children.astype(np.int32),
        shares.astype(np.float32),
    )


def _below(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Round down: a float32 is at most the result if and only if it is at most the value."""
    rounded = values.astype(np.float32)
    return np.where(rounded > values, np.nextafter(rounded, np.float32(-np.inf)), rounded)
