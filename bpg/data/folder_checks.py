"""What is suspicious in a folder of images and strokes: to be looked at before a training."""

from collections.abc import Iterator, Sequence

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from scipy.spatial import KDTree
from tqdm import tqdm

from bpg.constants import IGNORE
from bpg.data.findings import Finding, counted, listed
from bpg.data.folder import SMALL, Folder
from bpg.data.folder_split import Split
from bpg.data.frames import shrunk_labels
from bpg.data.masks import read_mask
from bpg.data.photographs import SIDEWAYS, upright
from bpg.data.strokes import Pixels
from bpg.errors import BPGError
from bpg.opencv import cv2

_OUTSIDE = 0.1
"""A stroke is suspicious if this share of its pixels lies farther outside than the tolerance."""
_ALIKE = 4.0
"""Two images are nearly the same if their small copies differ by fewer grey levels on average."""
_NEAREST = 20
"""So many training images, those with the most similar pattern of light and dark, are compared with
an image that is scored on: where more are alike, a twin may be missed."""
_CELLS = 4
"""Of that pattern, on a side."""


def check_folder(folder: Folder, split: Split | None) -> list[Finding]:
    """Look for what is wrong or suspicious beyond what `read_folder` has found.

    Args:
        folder: What `read_folder` returns.
        split: What `split_folder` returns; None if the folder cannot be divided.
    """
    findings = list(_by_image(folder))
    findings += _duplicates(folder)
    if split is not None:
        findings += _across_the_split(folder, split)
        if not any(finding.level == "error" for finding in findings):
            findings += _too_few_classes(folder, split)
    return findings


def _too_few_classes(folder: Folder, split: Split) -> Iterator[Finding]:
    """Say if one class alone is trained on, or scored on."""
    learnt = {
        tag
        for name in split.train
        for place in split.kept(folder, name)
        if (tag := folder.strokes[name][place].tag) is not None
    }
    if len(learnt) == 1:
        yield Finding("error", f"all strokes to learn from are {min(learnt)}; draw other classes")
    if split.truth == "masks":
        labels = Parallel(n_jobs=-1, prefer="threads")(
            delayed(_values)(folder, name) for name in split.val
        )
        values = np.unique(np.concatenate(labels))
        scored = {folder.classes[label] for label in values[values != IGNORE]}
        text = (
            f"the masks to score on are all {listed(sorted(scored)) or '255, unlabelled'}. Masks "
            "of 0 and 255? Give each object its class's number, from 1"
        )
    else:
        scored = {
            tag
            for name, out in split.held_out.items()
            for place in out
            if (tag := folder.strokes[name][place].tag) is not None
        }
        text = (
            f"the strokes to score on are all {listed(sorted(scored))}; draw a second stroke of "
            "other classes"
        )
    if len(scored) < 2:
        yield Finding("error", text)
    elif missing := [name for name in folder.classes if name in learnt - scored]:
        yield Finding("warning", f"learnt, but not scored on: {', '.join(missing)}")


def _values(folder: Folder, name: str) -> NDArray[np.uint8]:
    return np.unique(read_full_mask(folder, name))


def _by_image(folder: Folder) -> Iterator[Finding]:
    no_background, one_class = [], []
    for name in folder.drawn_on:
        tags = {stroke.tag for stroke in folder.strokes[name]} - {None}
        if len(tags) == 1:
            one_class.append(name)
        if folder.classes[0] not in tags:
            no_background.append(name)
    if no_background:
        text = (
            f"no stroke of {folder.classes[0]} on {counted(len(no_background), 'image')}: "
            f"{listed(no_background)}"
        )
        yield Finding("warning", text, tuple(no_background))
    if one_class:
        text = f"strokes of one class only on {counted(len(one_class), 'image')}: "
        yield Finding("warning", text + listed(one_class), tuple(one_class))
    # Threads: OpenCV and NumPy release the GIL.
    names = sorted({*folder.drawn_on, *folder.masks})
    found = Parallel(n_jobs=-1, prefer="threads", return_as="generator")(
        delayed(_of_image)(folder, name) for name in names
    )
    for findings in tqdm(found, "checks", len(names), unit="image", disable=None):
        yield from findings


def _of_image(folder: Folder, name: str) -> list[Finding]:
    found = []
    strokes = (
        list(zip(folder.strokes.get(name, ()), folder.pixels(name), strict=True))
        if (name in folder.strokes)
        else []
    )
    crossing = _crossing(folder, [(s.tag, p) for s, p in strokes if s.tag is not None], name)
    found += crossing
    if name in folder.masks:
        try:
            mask = read_full_mask(folder, name)
        except BPGError as error:
            return [*found, Finding("error", str(error), (name,))]
        for number, (stroke, pixels) in enumerate(strokes, 1):
            if stroke.tag is None:
                continue
            label = folder.classes.index(stroke.tag)
            share = _outside(pixels, mask, label, folder.options.tolerance)
            if share > _OUTSIDE:
                text = (
                    f"{name}: stroke {number} ({stroke.tag}): {100 * share:.0f} % of it lies "
                    f"outside the {stroke.tag} of the mask, by more than "
                    f"{folder.options.tolerance} pixels"
                )
                found.append(Finding("warning", text, (name,)))
    return found


def _crossing(folder: Folder, strokes: Sequence[tuple[str, Pixels]], name: str) -> list[Finding]:
    width, height = folder.size(name)
    seen = np.zeros((height, width), np.uint8)
    both: dict[tuple[str, str], int] = {}
    for tag, pixels in strokes:
        rows = slice(pixels.top, pixels.top + pixels.mask.shape[0])
        columns = slice(pixels.left, pixels.left + pixels.mask.shape[1])
        before = seen[rows, columns][pixels.mask]
        for other in np.unique(before[before > 0]).tolist():
            known = folder.classes[other - 1]
            if known != tag:
                pair = (known, tag)
                both[pair] = both.get(pair, 0) + int((before == other).sum())
        seen[rows, columns][pixels.mask] = folder.classes.index(tag) + 1
    # Less than what the crossing of two lines covers: they touch.
    least = folder.line_width**2 / 2
    return [
        Finding(
            "warning",
            f"{name}: strokes of {first} and {second} cross ({pixels:,} pixels); the later one "
            "counts",
            (name,),
        )
        for (first, second), pixels in both.items()
        if pixels >= least
    ]


def _outside(pixels: Pixels, mask: NDArray[np.uint8], label: int, tolerance: int) -> float:
    """Return which share of a stroke lies farther than `tolerance` from its class's region.

    Where the mask says neither (255), nothing is wrong.
    """
    allowed = ((mask == label) | (mask == IGNORE)).astype(np.uint8)
    away = cv2.distanceTransform(1 - allowed, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    height, width = pixels.mask.shape
    box = away[pixels.top : pixels.top + height, pixels.left : pixels.left + width]
    if not allowed.any():
        return 1.0
    return float((box[pixels.mask] > tolerance).mean())


def read_full_mask(folder: Folder, name: str) -> NDArray[np.uint8]:
    """Read an image's full mask, at the size of the shrunk image.

    Args:
        folder: What `read_folder` returns.
        name: An image that has one.

    Returns:
        Labels 0..K and 255, uint8 (H, W).

    Raises:
        BPGError: It cannot be read, differs in size from its image, or has another label.
    """
    path, photo = folder.masks[name], folder.photos[name]
    mask = read_mask(path)
    size = (mask.shape[1], mask.shape[0])
    shown = (photo.width, photo.height)
    if size != shown and photo.orientation in SIDEWAYS and size == shown[::-1]:
        mask = np.ascontiguousarray(upright(mask, photo.orientation))
    elif size != shown:
        raise BPGError(f"{path}: {size[0]}x{size[1]} pixels, but {name} has {shown[0]}x{shown[1]}")
    labels = np.unique(mask[mask != IGNORE])
    if labels.size and labels[-1] >= len(folder.classes):
        raise BPGError(
            f"{path}: has the label {labels[-1]}, but the classes are "
            f"{', '.join(folder.classes)}, from 0 on; list all in classes"
        )
    width, height = folder.size(name)
    return shrunk_labels(mask, (height, width))


def _duplicates(folder: Folder) -> list[Finding]:
    by_digest: dict[bytes, list[str]] = {}
    for name, photo in folder.photos.items():
        by_digest.setdefault(photo.digest, []).append(name)
    return [
        Finding("warning", f"the same file several times: {', '.join(names)}", tuple(names))
        for names in by_digest.values()
        if len(names) > 1
    ]


def _across_the_split(folder: Folder, split: Split) -> Iterator[Finding]:
    only_val = sorted(set(split.val) - set(split.train))
    if not only_val:
        return
    # Each with each would be too many where there are many images.
    tree = KDTree(_patterns(folder, split.train))
    count = min(_NEAREST, len(split.train))
    places = tree.query(_patterns(folder, only_val), k=[*range(1, count + 1)], workers=-1)[1]
    for name, candidates in zip(only_val, places, strict=True):
        train = np.stack([folder.photos[split.train[place]].small for place in candidates])
        own = folder.photos[name].small.astype(np.int16)
        differences = np.abs(train.astype(np.int16) - own).mean((1, 2, 3))
        nearest = int(differences.argmin())
        if differences[nearest] < _ALIKE:
            other = split.train[candidates[nearest]]
            text = f"{name} (scored on) and {other} (trained on) are nearly the same image"
            yield Finding("warning", text, (name, other))


def _patterns(folder: Folder, names: Sequence[str]) -> NDArray[np.float64]:
    """Return how much lighter or darker than the whole image its cells are: (N, cells)."""
    side = SMALL // _CELLS
    found = np.empty((len(names), _CELLS, _CELLS))
    for place, name in enumerate(names):
        found[place] = (
            folder.photos[name].small.reshape(_CELLS, side, _CELLS, side, 3).mean((1, 3, 4))
        )
    found -= found.mean((1, 2), keepdims=True)
    return found.reshape(len(names), -1)
