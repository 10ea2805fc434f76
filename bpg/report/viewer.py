"""What the page's viewer shows: images by rule, in layers that can be laid over each other."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bpg.data.masks import PALETTE, read_image, read_mask
from bpg.evaluation.comparison import Counts
from bpg.evaluation.iou import mean_iou
from bpg.opencv import cv2

EACH = 3
"""Images at the upper end, in the middle and at the lower end."""

_QUALITY = 85  # of a photograph's JPEG
_LONGEST = 1000  # pixels of the longer side


@dataclass(frozen=True)
class Layer:
    """An image of the viewer: `data` is a URI, `note` what is said about it."""

    name: str
    data: str
    note: str = ""


@dataclass(frozen=True)
class Shot:
    """An image of the viewer: why it is there, and its layers; the first one is the photograph."""

    name: str
    why: str
    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class Chosen:
    """An image by its place, and what chose it, in points or percent."""

    place: int
    why: str


def scores_by_image(counts: Sequence[NDArray[np.int32]]) -> NDArray[np.float64]:
    """Return the mIoU of each image without CRF, over the classes that it shows.

    Args:
        counts: Of a variant, seed by seed: (images, 2, 2, 3, classes).

    Returns:
        Percent, (images,): means over the seeds; NaN for an image without a labelled pixel.
    """
    return np.mean([mean_iou(seed[:, 0, 0]) for seed in counts], axis=0)


def choose(counts: Counts, reference: str, baseline: str | None) -> list[Chosen]:
    """Choose the images to show by how well a variant does on them, from best to worst.

    Args:
        counts: What `bpg.evaluation.score` counted.
        reference: The variant.
        baseline: What it is compared to on each image; None: it is taken by itself.

    Returns:
        Up to `EACH` of the best, of those around the median, and of the worst.
    """
    scores = scores_by_image(counts[reference])
    if baseline is not None:
        scores = scores - scores_by_image(counts[baseline])
    known = np.flatnonzero(~np.isnan(scores))
    order = known[np.argsort(-scores[known], kind="stable")].tolist()
    each = min(EACH, max(1, len(order) // 3))
    between = order[each:-each]
    middle = max(0, (len(between) - each) // 2)
    groups = {
        "best": order[:each],
        "typical": between[middle : middle + each],
        "worst": order[each:][-each:],
    }
    sign = "" if baseline is None else "+"
    return [
        Chosen(place, f"{group}, {scores[place]:{sign}.1f}".replace("-", "−"))
        for group, places in groups.items()
        for place in places
    ]


def rule(reference: str, baseline: str | None) -> str:
    """Say how `choose` chooses.

    Args:
        reference: Name of the variant.
        baseline: Name of the other one, if there is one.
    """
    by = (
        f"{reference}'s mIoU of the image"
        if baseline is None
        else f"{reference}'s mIoU of the image minus that of {baseline}"
    )
    return (
        f"Ordered by {by} (mean over the seeds, without CRF): the highest, those around the "
        f"median and the lowest, up to {EACH} of each."
    )


def photograph(path: Path) -> str:
    """Return an image as a data URI: a small PNG as it is, else as JPEG, shrunk if it is large."""
    if path.suffix.casefold() == ".png" and path.stat().st_size < 2**15:
        return _uri("png", path.read_bytes())
    pixels = _shrunk(read_image(path), cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", pixels[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))
    return _uri("jpeg", data.tobytes())


def label_map(path: Path) -> str:
    """Return a palette PNG of labels as a data URI, shrunk if it is large."""
    labels = read_mask(path)
    if max(labels.shape) <= _LONGEST:
        return _uri("png", path.read_bytes())
    small = Image.fromarray(_shrunk(labels, cv2.INTER_NEAREST))
    small.putpalette(PALETTE.tobytes())
    data = BytesIO()
    small.save(data, "PNG")
    return _uri("png", data.getvalue())


def _shrunk(pixels: NDArray[np.uint8], how: int) -> NDArray[np.uint8]:
    scale = min(1.0, _LONGEST / max(pixels.shape[:2]))
    size = [max(1, round(scale * side)) for side in pixels.shape[1::-1]]
    return cv2.resize(pixels, size, interpolation=how)  # type: ignore[return-value]


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def shot(
    name: str,
    why: str,
    image: Path,
    labels: Mapping[str, Path],
    notes: Mapping[str, str] | None = None,
) -> Shot:
    """Gather an image and its label maps.

    Args:
        name: Of the image.
        why: Why it is shown.
        image: Its file.
        labels: {name of the layer: palette PNG}.
        notes: {name of the layer: what is said about it}.

    Raises:
        OSError: A file cannot be read.
    """
    layers = [Layer("image", photograph(image))]
    layers += [
        Layer(key, label_map(path), (notes or {}).get(key, "")) for key, path in labels.items()
    ]
    return Shot(name, why, tuple(layers))
