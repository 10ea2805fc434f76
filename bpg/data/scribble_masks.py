"""Folders of masks into folders of strokes: `bpg scribble`."""

import hashlib
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from bpg.atomic import whole_directory, write_json, write_text
from bpg.constants import IGNORE
from bpg.data.formats.annotations import parse_json, read_bytes
from bpg.data.formats.coco_writer import write_coco
from bpg.data.formats.labelme import write_labelme
from bpg.data.formats.scribblesup import write_scribblesup
from bpg.data.human_strokes import HandOptions, draw_strokes
from bpg.data.masks import decode_mask, write_mask
from bpg.data.strokes import Line, Strokes, rasterise
from bpg.errors import BPGError
from bpg.files import read_lines

FORMATS = ("png", "scribblesup", "labelme", "coco")
DESCRIPTION = "scribble.json"
"""What is in a folder of ours, and what marks it as ours: a later run may replace it."""

_MADE_BY = "bpg scribble"
_SUFFIXES = {"png": ".png", "scribblesup": ".xml", "labelme": ".json"}
_DEFAULT_NAMES = tuple(str(label) for label in range(IGNORE))


@dataclass(frozen=True)
class Summary:
    """What was drawn.

    Attributes:
        images: Number of masks.
        without: How many of them have no stroke, and so no file of their own.
        strokes: Number of strokes.
        narrow: How many of them are narrower than asked for, because their region is; ScribbleSup's
            format has lines of one width only and lacks them.
        labelled: Share of all pixels that strokes cover, in percent.
        classes: Names by label.
    """

    images: int
    without: int
    strokes: int
    narrow: int
    labelled: float
    classes: tuple[str, ...]


def scribble_masks(
    masks: Sequence[Path],
    out: Path,
    *,
    formats: Sequence[str] = ("png",),
    classes: Sequence[str] = (),
    options: HandOptions | None = None,
    seed: int = 0,
    jobs: int = -1,
) -> Summary:
    """Draw strokes on masks, and write them into a folder that appears whole or not at all.

    The folder receives FORMAT/NAME.SUFFIX of each mask with strokes, with the sub-folders that the
    masks are in (for COCO coco/strokes.json instead), `classes.txt` and `scribble.json`, which
    describes it all. The same masks, options and seed give the same bytes. An image's strokes
    follow from its name without suffix, not from the other images.

    Args:
        masks: Palette or 8-bit grey PNGs of labels 0..K, 255 where nothing is known; or folders
            that hold such, at any depth.
        out: The folder to write. One that is there must be empty, or written by this function
            before: then it is replaced.
        formats: Some of `FORMATS`.
        classes: Class names by label, background first; empty: the labels as names, up to the
            highest that occurs.
        options: How to draw; None for the defaults.
        seed: Another seed is another draw.
        jobs: Number of processes; -1 for all cores.

    Raises:
        BPGError: There is no mask, a mask cannot be read or has a label without a name, two masks
            have the same name, or `out` holds something else or overlaps with `masks`; the message
            names the file. Nothing is written then.
        OSError: The files cannot be written.
    """
    options = options or HandOptions()
    unknown = [one for one in formats if one not in FORMATS]
    if unknown or not formats:
        raise BPGError(
            f"format {unknown[0]!r} is unknown; choose from {', '.join(FORMATS)}"
            if unknown
            else f"no format is given; choose from {', '.join(FORMATS)}"
        )
    for name in classes:
        _check_text(name, f"class name {name!r}")
    _check_folder(out, masks)
    found = _find_masks(masks)
    with whole_directory(out.resolve()) as folder:
        draw = partial(_draw, folder, tuple(dict.fromkeys(formats)), tuple(classes), options, seed)
        parallel = Parallel(n_jobs=jobs, return_as="generator")
        drawn = parallel(delayed(draw)(name, path) for name, path in found.items())
        results = list(tqdm(drawn, "scribble", len(found), disable=None))
        summary = _summary(results, tuple(classes))
        if "coco" in formats:
            (folder / "coco").mkdir()
            strokes = dict(zip(found, (one.strokes for one in results), strict=True))
            write_coco(folder / "coco" / "strokes.json", strokes, summary.classes, options.width)
        write_text(folder / "classes.txt", "".join(f"{name}\n" for name in summary.classes))
        write_json(
            folder / DESCRIPTION,
            {
                "made_by": _MADE_BY,
                "formats": [one for one in FORMATS if one in formats],
                "seed": seed,
                "options": asdict(options),
                **asdict(summary),
            },
        )
    return summary


def class_names(text: str) -> tuple[str, ...]:
    """Return the class names that a user gives: a text file with one a line, or names with commas.

    Args:
        text: Path of the file, or the names themselves.

    Raises:
        BPGError: The file cannot be read, or a name is empty or there twice; the message names it.
    """
    path = Path(text)
    # A comma is for names; a blank or a dot may be part of one.
    if "," not in text and (path.is_file() or path.suffix == ".txt"):
        names, place = read_lines(path, "class name"), f"{path}: "
    else:
        names, place = [name.strip() for name in text.split(",")], "classes: "
    if not names or "" in names:
        raise BPGError(f"{place}a class has no name; give a name for each label, background first")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise BPGError(f"{place}{twice[:40]!r} is there twice; each label needs a name of its own")
    if len(names) > IGNORE:
        raise BPGError(f"{place}{len(names)} names, but labels are 0 to {IGNORE - 1}")
    for name in names:
        _check_text(name, f"{place}{name!r}")
    return tuple(names)


@dataclass(frozen=True)
class _Drawn:
    strokes: Strokes
    labelled: int
    labels: int  # one more than the highest


def _draw(
    folder: Path,
    formats: tuple[str, ...],
    classes: tuple[str, ...],
    options: HandOptions,
    seed: int,
    name: str,
    path: Path,
) -> _Drawn:
    """Draw the strokes of one image and write all formats but COCO's, which is one file for all."""
    mask = decode_mask(read_bytes(path), str(path))
    stem = PurePosixPath(name).with_suffix("").as_posix()
    names = classes or _DEFAULT_NAMES
    try:
        strokes = draw_strokes(
            mask, names, options, [seed, *hashlib.sha256(stem.encode()).digest()]
        )
    except BPGError as error:
        raise BPGError(f"{path}: {error}") from error
    label_map = rasterise(strokes, names, options.width)
    if strokes.strokes:
        for one in formats:
            if one in _SUFFIXES:
                target = folder / one / f"{stem}{_SUFFIXES[one]}"
                target.parent.mkdir(parents=True, exist_ok=True)
                _write(one, target, strokes, label_map, PurePosixPath(name).name)
    highest = int(mask[mask != IGNORE].max(initial=0))
    return _Drawn(strokes, int((label_map != IGNORE).sum()), highest + 1)


def _write(kind: str, path: Path, strokes: Strokes, label_map: np.ndarray, image_name: str) -> None:
    match kind:
        case "png":
            write_mask(path, label_map)
        case "scribblesup":
            lines = tuple(one for one in strokes.strokes if isinstance(one.shape, Line))
            if lines:
                write_scribblesup(path, replace(strokes, strokes=lines))
        case "labelme":
            write_labelme(path, strokes, image_name)


def _summary(results: Sequence[_Drawn], classes: tuple[str, ...]) -> Summary:
    strokes = [stroke for one in results for stroke in one.strokes.strokes]
    pixels = sum(one.strokes.width * one.strokes.height for one in results)
    return Summary(
        images=len(results),
        without=sum(not one.strokes.strokes for one in results),
        strokes=len(strokes),
        narrow=sum(not isinstance(stroke.shape, Line) for stroke in strokes),
        labelled=100 * sum(one.labelled for one in results) / pixels,
        classes=classes or _DEFAULT_NAMES[: max(one.labels for one in results)],
    )


def _check_folder(out: Path, masks: Sequence[Path]) -> None:
    """Refuse a folder that is not ours to replace, or that holds masks or lies among them."""
    if out.is_symlink():
        raise BPGError(f"{out}: is a link; give the folder itself, or a new one")
    whole = out.resolve()
    for one in masks:
        given = one.resolve()
        if whole == given or given in whole.parents or whole in given.parents:
            raise BPGError(
                f"{out}: overlaps with the masks in {one}; write to a folder of its own beside it"
            )
    if out.is_dir():
        if any(out.iterdir()) and not _is_ours(out / DESCRIPTION):
            raise BPGError(f"{out}: is not empty; give a new folder, or empty this one")
    elif out.exists():
        raise BPGError(f"{out}: is no folder; give a new one")


def _is_ours(path: Path) -> bool:
    try:
        found: Any = parse_json(read_bytes(path), str(path))
    except BPGError:
        return False
    return isinstance(found, dict) and found.get("made_by") == _MADE_BY


def _find_masks(given: Sequence[Path]) -> dict[str, Path]:
    """Return the masks by name: the path below the given folder, with forward slashes; sorted."""
    found: dict[str, Path] = {}
    stems: dict[str, Path] = {}
    for name, path in (pair for one in given for pair in _named(one)):
        _check_text(name, f"{str(path)!r}")
        stem = str(PurePosixPath(name).with_suffix(""))
        if stem in stems:
            raise BPGError(
                f"{path}: has the same name as {stems[stem]}, so their strokes would be in one "
                "file; rename one of them"
            )
        stems[stem] = found[name] = path
    if not found:
        raise BPGError("no mask is given; give PNG files, or folders that hold some")
    return dict(sorted(found.items()))


def _named(given: Path) -> Iterator[tuple[str, Path]]:
    if not given.is_dir():
        if not given.exists():
            raise BPGError(f"{given}: no such file or folder")
        yield given.name, given
        return
    # Names with a dot in front are hidden: what file managers leave behind.
    paths = [
        path
        for path in sorted(given.rglob("*"))
        if path.suffix.lower() == ".png"
        and not any(part.startswith(".") for part in path.relative_to(given).parts)
        and path.is_file()
    ]
    if not paths:
        raise BPGError(f"{given}: holds no PNG; give a folder of masks")
    for path in paths:
        yield path.relative_to(given).as_posix(), path


def _check_text(text: str, place: str) -> None:
    """Refuse what JSON or XML in UTF-8 cannot hold, or what would break a line."""
    if any(unicodedata.category(one) in ("Cc", "Cs") or one in "\ufffe\uffff" for one in text):
        raise BPGError(
            f"{place[:200]}: has characters that cannot be written in a name "
            "(control characters, or bytes that are not UTF-8); rename it"
        )
