"""Figures of the page, drawn from the pipeline's own results; equal input gives equal bytes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from bpg.data.masks import IGNORE, PALETTE, image_path, read_image, read_mask
from bpg.files import whole_file
from bpg.report.runs import Runs, mean_curves, spread
from bpg.variants import VARIANTS

RULE = (
    "the sorted validation ids are cut into {count} equal runs, and of each the first image whose "
    "ground truth shows an object is taken"
)
"""How `choose_images` chooses, for the caption; `count` as given there."""

TILE, GAP, HEADER, LINE = 176, 6, 26, 22
INK, FAINT, PAPER = (32, 32, 32), (236, 236, 236), (255, 255, 255)

# Title, variant, folder of masks in its run. The last two are not in the paper's figure.
PREDICTIONS = (
    ("DeepLab-v2 (scribbles)", "scribble", "masks"),
    ("+PRN", "prn", "masks"),
    ("+BRN", "brn", "masks"),
    ("BPG", "bpg", "masks"),
    ("BPG + CRF", "bpg", "masks_crf"),
    ("DeepLab-v2 (masks)", "mask", "masks"),
)


def choose_images(ids: Sequence[str], masks: Path, count: int = 6) -> list[str]:
    """Choose up to `count` ids by `RULE`, so that nobody picks the pictures by hand."""
    chosen = []
    for part in np.array_split(sorted(ids), min(count, len(ids))):
        with_object = (image_id for image_id in part if _shows_object(masks / f"{image_id}.png"))
        chosen.extend(str(image_id) for image_id in islice(with_object, 1))
    return chosen


def figure4(
    path: Path,
    ids: Sequence[str],
    *,
    images: Path,
    masks: Path,
    scribbles: Path,
    runs: Path,
    variants: Sequence[str],
    seed: int,
    classes: Sequence[str],
) -> None:
    """Draw Figure 4 as PNG: a row per id; image, ground truth, scribbles, then `PREDICTIONS`.

    Reads runs/VARIANT/`seed`/{masks,masks_crf}/ID.png; systems that are not in `variants` get
    blank tiles. The scribbles' column is left out unless `scribbles` holds one of every id
    (VOC val has none).
    """
    columns: list[tuple[str, Callable[[str], Image.Image | None]]] = [
        ("image", lambda image_id: Image.fromarray(read_image(image_path(images, image_id)))),
        ("ground truth", lambda image_id: _coloured(masks / f"{image_id}.png")),
    ]
    if all((scribbles / f"{image_id}.png").is_file() for image_id in ids):
        columns.append(("scribbles", lambda image_id: _strokes(images, scribbles, image_id)))
    for title, variant, kind in PREDICTIONS:
        folder = runs / variant / str(seed) / kind if variant in variants else None
        columns.append((title, _prediction_reader(folder)))
    draw_grid(
        path,
        [title for title, _ in columns],
        [[read(image_id) for _, read in columns] for image_id in ids],
        [(name, tuple(PALETTE[label])) for label, name in enumerate(classes)]
        + [("not scored", tuple(PALETTE[IGNORE]))],
    )


def draw_grid(
    path: Path,
    titles: Sequence[str],
    rows: Sequence[Sequence[Image.Image | None]],
    legend: Sequence[tuple[str, tuple[int, ...]]],
) -> None:
    """Draw RGB pictures under column titles, over a legend of (name, RGB colour), as PNG.

    Pictures are scaled to one width; None gives a blank tile that says "not run".
    """
    tiles = [[None if picture is None else _fit(picture) for picture in row] for row in rows]
    heights = [max((tile.height for tile in row if tile), default=TILE) for row in tiles]
    width = GAP + len(titles) * (TILE + GAP)
    places = _legend_places([name for name, _ in legend], width)
    height = HEADER + sum(heights) + GAP * len(heights) + GAP + (places[-1][1] + 1) * LINE + GAP
    canvas = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(canvas)

    for column, title in enumerate(titles):
        draw.text((_left(column) + TILE / 2, HEADER / 2), title, INK, _font(13), anchor="mm")
    top = HEADER
    for row, row_height in zip(tiles, heights, strict=True):
        for column, tile in enumerate(row):
            left = _left(column)
            if tile is None:
                draw.rectangle((left, top, left + TILE - 1, top + row_height - 1), FAINT)
                middle = (left + TILE / 2, top + row_height / 2)
                draw.text(middle, "not run", (120, 120, 120), _font(13), anchor="mm")
            else:
                shift = (TILE - tile.width) // 2, (row_height - tile.height) // 2
                canvas.paste(tile, (left + shift[0], top + shift[1]))
        top += row_height + GAP
    for (name, colour), (left, line) in zip(legend, places, strict=True):
        middle = top + GAP + line * LINE + LINE // 2
        draw.rectangle((left, middle - 6, left + 16, middle + 6), colour, outline=(150, 150, 150))
        draw.text((left + 22, middle), name, INK, _font(12), anchor="lm")
    with whole_file(path) as partial:
        canvas.save(partial, format="PNG", optimize=True)


def bar_chart(path: Path, runs: Runs) -> None:
    """Draw mIoU per variant before and after the CRF as PNG; error bars where there are seeds.

    `runs` is what `bpg.report.runs.read_runs` returns; the bars are one standard deviation long
    to each side.
    """
    figure = Figure(figsize=(8, 0.62 * len(runs) + 1.3), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(runs))
    for shift, kind, label, colour in (
        (-0.2, "raw", "without CRF", "#4477aa"),
        (0.2, "crf", "with CRF", "#ccbb44"),
    ):
        values = [spread([seed[kind]["miou"] for seed in seeds]) for seeds in runs.values()]
        means = [mean for mean, _ in values]
        errors = [deviation or 0.0 for _, deviation in values]
        axes.barh(places + shift, means, 0.38, label=label, color=colour)
        if any(errors):
            axes.errorbar(
                means, places + shift, xerr=errors, fmt="none", ecolor="#333333", capsize=3
            )
        for place, mean, error in zip(places + shift, means, errors, strict=True):
            axes.text(mean + error + 0.6, place, f"{mean:.1f}", va="center", fontsize=9)
    axes.set_yticks(places, [_label(variant) for variant in runs])
    axes.invert_yaxis()
    axes.set_xlabel("mIoU in %")
    axes.margins(x=0.1)
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside upper right", ncols=2, frameon=False
    )
    _plain(axes)
    axes.grid(visible=False, axis="y")
    _save(figure, path)


def curve_chart(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw the training curves as PNG: a panel per metric, a line per variant (seed mean).

    `rows` is what `bpg.report.runs.gather_curves` returns, where a step is an epoch.
    """
    metrics = [name for name in rows[0] if name not in ("variant", "seed", "step")]
    curves = mean_curves(rows)
    across = 2 if len(metrics) == 4 else min(3, len(metrics))
    down = -(-len(metrics) // across)
    figure = Figure(figsize=(4 * across, 2.9 * down + 0.5), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).flat
    for metric, axes in zip(metrics, panels, strict=False):
        for index, points in enumerate(curves.values()):
            if metric in points[0]:
                steps, values = zip(*((row["step"], row[metric]) for row in points), strict=True)
                axes.plot(steps, values, color=f"C{index}", linewidth=1.6)
        axes.set_title(metric, fontsize=10)
        axes.set_xlabel("epoch", fontsize=9)
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
        axes.set_ylim(bottom=0)
        _plain(axes)
    for axes in panels:
        axes.set_visible(False)
    handles = [mpl.lines.Line2D([], [], color=f"C{index}") for index in range(len(curves))]
    labels = [_label(variant) for variant in curves]
    columns = min(2 * across, len(labels))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
    _save(figure, path)


def _shows_object(path: Path) -> bool:
    mask = read_mask(path)
    return bool(((mask != 0) & (mask != IGNORE)).any())


def _prediction_reader(folder: Path | None) -> Callable[[str], Image.Image | None]:
    return lambda image_id: None if folder is None else _coloured(folder / f"{image_id}.png")


def _coloured(path: Path) -> Image.Image:
    return Image.fromarray(PALETTE[read_mask(path)])


def _strokes(images: Path, scribbles: Path, image_id: str) -> Image.Image:
    """Strokes in their colours on a faded image."""
    scribble = read_mask(scribbles / f"{image_id}.png")
    faded = 170 + read_image(image_path(images, image_id)) // 3
    return Image.fromarray(np.where((scribble == IGNORE)[..., None], faded, PALETTE[scribble]))


def _fit(picture: Image.Image) -> Image.Image:
    """Scale to the tile's width, or to its height where the picture is taller than wide."""
    scale = TILE / max(picture.size)
    size = tuple(max(1, round(side * scale)) for side in picture.size)
    # Small label maps keep their hard pixels; large ones would lose thin parts without smoothing.
    return picture.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX)


def _left(column: int) -> int:
    return GAP + column * (TILE + GAP)


def _legend_places(names: Iterable[str], width: int) -> list[tuple[int, int]]:
    """(x, line) of each entry, wrapped at `width` pixels."""
    places, left, line = [], GAP, 0
    for name in names:
        advance = 22 + round(_font(12).getlength(name)) + 18
        if left > GAP and left + advance > width:
            left, line = GAP, line + 1
        places.append((left, line))
        left += advance
    return places


def _font(size: int) -> ImageFont.FreeTypeFont:
    # matplotlib's own copy: the same letters on every machine.
    return ImageFont.truetype(Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), size)


def _label(variant: str) -> str:
    return VARIANTS[variant].label if variant in VARIANTS else variant


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)


def _save(figure: Figure, path: Path) -> None:
    # Software holds matplotlib's version, which would change the bytes and not the picture.
    with whole_file(path) as partial:
        figure.savefig(partial, format="png", dpi=130, metadata={"Software": None})
