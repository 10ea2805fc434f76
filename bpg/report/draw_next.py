"""Where to draw next: the list, and the images with their uncertain places."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from bpg.data.masks import image_path, read_grey, read_image
from bpg.errors import BPGError
from bpg.report.columns import Column, Table, label, make_table
from bpg.report.figures import draw_grid
from bpg.report.setting import Setting

SHOWN = 6
"""Images in the figure."""

COLUMNS = (
    *("rank", "image", "id", "strokes", "variant", "uncertainty"),
    *("left", "top", "width", "height", "region_uncertainty", "likely"),
)
_BOX = (255, 0, 255)

Row = Mapping[str, str]


def read_rows(path: Path) -> list[Row]:
    """Read draw_next.csv: a row for each region, the most uncertain image first.

    Raises:
        BPGError: The file is missing or something else; the message names it.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows: list[Row] = list(reader)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise ValueError("other columns")
        for row in rows:
            for key in ("rank", "left", "top", "width", "height"):
                int(row[key])
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise BPGError(f"{path}: no list of where to draw next; run draw_next") from error
    return rows


def draw_next_table(rows: Sequence[Row], setting: Setting) -> Table:
    """Return the list as a table: a row for each image, with its regions.

    Args:
        rows: What `read_rows` returns.
        setting: What the networks were trained on.
    """
    by_image: dict[str, list[Row]] = {}
    for row in rows:
        by_image.setdefault(row["id"], []).append(row)
    columns: list[Column[list[Row]]] = [
        label("place", "place", lambda regions: regions[0]["rank"]),
        label("image", "image", lambda regions: regions[0]["image"]),
        label("has strokes", "strokes", lambda regions: regions[0]["strokes"]),
        label("uncertainty", "uncertainty", lambda regions: regions[0]["uncertainty"]),
        label(
            "where, and what it may be", "regions", lambda regions: "; ".join(map(_place, regions))
        ),
    ]
    variant = setting.label(rows[0]["variant"]) if rows else ""
    return make_table(
        "draw_next",
        "Where to draw next",
        f"Images on which {variant} is least sure, and the most uncertain places in them: strokes "
        "there would teach it most.",
        columns,
        by_image.values(),
        (
            "Uncertainty: the mean entropy of the pixels' class probabilities, in % of the largest "
            "possible, of the mean over the seeds' networks. Places are in pixels of the prepared "
            "image: left, top, width x height. Images without strokes are looked at first.",
        ),
        setting.columns(),
    )


def _place(row: Row) -> str:
    place = f"({row['left']}, {row['top']}) {row['width']}x{row['height']}"
    return f"{place}: {row['likely']}"


def draw_next_figure(path: Path, rows: Sequence[Row], *, images: Path, maps: Path) -> None:
    """Draw the first images of the list with their uncertain places, and their uncertainty.

    Args:
        path: PNG file to write.
        rows: What `read_rows` returns.
        images: Folder of images.
        maps: Folder of the maps of uncertainty, ID.png, 255 = as unsure as can be.
    """
    shown = list(dict.fromkeys(row["id"] for row in rows))[:SHOWN]
    pairs = []
    for name in shown:
        pixels = read_image(image_path(images, name))
        image = Image.fromarray(pixels)
        draw = ImageDraw.Draw(image)
        width = max(1, round(max(image.size) / 100))
        for row in rows:
            if row["id"] == name:
                left, top = int(row["left"]), int(row["top"])
                corner = (left + int(row["width"]) - 1, top + int(row["height"]) - 1)
                draw.rectangle(((left, top), corner), outline=_BOX, width=width)
        unsure = read_grey(maps / f"{name}.png")[..., None] / 255
        heat = (pixels * (1 - unsure) * 0.5 + np.array([255, 120, 0]) * unsure).astype(np.uint8)
        pairs.append((image, Image.fromarray(heat)))
    # Two images to a row.
    halves = [pairs[n : n + 2] for n in range(0, len(pairs), 2)]
    grid = [[tile for pair in half for tile in pair] for half in halves]
    titles = ["where to draw", "uncertainty"] * min(2, max(1, len(pairs)))
    grid = [row + [Image.new("RGB", (1, 1), "white")] * (len(titles) - len(row)) for row in grid]
    draw_grid(path, titles, grid, [("least sure here", _BOX), ("uncertain", (255, 120, 0))])
