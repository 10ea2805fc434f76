"""What a model makes of the strokes so far, while one draws."""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bpg.constants import IGNORE
from bpg.data.frames import resized
from bpg.data.split import hold_out_strokes
from bpg.data.strokes import covered, paint
from bpg.draw.store import Sheet, Store
from bpg.errors import BPGError
from bpg.evaluation.iou import confusion_matrix, iou_metrics
from bpg.forest.features import Features, pixel_features
from bpg.forest.forest import Forest
from bpg.forest.options import ForestOptions
from bpg.inference.model import Model, open_model
from bpg.inference.segment import SegmentOptions, probabilities, segment
from bpg.inference.uncertainty import Region, uncertain_regions, uncertainty
from bpg.opencv import cv2
from bpg.resize import shrunk_size

LONGEST = 256
"""Longer side of the copies that the forest sees, in pixels: it answers in under a second."""

FOREST = ForestOptions(trees=24, depth=12, sigma_min=1.0, sigma_max=8.0, pixels_per_class=1500)
HOLD_OUT = 0.2
"""Share of the strokes on which the forest is scored, as for `dataset: folder`."""

LOOKED_AT = 24
"""The most images that are looked at to say where to draw next."""

_LINE = 3  # pixels of the small copies
_KEPT = 32  # images whose features stay in memory, some 12 MB each, or a network's labels


@dataclass(frozen=True)
class Answer:
    """What a model sees in an image.

    Attributes:
        labels: uint8 (h, w); a forest's are of a small copy.
        classes: Their names by label: the page may change them meanwhile.
        by: "forest", "network", or "network with CRF": as `bpg predict --crf` does it.
        seconds: It took.
    """

    labels: NDArray[np.uint8]
    classes: tuple[str, ...]
    by: str
    seconds: float


@dataclass(frozen=True)
class Score:
    """How well a model does.

    Attributes:
        miou: In percent; None where it is not known, or every class has one stroke alone.
        measured_on: Such as "3 held-out strokes".
        images: How many images the forest looks at; None for a network.
    """

    miou: float | None
    measured_on: str
    images: int | None


@dataclass(frozen=True)
class Unsure:
    """An image to draw on next: its mean uncertainty in 0..1, and the places, in its pixels.

    `classes` are the names of the regions' labels.
    """

    name: str
    uncertainty: float
    regions: tuple[Region, ...]
    classes: tuple[str, ...]


class Answers:
    """Answers about the images of a store.

    Args:
        store: The strokes.
        model: A trained network, a run or an exported file; None: a forest on the strokes.

    Raises:
        BPGError: The model cannot be opened, or knows a class that the folder has not.
    """

    def __init__(self, store: Store, model: Path | None):
        self.store = store
        self.model: Model | None = None
        self._features: dict[str, Features] = {}
        self._labels: dict[str, NDArray[np.uint8]] = {}  # the network's, in its own classes
        # One at a time: the cores are shared anyway.
        self._lock = threading.Lock()
        if model is not None:
            self.use(model)

    def use(self, path: Path) -> None:
        """Answer with a trained network from now on.

        Raises:
            BPGError: It cannot be opened, or knows a class that the folder has not.
        """
        model = open_model(path)
        self.store.adopt_classes(model.classes)
        _check_classes(model, self.store.classes)
        with self._lock:
            self.model = model
            self._labels.clear()

    def use_forest(self) -> None:
        """Answer with a forest on the strokes from now on."""
        with self._lock:
            self.model = None

    def answer(self, name: str) -> Answer:
        """Return what the model sees in an image.

        Raises:
            BPGError: There are strokes of fewer than two classes, and no network.
        """
        with self._lock:
            started = time.monotonic()
            classes = tuple(self.store.classes)
            if self.model is not None:
                labels = self._network_labels(name, classes)
                by = "network" if self.model.card.crf is None else "network with CRF"
                return Answer(labels, classes, by, time.monotonic() - started)
            forest = self._fit(self._label_maps(self._sheets(name), classes), classes)
            labels = self._predict(forest, name).argmax(0).astype(np.uint8)
            return Answer(labels, classes, "forest", time.monotonic() - started)

    def score(self, name: str) -> Score:
        """Return the model's score: of the forest that answers for an image, or a network's card's.

        The forest is fitted on four fifths of the strokes and scored on the others, whole strokes.
        """
        with self._lock:
            if self.model is not None:
                scores = self.model.card.scores
                if scores is None:
                    return Score(None, "", None)
                return Score(scores.miou, scores.measured_on, None)
            sheets = self._sheets(name)
            miou, held_out = self._score(sheets, tuple(self.store.classes))
            return Score(miou, f"{held_out} held-out strokes", len(sheets))

    def next(self) -> list[Unsure]:
        """Return the images on which the model is least sure, the least sure first.

        Raises:
            BPGError: As for `answer`.
        """
        with self._lock:
            classes = tuple(self.store.classes)
            forest = None
            if self.model is None:
                forest = self._fit(self._label_maps(self._sheets(), classes), classes)
            drawn = {name for name, sheet in self.store.sheets.items() if sheet.strokes}
            # Those without strokes first: they have most to tell.
            names = sorted(self.store.names, key=lambda name: name in drawn)[:LOOKED_AT]
            found = []
            for name in names:
                shares = self._predict(forest, name) if forest else self._network(name, classes)
                regions = tuple(self._enlarged(name, one) for one in uncertain_regions(shares, 2))
                found.append(Unsure(name, float(uncertainty(shares).mean()), regions, classes))
            return sorted(found, key=lambda one: (-one.uncertainty, one.name))

    def _network_labels(self, name: str, classes: Sequence[str]) -> NDArray[np.uint8]:
        """Return the network's labels, which no stroke changes, as the folder's classes."""
        model = self.model
        assert model is not None
        _check_classes(model, classes)  # one may have been renamed since
        if name not in self._labels:
            while len(self._labels) >= _KEPT:  # the oldest one
                self._labels.pop(next(iter(self._labels)))
            image = self.store.folder.photos[name].read()
            options = SegmentOptions(crf=model.card.crf is not None)
            self._labels[name] = segment(model, image, options)
        order = np.array([classes.index(one) for one in model.classes], np.uint8)
        return order[self._labels[name]]

    def _network(self, name: str, classes: Sequence[str]) -> NDArray[np.float32]:
        """Return the network's probabilities, in the order of the folder's classes."""
        assert self.model is not None
        _check_classes(self.model, classes)
        image = self.store.folder.photos[name].read()
        found = probabilities(self.model, image, SegmentOptions())
        shares = np.zeros((len(classes), *found.shape[1:]), np.float32)
        shares[[classes.index(one) for one in self.model.classes]] = found
        return shares

    def _small_size(self, name: str) -> tuple[int, int]:
        return shrunk_size(self.store.size(name), LONGEST)

    def _features_of(self, name: str) -> Features:
        if name not in self._features:
            while len(self._features) >= _KEPT:  # the oldest one
                self._features.pop(next(iter(self._features)))
            image = self.store.folder.photos[name].read()
            small = cv2.resize(image, self._small_size(name), interpolation=cv2.INTER_AREA)
            self._features[name] = pixel_features(
                small.astype(np.uint8), FOREST.sigma_min, FOREST.sigma_max
            )
        return self._features[name]

    def _sheets(self, shown: str | None = None) -> dict[str, Sheet]:
        """Return the sheets that the forest learns from: the image that is shown, and others."""
        drawn = {name: sheet for name, sheet in self.store.sheets.items() if sheet.strokes}
        first = [name for name in (shown,) if name in drawn]
        names = list(dict.fromkeys([*first, *drawn]))[:_KEPT]
        return {name: drawn[name] for name in names}

    def _label_maps(
        self,
        sheets: Mapping[str, Sheet],
        classes: Sequence[str],
        held_out: frozenset[tuple[str, int]] = frozenset(),
        *,
        only: bool = False,
    ) -> dict[str, NDArray[np.uint8]]:
        """Draw the strokes on small copies, without or with those alone that are held out."""
        maps = {}
        for name, sheet in sheets.items():
            size = self._small_size(name)
            drawn = np.full(size[::-1], IGNORE, np.uint8)
            for place, stroke in enumerate(sheet.strokes):
                if ((name, place) in held_out) is only and stroke.tag in classes:
                    shape = resized(stroke.shape, self.store.size(name), size)
                    label = classes.index(stroke.tag)
                    paint(drawn, covered(shape, *size, _LINE), label)
            if (drawn != IGNORE).any():
                maps[name] = drawn
        return maps

    def _fit(self, maps: dict[str, NDArray[np.uint8]], classes: Sequence[str]) -> Forest:
        # Here, for scikit-learn takes longer to load than all the rest.
        from bpg.forest.fit import draw_pixels, fit_forest, labelled_pixels  # noqa: PLC0415

        strokes = {name: labelled_pixels(drawn) for name, drawn in maps.items()}
        seen = set().union(*(np.unique(one.labels).tolist() for one in strokes.values()))
        if len(seen) < 2:
            raise BPGError("draw a stroke of a second class")
        chosen = draw_pixels(strokes, FOREST.pixels_per_class, seed=0)
        features = np.concatenate([self._at(name, one.pixels) for name, one in chosen.items()])
        labels = np.concatenate([one.labels for one in chosen.values()])
        return fit_forest(features, labels, classes, FOREST, seed=0)

    def _at(self, name: str, pixels: NDArray[np.integer]) -> Features:
        features = self._features_of(name)
        return features.reshape(-1, features.shape[2])[pixels]

    def _predict(self, forest: Forest, name: str) -> NDArray[np.float32]:
        features = self._features_of(name)
        height, width, number = features.shape
        shares = forest.classify(features.reshape(-1, number))
        return np.ascontiguousarray(shares.T).reshape(-1, height, width)

    def _score(
        self, sheets: Mapping[str, Sheet], classes: Sequence[str]
    ) -> tuple[float | None, int]:
        """Return the mIoU in percent, and on how many strokes."""
        tags = {name: [s.tag for s in sheet.strokes] for name, sheet in sheets.items()}
        held_out = frozenset(hold_out_strokes(tags, HOLD_OUT, seed=0))
        try:
            forest = self._fit(self._label_maps(sheets, classes, held_out), classes)
        except BPGError:
            return None, 0
        number = len(classes)
        total = np.zeros((number, number), np.int64)
        for name, drawn in self._label_maps(sheets, classes, held_out, only=True).items():
            pixels = np.flatnonzero(drawn != IGNORE)
            shares = forest.classify(self._at(name, pixels))
            found = shares.argmax(1).astype(np.uint8)
            total += confusion_matrix(drawn.ravel()[pixels], found, number)
        return (iou_metrics(total)["miou"] if total.any() else None), len(held_out)

    def _enlarged(self, name: str, region: Region) -> Region:
        small = self._small_size(name) if self.model is None else self.store.size(name)
        across, down = (a / b for a, b in zip(self.store.size(name), small, strict=True))
        return Region(
            round(region.left * across),
            round(region.top * down),
            round(region.width * across),
            round(region.height * down),
            region.uncertainty,
            region.labels,
        )


def _check_classes(model: Model, classes: Sequence[str]) -> None:
    # The folder may have more, such as those without a stroke yet.
    if not set(model.classes) <= set(classes):
        raise BPGError(
            f"the network knows {', '.join(model.classes)}, but the folder has "
            f"{', '.join(classes)}; train again, or give the classes those names"
        )
