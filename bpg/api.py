"""A trained network in three lines.

    from bpg.api import load
    model = load("model.onnx")
    result = model.predict("photo.jpg")

`result.labels` are the classes' numbers by pixel, `result.areas` the share of each class. Exported
ONNX files need no PyTorch.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from bpg.data.photographs import read_photograph
from bpg.errors import BPGError
from bpg.inference.card import Card
from bpg.inference.model import Device, Model, open_model
from bpg.inference.segment import OVERLAP, TILE, SegmentOptions, probabilities, segment
from bpg.strict_yaml import first_error


@dataclass(frozen=True)
class Result:
    """What a network sees in an image.

    Attributes:
        labels: uint8 (H, W): 0..K, numbers of `classes`.
        classes: Names of the labels.
        image: uint8 (H, W, 3), RGB, upright: what was segmented.
    """

    labels: np.ndarray
    classes: tuple[str, ...]
    image: np.ndarray
    _model: Model
    _options: SegmentOptions

    @cached_property
    def areas(self) -> dict[str, float]:
        """Share of the image by class, 0..1."""
        counts = np.bincount(self.labels.ravel(), minlength=len(self.classes))
        return dict(zip(self.classes, (counts / self.labels.size).tolist(), strict=True))

    def probabilities(self) -> np.ndarray:
        """Compute the class probabilities, float32 (K+1, H, W), without CRF; runs the network.

        Raises:
            BPGError: They take more than a gibibyte.
        """
        return probabilities(self._model, self.image, self._options)


@dataclass(frozen=True)
class Segmenter:
    """A network that is ready to be used."""

    model: Model

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels 0..K, background first."""
        return self.model.classes

    @property
    def card(self) -> Card:
        """What is known of the network."""
        return self.model.card

    def predict(
        self,
        image: np.ndarray | str | Path,
        *,
        crf: bool = False,
        tile: int = TILE,
        overlap: int = OVERLAP,
        longest_side: int | None = None,
    ) -> Result:
        """Segment an image.

        Args:
            image: uint8 (H, W, 3), RGB; or a file: JPEG, PNG, TIFF, WebP.
            crf: Whether to refine the labels with the dense CRF.
            tile: Larger images are done in tiles of so many pixels.
            overlap: How much neighbouring tiles share on each side.
            longest_side: Larger images are shrunk to it first; 0: none is; None: as it was
                trained.

        Raises:
            BPGError: The image cannot be read, or an option is out of range.
        """
        try:
            options = SegmentOptions(crf, tile, overlap, longest_side)
        except ValidationError as error:
            raise BPGError(first_error(error)) from error
        if isinstance(image, (str, Path)):
            image = read_photograph(Path(image)).pixels
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise BPGError(
                f"an image must be uint8 (H, W, 3), RGB; this array is {image.dtype} {image.shape}"
            )
        return Result(segment(self.model, image, options), self.classes, image, self.model, options)


def load(path: str | Path, device: Device = "auto") -> Segmenter:
    """Open a trained network.

    Args:
        path: A run such as `runs/bpg/0`, or a file of `bpg export`.
        device: "auto" is a GPU where there is one, else "cpu"; or "cuda".

    Raises:
        BPGError: There is no such network, it is broken, or what it needs is not installed.
    """
    return Segmenter(open_model(Path(path), device))
