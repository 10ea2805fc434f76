"""Labels of an image of any size, with and without CRF, in bounded memory."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass as validated

from bpg.errors import BPGError
from bpg.inference.crf import dense_crf
from bpg.inference.model import Model
from bpg.inference.options import CRFOptions
from bpg.inference.tiles import Part, parts, tiles
from bpg.options import NO_EXTRA, NUMBER
from bpg.resize import STRIP, axis, resample, shrink, shrunk_size

TILE, OVERLAP = 1024, 256
"""Pixels. A network of stride 8 with ASPP rates to 24 looks 200 pixels to each side, and its
backbone farther; docs/use.md has what smaller overlaps change."""

PROBABILITY_LIMIT = 2**30
"""Bytes of probabilities that are held for a whole image."""

LEAST = 1e-6
"""The CRF's energy is a logarithm."""


@validated(frozen=True, config=NO_EXTRA)
class SegmentOptions:
    """How images are segmented.

    Attributes:
        crf: Whether to refine the labels with the dense CRF.
        tile: Side of what the network sees at a time, in pixels; larger images are done in tiles.
        overlap: Of that, so much on each side is seen by the neighbours, too.
        longest_side: Images whose longer side has more pixels are shrunk to it first; 0: none is;
            None: as the network's card says.
    """

    crf: bool = False
    tile: Annotated[int, Field(ge=64, le=16384), NUMBER] = TILE
    overlap: Annotated[int, Field(ge=0), NUMBER] = OVERLAP
    longest_side: Annotated[int, Field(ge=0, le=16384), NUMBER] | None = None

    @model_validator(mode="after")
    def _something_is_left(self) -> "SegmentOptions":
        if self.tile - 2 * self.overlap < 16:
            raise ValueError(
                f"tile: {self.tile} pixels with an overlap of {self.overlap} on each side leave "
                f"less than 16; give at least {2 * self.overlap + 16}, or a smaller overlap"
            )
        return self


@dataclass(frozen=True)
class Shrunk:
    """An image at the size at which the network sees it, and its own size (height, width)."""

    image: np.ndarray
    size: tuple[int, int]


def shrunk(model: Model, image: np.ndarray, options: SegmentOptions) -> Shrunk:
    """Shrink an image to what the network was trained on, if it is larger.

    Args:
        model: Its card has the longest side.
        image: uint8 (H, W, 3), RGB.
        options: May say otherwise.
    """
    side = model.card.longest_side if options.longest_side is None else options.longest_side or None
    height, width = image.shape[:2]
    return Shrunk(shrink(image, shrunk_size((height, width), side)), (height, width))


def segment(model: Model, image: np.ndarray, options: SegmentOptions) -> np.ndarray:
    """Label every pixel of an image.

    An image that is larger than a tile is done in tiles. One that is larger than the card's longest
    side is shrunk first; then its probabilities are brought back to its own size bilinearly, in
    strips. The CRF works at the size at which the network sees the image, for which its options
    were chosen, and what is brought back then are its labels, as probabilities of 0 and 1.

    Args:
        model: The network.
        image: uint8 (H, W, 3), RGB.
        options: See there.

    Returns:
        Labels, uint8 (H, W).

    Raises:
        BPGError: A CRF is asked for, and the card has no options for it.
    """
    small = shrunk(model, image, options)
    crf = _crf_options(model) if options.crf else None
    if small.image.shape[:2] == small.size:
        return _tiled(model, small.image, options, crf)
    if crf is None:
        maps = _all_probabilities(model, small.image, options)
        return _enlarged_labels(len(maps), small, lambda rows: maps[:, rows.slice])
    labels = _tiled(model, small.image, options, crf)
    numbers = np.arange(len(model.classes), dtype=np.uint8)[:, None, None]
    return _enlarged_labels(
        len(numbers), small, lambda rows: (labels[rows.slice] == numbers).astype(np.float32)
    )


def probabilities(model: Model, image: np.ndarray, options: SegmentOptions) -> np.ndarray:
    """Return the probabilities of all classes, at the image's own size and without CRF.

    Args:
        model: The network.
        image: uint8 (H, W, 3), RGB.
        options: See there.

    Returns:
        float32 (K+1, H, W) in 0..1.

    Raises:
        BPGError: They take more than `PROBABILITY_LIMIT` bytes.
    """
    _check_size(model, image.shape[:2])
    small = shrunk(model, image, options)
    maps = _all_probabilities(model, small.image, options)
    for along, (here, there) in enumerate(zip(maps.shape[1:], small.size, strict=True), 1):
        if here != there:
            maps = resample(maps, along, axis(here, there, antialias=False), 0, there)
    return maps


def _tiled(
    model: Model, image: np.ndarray, options: SegmentOptions, crf: CRFOptions | None
) -> np.ndarray:
    height, width = image.shape[:2]
    labels = np.empty((height, width), np.uint8)
    for rows, columns in tiles(height, width, tile=options.tile, overlap=options.overlap):
        if crf is None:
            found = _region(model, image, rows, columns, options).argmax(0)
        else:
            # What the CRF sees beyond the middle is what the network's neighbours see, too.
            tall = rows.widened(options.overlap, height)
            wide = columns.widened(options.overlap, width)
            maps = _region(model, image, tall, wide, options)
            pixels = image[tall.slice, wide.slice]
            refined = dense_crf(pixels, list(range(len(maps))), maps.clip(min=LEAST), crf)
            found = refined[rows.within(tall), columns.within(wide)]
        labels[rows.slice, columns.slice] = found
    return labels


def _all_probabilities(model: Model, image: np.ndarray, options: SegmentOptions) -> np.ndarray:
    height, width = image.shape[:2]
    _check_size(model, (height, width))
    if max(height, width) <= options.tile:
        return model.probabilities(image)
    maps = np.empty((len(model.classes), height, width), np.float32)
    for rows, columns in tiles(height, width, tile=options.tile, overlap=options.overlap):
        maps[:, rows.slice, columns.slice] = _region(model, image, rows, columns, options)
    return maps


def _region(
    model: Model, image: np.ndarray, rows: Part, columns: Part, options: SegmentOptions
) -> np.ndarray:
    height, width = image.shape[:2]
    if rows == (0, height) and columns == (0, width):
        return model.probabilities(image)
    return model.region(image, rows, columns, overlap=options.overlap)


def _enlarged_labels(classes: int, small: Shrunk, maps: Callable[[Part], np.ndarray]) -> np.ndarray:
    """Enlarge maps, of which `maps` gives some rows, and take the largest, in strips."""
    height, width = small.size
    down = axis(small.image.shape[0], height, antialias=False)
    across = axis(small.image.shape[1], width, antialias=False)
    labels = np.empty((height, width), np.uint8)
    for rows in parts(height, max(1, STRIP // (classes * width))):
        reach = Part(*down.reach(*rows))
        tall = resample(maps(reach), 1, down, *rows, offset=reach.first)
        labels[rows.slice] = resample(tall, 2, across, 0, width).argmax(0)
    return labels


def check_options(model: Model, options: SegmentOptions) -> None:
    """Find out before the first image whether a model can do what is asked.

    Args:
        model: The network.
        options: What is asked.

    Raises:
        BPGError: A CRF is asked for, and the card has no options for it.
    """
    if options.crf:
        _crf_options(model)


def _crf_options(model: Model) -> CRFOptions:
    if model.card.crf is None:
        raise BPGError(
            f"{model.path}: its card has no options for a CRF; run its evaluate stage, which "
            "writes card.json, or leave --crf out"
        )
    return model.card.crf


def _check_size(model: Model, size: tuple[int, ...]) -> None:
    height, width = size
    if 4 * len(model.classes) * height * width > PROBABILITY_LIMIT:
        raise BPGError(
            f"{len(model.classes)} probabilities for {width}x{height} pixels take more than "
            f"{PROBABILITY_LIMIT:,} bytes; take the labels, or shrink the image by longest_side"
        )
