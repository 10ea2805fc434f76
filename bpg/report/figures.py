"""The paper's Figures 1, 4, 5 and 6, and propagated labels; equal files give equal bytes.

A system that is not in `variants` is not read: its tiles say "not run". BPGError names an image
that is read but missing or broken. The folders, as the arguments name them:

    images/ID.{jpg,png}, {masks,scribbles,edges}/ID.png   the data set
    runs/VARIANT/SEED/{masks,masks_crf}/ID.png            labels predicted on validation images
    samples/masks/VARIANT/ID.png                          labels predicted on training images
    samples/edges/VARIANT/ID.png                          edges predicted there, 255 = certain
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from string import ascii_lowercase

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bpg.atomic import whole_file
from bpg.constants import IGNORE
from bpg.data.masks import PALETTE, image_path, read_grey, read_image, read_mask

TILE, GAP, HEADER, LINE = 176, 6, 26, 22
INK, SOFT, FAINT, PAPER = (32, 32, 32), (120, 120, 120), (236, 236, 236), (255, 255, 255)
FRAME = (200, 200, 200)

_Column = tuple[str, Callable[[str], Image.Image | None]]  # title; id -> RGB image, or None


def figure1(
    path: Path,
    ids: Sequence[str],
    *,
    images: Path,
    masks: Path,
    scribbles: Path,
    samples: Path,
    variants: Sequence[str],
    classes: Sequence[str],
) -> None:
    """Draw Figure 1: what masks, scribbles and BPG teach.

    Image, both annotations, then the results of `mask`, `scribble` and `bpg`.

    Args:
        path: PNG file to write.
        ids: Training images, since only these have scribbles; one per row.
        images: Folder of images.
        masks: Folder of ground-truth label maps.
        scribbles: Folder of scribbles drawn as label maps.
        samples: Folder of predictions on training images.
        variants: The variants that were run.
        classes: Names of the labels, for the legend.
    """
    predicted = samples / "masks"
    columns = [
        ("image", _photograph(images)),
        ("per-pixel annotation", _labels(masks)),
        ("scribble annotation", _strokes(images, scribbles)),
        ("trained on masks", _labels(predicted / "mask", run="mask" in variants)),
        ("trained on scribbles", _labels(predicted / "scribble", run="scribble" in variants)),
        ("BPG", _labels(predicted / "bpg", run="bpg" in variants)),
    ]
    _draw_columns(path, ids, columns, classes)


def figure4(
    path: Path,
    ids: Sequence[str],
    *,
    images: Path,
    masks: Path,
    runs: Path,
    variants: Sequence[str],
    seed: int,
    classes: Sequence[str],
    labels: Mapping[str, str],
) -> None:
    """Draw Figure 4: what each part of the network adds.

    Image, ground truth, then the results of `scribble`, `prn`, `brn` and `bpg`.

    Args:
        path: PNG file to write.
        ids: Validation images, one per row.
        images: Folder of images.
        masks: Folder of ground-truth label maps.
        runs: Folder of predictions on validation images.
        variants: The variants that were run.
        seed: Training seed of the results.
        classes: Names of the labels, for the legend.
        labels: {variant: title of its column}.
    """
    columns = [("image", _photograph(images)), ("ground truth", _labels(masks))]
    for variant in ("scribble", "prn", "brn", "bpg"):
        folder = runs / variant / str(seed) / "masks"
        columns.append((labels.get(variant, variant), _labels(folder, run=variant in variants)))
    _draw_columns(path, ids, columns, classes)


def figure5(
    path: Path,
    ids: Sequence[str],
    *,
    images: Path,
    masks: Path,
    edges: Path,
    samples: Path,
    variants: Sequence[str],
    classes: Sequence[str],
) -> None:
    """Draw Figure 5: the BRN on all K+1 channels and on two.

    Image, ground truth, edge map, then labels and edges predicted by `bpg_all_channels` and by
    `bpg`. Edges are dark on white.

    Args:
        path: PNG file to write.
        ids: Training images, since only these have edge maps; one per row.
        images: Folder of images.
        masks: Folder of ground-truth label maps.
        edges: Folder of edge maps.
        samples: Folder of predictions on training images.
        variants: The variants that were run.
        classes: Names of the labels, for the legend.
    """
    columns = [
        ("image", _photograph(images)),
        ("ground truth", _labels(masks)),
        ("edge label", _edges(edges)),
    ]
    for channels, variant in (("C = K+1", "bpg_all_channels"), ("C = 2", "bpg")):
        run = variant in variants
        columns += [
            (f"segmentation\n{channels}", _labels(samples / "masks" / variant, run=run)),
            (f"edge prediction\n{channels}", _edges(samples / "edges" / variant, run=run)),
        ]
    _draw_columns(path, ids, columns, classes)


def figure6(
    path: Path,
    ids: Sequence[str],
    *,
    images: Path,
    masks: Path,
    runs: Path,
    variants: Sequence[str],
    seed: int,
    classes: Sequence[str],
) -> None:
    """Draw Figure 6: full masks, the baseline, BPG without and with CRF.

    Image, ground truth, then the results of `mask`, `scribble`, `bpg`, and `bpg` again after the
    CRF.

    Args:
        path: PNG file to write.
        ids: Validation images, one per row.
        images: Folder of images.
        masks: Folder of ground-truth label maps.
        runs: Folder of predictions on validation images.
        variants: The variants that were run.
        seed: Training seed of the results.
        classes: Names of the labels, for the legend.
    """
    columns = [("image", _photograph(images)), ("ground truth", _labels(masks))]
    for title, variant, kind in (
        ("full mask", "mask", "masks"),
        ("baseline", "scribble", "masks"),
        ("BPG", "bpg", "masks"),
        ("BPG + CRF", "bpg", "masks_crf"),
    ):
        folder = runs / variant / str(seed) / kind
        columns.append((title, _labels(folder, run=variant in variants)))
    _draw_columns(path, ids, columns, classes)


def propagated_figure(
    path: Path,
    ids: Sequence[str],
    *,
    images: Path,
    masks: Path,
    scribbles: Path,
    propagated: Sequence[tuple[str, Path]],
    classes: Sequence[str],
) -> None:
    """Draw what GrabCut's and ScribbleSup's networks are trained on.

    Image, strokes, each kind of propagated labels, and the ground truth, which propagation does
    not see.

    Args:
        path: PNG file to write.
        ids: Training images, one per row.
        images: Folder of images.
        masks: Folder of ground-truth label maps.
        scribbles: Folder of scribbles drawn as label maps.
        propagated: (name, folder of its labels) of each kind.
        classes: Names of the labels, for the legend.
    """
    columns = [
        ("image", _photograph(images)),
        ("scribbles", _strokes(images, scribbles)),
        *((name, _labels(folder)) for name, folder in propagated),
        ("ground truth", _labels(masks)),
    ]
    _draw_columns(path, ids, columns, classes)


def results_figure(
    path: Path,
    ids: Sequence[str],
    *,
    images: Path,
    truth: tuple[str, Path],
    predictions: Sequence[tuple[str, Path]],
    classes: Sequence[str],
) -> None:
    """Draw images, what they are scored on, and what was predicted for them.

    Args:
        path: PNG file to write.
        ids: Images, one per row.
        images: Folder of images.
        truth: What the labels that are scored on are called, and their folder.
        predictions: Title of each column, and the folder of its label maps.
        classes: Names of the labels, for the legend.
    """
    columns = [
        ("image", _photograph(images)),
        *((name, _labels(folder)) for name, folder in (truth, *predictions)),
    ]
    _draw_columns(path, ids, columns, classes)


def strokes_figure(
    path: Path,
    ids: Sequence[str],
    *,
    images: Path,
    scribbles: Path,
    predictions: Sequence[tuple[str, Path]],
    classes: Sequence[str],
) -> None:
    """Draw training images, their strokes, and what was learnt from them.

    Args:
        path: PNG file to write.
        ids: Training images, one per row.
        images: Folder of images.
        scribbles: Folder of scribbles drawn as label maps.
        predictions: Title of each column, and the folder of its label maps.
        classes: Names of the labels, for the legend.
    """
    columns = [
        ("image", _photograph(images)),
        ("strokes", _strokes(images, scribbles)),
        *((name, _labels(folder)) for name, folder in predictions),
    ]
    _draw_columns(path, ids, columns, classes)


def draw_grid(
    path: Path,
    titles: Sequence[str],
    rows: Sequence[Sequence[Image.Image | None]],
    legend: Sequence[tuple[str, tuple[int, ...]]],
) -> None:
    """Draw images under column titles, over a legend.

    Args:
        path: PNG file to write.
        titles: Of the columns; a title may have several lines.
        rows: RGB images, scaled to one width; None gives a blank tile that says "not run".
        legend: (name, RGB colour in 0..255) of each entry.
    """
    tiles = [[None if image is None else _fit(image) for image in row] for row in rows]
    heights = [max((tile.height for tile in row if tile), default=TILE) for row in tiles]
    width = GAP + len(titles) * (TILE + GAP)
    header = header_height(titles)
    places = _legend_places([name for name, _ in legend], width)
    height = header + sum(heights) + GAP * len(heights) + GAP + (places[-1][1] + 1) * LINE + GAP
    canvas = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(canvas)

    for column, title in enumerate(titles):
        foot = (_left(column) + TILE / 2, header - 6)
        draw.text(foot, title, INK, _font(13), anchor="md", align="center", spacing=2)
    top = header
    for row, row_height in zip(tiles, heights, strict=True):
        for column, tile in enumerate(row):
            left = _left(column)
            if tile is None:
                draw.rectangle((left, top, left + TILE - 1, top + row_height - 1), FAINT)
                middle = (left + TILE / 2, top + row_height / 2)
                draw.text(middle, "not run", SOFT, _font(13), anchor="mm")
            else:
                x = left + (TILE - tile.width) // 2
                y = top + (row_height - tile.height) // 2
                # An edge map is white up to its border, as the paper is.
                draw.rectangle((x - 1, y - 1, x + tile.width, y + tile.height), FRAME)
                canvas.paste(tile, (x, y))
        top += row_height + GAP
    for (name, colour), (left, line) in zip(legend, places, strict=True):
        centre = top + GAP + line * LINE + LINE // 2
        draw.rectangle((left, centre - 6, left + 16, centre + 6), colour, outline=(150, 150, 150))
        draw.text((left + 22, centre), name, INK, _font(12), anchor="lm")
    with whole_file(path) as partial:
        canvas.save(partial, format="PNG", optimize=True)


def header_height(titles: Sequence[str]) -> int:
    """Return the pixels that `draw_grid` leaves above the first row."""
    return HEADER + 17 * max(title.count("\n") for title in titles)


def _draw_columns(
    path: Path, ids: Sequence[str], columns: Sequence[_Column], classes: Sequence[str]
) -> None:
    draw_grid(
        path,
        [f"({ascii_lowercase[place]}) {title}" for place, (title, _) in enumerate(columns)],
        [[read(image_id) for _, read in columns] for image_id in ids],
        [(name, tuple(PALETTE[label])) for label, name in enumerate(classes)]
        + [("not scored", tuple(PALETTE[IGNORE]))],
    )


def _photograph(folder: Path) -> Callable[[str], Image.Image | None]:
    return lambda image_id: Image.fromarray(read_image(image_path(folder, image_id)))


def _labels(folder: Path, *, run: bool = True) -> Callable[[str], Image.Image | None]:
    """Return a reader of label maps in their colours."""

    def read(image_id: str) -> Image.Image | None:
        return Image.fromarray(PALETTE[read_mask(folder / f"{image_id}.png")]) if run else None

    return read


def _edges(folder: Path, *, run: bool = True) -> Callable[[str], Image.Image | None]:
    """Return a reader of edge maps, dark on white."""

    def read(image_id: str) -> Image.Image | None:
        if not run:
            return None
        return Image.fromarray(255 - read_grey(folder / f"{image_id}.png")).convert("RGB")

    return read


def _strokes(images: Path, scribbles: Path) -> Callable[[str], Image.Image | None]:
    """Return a reader of strokes in their colours on a faded image."""

    def read(image_id: str) -> Image.Image:
        scribble = read_mask(scribbles / f"{image_id}.png")
        faded = 170 + read_image(image_path(images, image_id)) // 3
        return Image.fromarray(np.where((scribble == IGNORE)[..., None], faded, PALETTE[scribble]))

    return read


def _fit(image: Image.Image) -> Image.Image:
    """Scale to the tile's width, or to its height if the image is taller than wide."""
    scale = TILE / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    # Small label maps keep hard pixels; large ones would lose thin parts without smoothing.
    how = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX
    return image.resize((width, height), how)


def _left(column: int) -> int:
    return GAP + column * (TILE + GAP)


def _legend_places(names: Iterable[str], width: int) -> list[tuple[int, int]]:
    """Return (x, line) of each entry, wrapped at `width` pixels."""
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
