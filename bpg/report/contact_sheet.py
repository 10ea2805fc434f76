"""A page of small images with their strokes, for a look before a training."""

import base64
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, select_autoescape
from joblib import Parallel, delayed
from numpy.typing import NDArray

from bpg.atomic import write_text
from bpg.data.colours import BACKGROUND_COLOUR, bright_colours
from bpg.data.findings import Finding
from bpg.data.folder import Folder
from bpg.data.folder_split import Split
from bpg.data.folder_summary import FolderSummary
from bpg.data.frames import resized, small_copy
from bpg.data.strokes import covered
from bpg.opencv import cv2

SHOWN = 300
"""The most images on a page: first those with findings, then in the order of their names."""

_LONGEST = 240
"""Longer side of the small images, in pixels."""

_WIDTH = 3
"""Of a line on a small image, in pixels."""


@dataclass(frozen=True)
class Tile:
    """A small image on the page: `data` is base64 JPEG, `use` what the image is for."""

    name: str
    size: str
    data: str
    tags: tuple[str, ...]
    use: str
    findings: tuple[Finding, ...]


def write_contact_sheet(
    path: Path, folder: Folder, split: Split | None, findings: list[Finding], summary: FolderSummary
) -> None:
    """Write one self-contained HTML file, whole or not at all.

    Args:
        path: The file.
        folder: What `read_folder` returns.
        split: What `split_folder` returns; None if the folder cannot be divided.
        findings: All of them.
        summary: The folder in numbers.
    """
    colours = colours_of(folder)
    about: dict[str, list[Finding]] = {}
    for finding in findings:
        for name in finding.images:
            about.setdefault(name, []).append(finding)
    worth = [name for name in about if any(f.level != "note" for f in about[name])]
    names = list(dict.fromkeys([*sorted(worth), *folder.drawn_on, *folder.photos]))
    names = [name for name in names if name in folder.photos]
    shown = names[:SHOWN]
    # Threads: decoding releases the GIL.
    small = Parallel(n_jobs=-1, prefer="threads")(
        delayed(_small_image)(folder, split, name, colours) for name in shown
    )
    cards = [
        Tile(
            name,
            f"{folder.photos[name].width}×{folder.photos[name].height}",
            image,
            tuple(dict.fromkeys(s.tag for s in folder.strokes.get(name, ()) if s.tag)),
            _use(split, name),
            tuple(about.get(name, ())),
        )
        for name, image in zip(shown, small, strict=True)
    ]
    environment = Environment(
        loader=PackageLoader("bpg.report", "."), autoescape=select_autoescape(default=True)
    )
    page = environment.get_template("contact_sheet.html.j2").render(
        folder=str(folder.root),
        summary=summary,
        total=max(1, sum(row.pixels for row in summary.rows)),
        colours=colours,
        findings=sorted(findings, key=lambda f: ("error", "warning", "note").index(f.level)),
        cards=cards,
        left_off=len(names) - len(cards),
    )
    write_text(path, page)


def colours_of(folder: Folder) -> dict[str, str]:
    """Return {class: "#rrggbb"}; background is grey here."""
    usual = dict(zip(folder.classes, bright_colours(len(folder.classes)), strict=True))
    usual[folder.classes[0]] = BACKGROUND_COLOUR
    return usual | {n: c for n, c in folder.options.colours.items() if n in usual}


def _small_image(folder: Folder, split: Split | None, name: str, colours: dict[str, str]) -> str:
    image = small_copy(folder.photos[name].read(), _LONGEST).copy()
    size = (image.shape[1], image.shape[0])
    out = split.held_out.get(name, frozenset()) if split else frozenset()
    for place, stroke in enumerate(folder.strokes.get(name, ())):
        shape = resized(stroke.shape, folder.size(name), size)
        colour = _rgb(colours.get(stroke.tag or "", "#ffffff"))
        for line_width, painted in ((_WIDTH + 2, (255, 255, 255)), (_WIDTH, colour)):
            pixels = covered(shape, *size, line_width)
            height, width = pixels.mask.shape
            box = image[pixels.top : pixels.top + height, pixels.left : pixels.left + width]
            mask = pixels.mask
            if place in out and line_width == _WIDTH:  # hatched
                mask = mask & (np.add.outer(np.arange(height), np.arange(width)) // 2 % 2 == 0)
            box[mask] = painted
    return base64.b64encode(_jpeg(image)).decode()


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(colour[1:])
    return red, green, blue


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    _, data = cv2.imencode(".jpg", image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 85))
    return data.tobytes()


def _use(split: Split | None, name: str) -> str:
    if split is None:
        return ""
    uses = (("trained on", split.train), ("scored on", split.val), ("not drawn on", split.pool))
    return ", ".join(text for text, names in uses if name in names)
