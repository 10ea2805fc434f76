"""A fitted forest: what it predicts, and its model file."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from bpg.atomic import whole_file
from bpg.errors import BPGError
from bpg.forest.features import Features, feature_count, pixel_features
from bpg.forest.options import ForestOptions

LEAF = -1
"""In place of a feature: the node is a leaf."""

_KEY = "forest"  # of the metadata
_CHUNK = 2**14  # pixels at a time: their features stay in the processor's cache
_TENSORS = {
    "roots": np.int32,
    "features": np.int32,
    "thresholds": np.float32,
    "children": np.int32,
    "shares": np.float32,
}


@dataclass(frozen=True)
class Forest:
    """Decision trees, all nodes one after another, a tree's parents before their children.

    Attributes:
        classes: Names of the labels, the background first.
        options: What it was fitted with.
        roots: The first node (trees,) of each tree.
        features: The feature (nodes,) that a node looks at, `LEAF` for a leaf.
        thresholds: A pixel goes to the first child if its feature is at most this (nodes,), else
            to the second.
        children: The two children (nodes, 2); a leaf is its own.
        shares: Of each leaf, in the order of the nodes, the classes' shares (leaves, K+1), which
            sum to 1.
    """

    classes: tuple[str, ...]
    options: ForestOptions
    roots: NDArray[np.int32]
    features: NDArray[np.int32]
    thresholds: NDArray[np.float32]
    children: NDArray[np.int32]
    shares: NDArray[np.float32]

    def probabilities(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Predict class probabilities.

        Args:
            image: (H, W, 3), RGB.

        Returns:
            (K+1, H, W) in 0..1.
        """
        features = pixel_features(image, self.options.sigma_min, self.options.sigma_max)
        height, width, number = features.shape
        found = self.classify(features.reshape(-1, number))
        return np.ascontiguousarray(found.T).reshape(-1, height, width)

    def classify(self, features: Features) -> NDArray[np.float32]:
        """Average the shares of the leaves that pixels fall into.

        Args:
            features: (pixels, features).

        Returns:
            (pixels, K+1) in 0..1.
        """
        leaf = self.features == LEAF
        # A leaf looks at some feature, and leads to itself whatever that says.
        looked_at = np.where(leaf, 0, self.features).astype(np.intp)
        children = self.children.astype(np.intp).ravel()
        place = np.cumsum(leaf) - 1
        total = np.empty((len(features), len(self.classes)), np.float32)
        for start in range(0, len(features), _CHUNK):
            part = features[start : start + _CHUNK]
            flat, first = part.ravel(), np.arange(len(part)) * part.shape[1]
            added = np.zeros((len(part), len(self.classes)))
            for root in self.roots:
                node = np.full(len(part), root, np.intp)
                while not leaf.take(node).all():
                    right = flat.take(first + looked_at.take(node)) > self.thresholds.take(node)
                    node = children.take(2 * node + right)
                added += self.shares.take(place.take(node), axis=0)
            total[start : start + _CHUNK] = added / len(self.roots)
        return total


def save_forest(forest: Forest, path: Path) -> None:
    """Write a forest to a safetensors file, whole or not at all; equal forests give equal bytes.

    Args:
        forest: The forest.
        path: The model file.
    """
    tensors = {name: np.ascontiguousarray(getattr(forest, name)) for name in _TENSORS}
    note = {"classes": forest.classes, "options": asdict(forest.options)}
    with whole_file(path) as partial:
        partial.write_bytes(save(tensors, {_KEY: json.dumps(note, sort_keys=True)}))


def is_forest(path: Path) -> bool:
    """Say whether a model file holds a forest; a file that cannot be read holds none.

    Args:
        path: A model file of `save_forest` or of `bpg.models.network.save_network`.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            return _KEY in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def load_forest(path: Path) -> Forest:
    """Read a forest written by `save_forest`.

    Args:
        path: The model file.

    Raises:
        BPGError: The file is missing, truncated, no forest's, or its trees lead out of their
            arrays or in circles.
    """
    if not path.is_file():
        raise BPGError(f"{path}: no such model; run the stage forest first")
    try:
        with safe_open(path, framework="numpy") as file:
            note = json.loads((file.metadata() or {})[_KEY])
            tensors = {name: file.get_tensor(name) for name in _TENSORS}
        classes = tuple(note["classes"])
        if not all(isinstance(name, str) for name in classes):
            raise TypeError("classes are words")
        forest = Forest(classes, ForestOptions(**note["options"]), **tensors)
    except (
        *(SafetensorError, OSError, ValidationError),
        *(KeyError, TypeError, ValueError, RecursionError),
    ) as error:
        raise BPGError(f"{path}: not a forest of this program; fit it again") from error
    if (fault := next(_faults(forest), None)) is not None:
        raise BPGError(f"{path}: {fault}; fit it again")
    return forest


def _faults(forest: Forest) -> Iterator[str]:
    """Say what is wrong with the arrays of a forest that someone else may have written."""
    nodes = len(forest.features)
    leaf = forest.features == LEAF
    leaves = int(leaf.sum())
    trees = len(forest.roots)
    shapes = {
        "roots": (trees,),
        "features": (nodes,),
        "thresholds": (nodes,),
        "children": (nodes, 2),
        "shares": (leaves, len(forest.classes)),
    }
    for name, kind in _TENSORS.items():
        found = getattr(forest, name)
        if found.shape != shapes[name] or found.dtype != kind:
            yield f"{name}: {found.dtype} {found.shape}, not {np.dtype(kind)} {shapes[name]}"
        if found.dtype == np.float32 and not np.isfinite(found).all():
            yield f"{name} holds NaN or infinity"
    if not trees or not (0 <= forest.roots.min() <= forest.roots.max() < nodes):
        yield "roots leads out of the nodes"
    options = forest.options
    number = feature_count(options.sigma_min, options.sigma_max)
    if not (LEAF <= forest.features.min() <= forest.features.max() < number):
        yield f"features names a feature that is none of the {number}"
    own = np.arange(nodes)[:, None]
    # A child stands after its parent, so that each step leads on and no path is a circle.
    if (forest.children[leaf] != own[leaf]).any():
        yield "children of a leaf"
    if (forest.children <= own)[~leaf].any() or (forest.children >= nodes).any():
        yield "children leads back or out of the nodes"
    if (forest.shares < 0).any() or (np.abs(forest.shares.sum(1) - 1) > 1e-3).any():
        yield "shares do not sum to 1"
