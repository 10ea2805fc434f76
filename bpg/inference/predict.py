"""Segment many images into a folder: masks, overlays, the area of each class."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from bpg.atomic import whole_file, write_rows
from bpg.data.photographs import read_photograph
from bpg.errors import BPGError
from bpg.inference.card import Card
from bpg.inference.inputs import Input
from bpg.inference.model import Model
from bpg.inference.segment import SegmentOptions, check_options, segment

AREAS = "areas.csv"
COLUMNS = ("image", "class", "pixels", "share")
OPACITY = 0.5
"""Of the colours in an overlay."""
JPEG_SIDE = 65_500
"""The most pixels of a side that a JPEG has here; libjpeg's limit."""


def predict_files(
    model: Model, inputs: Sequence[Input], out: Path, options: SegmentOptions, *, overlay: bool
) -> list[str]:
    """Segment images, and write NAME.png for each and `areas.csv` for all.

    An earlier `areas.csv` is deleted first: after an interrupt there is none, never a wrong one. An
    image that cannot be read or segmented is named on standard error, and the others are done.

    Args:
        model: The network.
        inputs: The images.
        out: Folder of the results; it is made, and what is there under the same names replaced.
        options: How.
        overlay: Whether to write NAME.overlay.jpg, too: the image with its labels' colours. Where a
            side is too long for a JPEG, it is NAME.overlay.png, which is said on standard error.

    Returns:
        What was wrong with the images that were not done, a line each.

    Raises:
        BPGError: The options do not fit the model.
        OSError: A result cannot be written.
    """
    check_options(model, options)
    (out / AREAS).unlink(missing_ok=True)
    rows: list[dict[str, Any]] = []
    wrong: list[str] = []
    hidden = not sys.stderr.isatty()
    for path, name in (bar := tqdm(inputs, unit="image", disable=hidden, leave=False)):
        bar.set_description(path.name[-30:])
        try:
            image = read_photograph(path).pixels
            labels = segment(model, image, options)
        except BPGError as error:
            wrong.append(str(error))
        except MemoryError:
            wrong.append(f"{path}: the memory is full; give a smaller tile or longest side")
        else:
            write_labels(out / f"{name}.png", labels, model.card)
            if overlay:
                shown = overlay_path(out, name, labels.shape)
                write_overlay(shown, image, labels, model.card)
                if shown.suffix == ".png":
                    tqdm.write(f"bpg predict: {shown}: too long for a JPEG", file=sys.stderr)
            rows += areas(labels, model.classes, name)
            continue
        tqdm.write(f"bpg predict: error: {wrong[-1]}", file=sys.stderr)
    write_rows(out / AREAS, COLUMNS, rows)
    return wrong


def areas(labels: np.ndarray, classes: Sequence[str], name: str) -> list[dict[str, Any]]:
    """Count the pixels of each class, as rows of `areas.csv`.

    Args:
        labels: uint8 (H, W).
        classes: Names of the labels 0..K.
        name: What the image is called.
    """
    counts = np.bincount(labels.ravel(), minlength=len(classes)).tolist()
    return [
        {"image": name, "class": one, "pixels": count, "share": round(count / labels.size, 6)}
        for one, count in zip(classes, counts, strict=True)
    ]


def write_labels(path: Path, labels: np.ndarray, card: Card) -> None:
    """Write a palette PNG in the card's colours, whole or not at all.

    Args:
        path: The file.
        labels: uint8 (H, W).
        card: Has the colours.
    """
    image = Image.fromarray(labels)
    image.putpalette(card.palette())
    with whole_file(path) as partial:
        image.save(partial, format="PNG")


def overlay_path(out: Path, name: str, shape: tuple[int, ...]) -> Path:
    """Return where an image's overlay is written.

    Args:
        out: Folder of the results.
        name: What the image is called.
        shape: (height, width) of the image, in pixels.
    """
    return out / f"{name}.overlay{'.jpg' if max(shape) <= JPEG_SIDE else '.png'}"


def write_overlay(path: Path, image: np.ndarray, labels: np.ndarray, card: Card) -> None:
    """Write an image with its labels' colours; the background stays as it is.

    Args:
        path: The file, whole or not at all; .jpg or .png.
        image: uint8 (H, W, 3), RGB.
        labels: uint8 (H, W).
        card: Has the colours.
    """
    colours = np.array(card.colours, np.uint8)
    mixed = image.copy()
    # A row at a time: in floats, a large image would not fit.
    for row, above in zip(mixed, labels, strict=True):
        there = above > 0
        row[there] = np.rint(OPACITY * colours[above[there]] + (1 - OPACITY) * row[there])
    with whole_file(path) as partial:
        if path.suffix == ".png":
            Image.fromarray(mixed).save(partial, format="PNG")
        else:
            Image.fromarray(mixed).save(partial, format="JPEG", quality=92)
