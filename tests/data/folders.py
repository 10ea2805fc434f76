"""Folders of images and strokes, with faults as asked for."""

import numpy as np
from PIL import Image

from bpg.data.folder import read_folder
from bpg.data.folder_checks import check_folder
from bpg.data.folder_split import split_folder
from bpg.data.formats.labelme import write_labelme
from bpg.data.options import FolderOptions
from bpg.data.strokes import Line, Stroke, Strokes

WIDTH, HEIGHT = 40, 30


def line(tag, *points):
    return Stroke(tag, Line(tuple((float(x), float(y)) for x, y in points)))


GROUND = line("background", (2.5, 27.5), (37.5, 27.5))
SKY = line("background", (2.5, 2.5), (37.5, 2.5))
CAT = line("cat", (10.5, 15.5), (20.5, 15.5))
DOG = line("dog", (25.5, 15.5), (35.5, 15.5))
ALL = (GROUND, SKY, CAT, DOG)


def draw(root, name="a.jpg", strokes=ALL, *, tool_name=None, seed=None, size=(WIDTH, HEIGHT)):
    """An image, and labelme's file beside it in another folder."""
    path = root / "images" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(list(name.encode()) if seed is None else seed)
    noise = rng.integers(0, 255, (size[1] // 5 + 1, size[0] // 5 + 1, 3), np.uint8)
    Image.fromarray(noise).resize(size).save(path)
    if strokes:
        file = (root / "strokes" / name).with_suffix(".json")
        file.parent.mkdir(parents=True, exist_ok=True)
        write_labelme(file, Strokes(*size, tuple(strokes)), tool_name or name)
    return path


def read(root, *, classes=(), line_width=3, longest_side=None, **options):
    return read_folder(
        root,
        FolderOptions(**options),
        classes=classes,
        line_width=line_width,
        longest_side=longest_side,
    )


def found(folder, level="error"):
    return [finding.text for finding in folder.findings if finding.level == level]


def suspicious(folder, level="warning"):
    findings = check_folder(folder, split_folder(folder))
    return [finding.text for finding in findings if finding.level == level]
