"""The built-in data set: generated images with full masks and strokes, made to be hard.

Textured objects on textured ground (so HED's edges are noisy), distinguished by texture with hue
only a hint, in colours that they share with the ground (so colour alone separates nothing), with
occlusion, thin limbs and holes. Everything follows from the seed and the image's number.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import skimage
from joblib import Parallel, delayed
from PIL import Image, ImageDraw
from scipy import ndimage
from skimage.graph import route_through_array

from bpg.data.formats.scribblesup import write_scribblesup
from bpg.data.masks import write_mask
from bpg.data.strokes import Line, Stroke, Strokes
from bpg.resumable import Work

# Photographs inside the scikit-image wheel, all CC0 or public domain.
PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg",
               "brick.png", "grass.png", "gravel.png")  # fmt: skip
CLASSES = ("background", "stripes", "checks", "dots", "waves", "blotches", "rings")
HUE_HINT = 0.4  # share of a class's own colour in an object's colours
SUPERSAMPLING = 2


@dataclass(frozen=True)
class Sample:
    """An image: RGB uint8 (H, W, 3), its mask uint8 (H, W) with labels 0..6, and its strokes."""

    image: np.ndarray
    mask: np.ndarray
    strokes: Strokes


def prepare_shapes(
    work: Work, *, size: int, train: int, val: int, seed: int
) -> tuple[list[str], list[str]]:
    """Draw the data set into resumable work: `images`, `masks` and, for training only, `strokes`.

    Images that are already done are not drawn again.

    Args:
        work: Where the files go.
        size: Side of an image in pixels.
        train: Number of training images.
        val: Number of validation images.
        seed: Another seed is another draw from the same distribution.

    Returns:
        The ids of the training images and those of the validation images.

    Raises:
        OSError: The files cannot be written.
    """
    splits = {"train": train, "val": val}
    names = {split: [f"{split}_{i:05d}" for i in range(n)] for split, n in splits.items()}
    jobs = []
    for index, (split, listed) in enumerate(names.items()):
        for number, name in enumerate(listed):
            files = [f"images/{name}.png", f"masks/{name}.png"]
            files += [f"strokes/{name}.xml"] if split == "train" else []
            if not work.done(*files):
                jobs.append(delayed(_write)(files, work.begin(*files), [seed, index, number], size))
    for files in Parallel(n_jobs=-1, return_as="generator")(jobs):
        work.add(*files)
    return names["train"], names["val"]


def _write(files: list[str], paths: list[Path], seed: list[int], size: int) -> list[str]:
    sample = draw_sample(seed, size)
    Image.fromarray(sample.image).save(paths[0], compress_level=4)
    write_mask(paths[1], sample.mask)
    if len(paths) > 2:
        write_scribblesup(paths[2], sample.strokes)
    return files


def draw_sample(seed: list[int], size: int) -> Sample:
    """Draw one image: ground, then one to three objects on top of each other, light, noise.

    Bodies are 0.28 to 0.48 of the side across (27 to 46 of 96 pixels), limbs 3 to 5 pixels wide.

    Args:
        seed: Seed of NumPy's generator, here (draw, split, number).
        size: Side of the image in pixels.
    """
    rng = np.random.default_rng(seed)
    fine = size * SUPERSAMPLING
    canvas = _ground(rng, fine)
    instances = np.zeros((size, size), np.uint8)
    labels = [0]
    for number in range(1, rng.integers(1, 4) + 1):
        label = int(rng.integers(1, len(CLASSES)))
        shape, centre = _silhouette(rng, fine)
        colours = _colours(rng, canvas, label)
        surface = _surface(rng, label, fine, centre, colours)
        # A soft outline, as a lens draws it.
        alpha = ndimage.gaussian_filter(shape.astype(np.float32), 0.6 * SUPERSAMPLING)[..., None]
        canvas = canvas * (1 - alpha) + surface * alpha
        instances[_shrink(shape.astype(np.float32)) > 0.5] = number
        labels.append(label)
    image = _shrink(canvas * _light(rng, fine)[..., None])
    image = image + rng.normal(0, 0.025, image.shape)
    mask = np.array(labels, np.uint8)[instances]
    strokes = tuple(
        stroke
        for number, label in enumerate(labels)
        for stroke in _strokes(rng, instances == number, CLASSES[label])
    )
    return Sample(
        (image.clip(0, 1) * 255).round().astype(np.uint8), mask, Strokes(size, size, strokes)
    )


def _shrink(fine: np.ndarray) -> np.ndarray:
    height, width = fine.shape[0] // SUPERSAMPLING, fine.shape[1] // SUPERSAMPLING
    return fine.reshape(height, SUPERSAMPLING, width, SUPERSAMPLING, *fine.shape[2:]).mean((1, 3))


@cache
def _photograph(name: str) -> Image.Image:
    return Image.open(Path(skimage.__file__).parent / "data" / name).convert("RGB")


def _ground(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw a crop of a photograph, or grainy clouds in three colours: (size, size, 3) in 0..1."""
    if rng.random() < 0.6:
        photograph = _photograph(str(rng.choice(PHOTOGRAPHS)))
        side = int(rng.integers(min(photograph.size) // 4, min(photograph.size) * 3 // 4))
        left, top = (int(rng.integers(0, extent - side + 1)) for extent in photograph.size)
        box = (left, top, left + side, top + side)
        crop = np.asarray(photograph.resize((size, size), Image.Resampling.BICUBIC, box))
        ground = crop.astype(np.float32) / 255
        tint = rng.uniform(0.75, 1.25, 3)
        return (ground[:, :: rng.choice([-1, 1])] * tint).clip(0, 1)
    colours = rng.uniform(0.1, 0.9, (3, 3))
    ground = np.broadcast_to(colours[0], (size, size, 3))
    for colour, scale in zip(colours[1:], (size / 8, size / 20), strict=True):
        share = 1 / (1 + np.exp(-3 * _noise(rng, size, scale)))[..., None]
        ground = ground * (1 - share) + colour * share
    return (ground + 0.08 * _noise(rng, size, rng.uniform(1.5, 5))[..., None]).clip(0, 1)


def _noise(rng: np.random.Generator, size: int, scale: float) -> np.ndarray:
    """Draw smooth noise of unit variance; `scale` is its blur in pixels."""
    field = ndimage.gaussian_filter(rng.normal(size=(size, size)), scale, mode="wrap")
    return (field - field.mean()) / field.std()


def _silhouette(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a rounded body with up to four thin limbs and sometimes a hole: bool mask, centre."""
    radius = rng.uniform(0.14, 0.24) * size
    centre = rng.uniform(0.15, 0.85, 2) * size
    angles = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    outline = 1 + sum(
        rng.uniform(0, 0.3) / k * np.cos(k * angles + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 5)
    )
    turn, stretch = rng.uniform(0, 2 * np.pi), rng.uniform(0.65, 1)
    x, y = np.cos(angles) * outline * radius, np.sin(angles) * outline * radius * stretch
    body = centre + np.stack(
        [x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], axis=1
    )
    picture = Image.new("1", (size, size))
    draw = ImageDraw.Draw(picture)
    draw.polygon([tuple(p) for p in body], fill=1)
    if rng.random() < 0.35:
        hole = centre + rng.uniform(-0.2, 0.2, 2) * radius
        half = rng.uniform(0.25, 0.42, 2) * radius
        draw.ellipse([*(hole - half), *(hole + half)], fill=0)
    for _ in range(rng.integers(0, 5)):
        direction = rng.uniform(0, 2 * np.pi) + np.array([0, rng.uniform(-0.6, 0.6)])
        reach = np.array([1.3, 2.0]) * radius * rng.uniform(0.85, 1.1)
        knee, foot = (
            centre + length * np.array([np.cos(angle), np.sin(angle)])
            for angle, length in zip(direction, reach, strict=True)
        )
        start = centre + 0.6 * (knee - centre)
        width = int(rng.integers(3, 6)) * SUPERSAMPLING
        draw.line([tuple(p) for p in (start, knee, foot)], fill=1, width=width, joint="curve")
    return np.asarray(picture), centre


def _colours(rng: np.random.Generator, canvas: np.ndarray, label: int) -> np.ndarray:
    """Pick two colours from the image itself, set apart in brightness, with a hint of hue."""
    rows, columns = rng.integers(0, canvas.shape[0], (2, 2))
    angle = 2 * np.pi * (label - 1) / (len(CLASSES) - 1)
    hue = 0.5 + 0.5 * np.cos(angle + np.array([0, -2, 2]) * np.pi / 3)
    pair = canvas[rows, columns] + rng.normal(0, 0.08, (2, 3))
    pair = pair * (1 - HUE_HINT) + hue * HUE_HINT
    contrast = rng.uniform(0.3, 0.5)
    return np.stack([pair[0] - contrast / 2, pair[1] + contrast / 2]).clip(0.02, 0.98)


def _surface(
    rng: np.random.Generator, label: int, size: int, centre: np.ndarray, colours: np.ndarray
) -> np.ndarray:
    """Draw the class's texture in two colours that drift over the object: (size, size, 3)."""
    rows, columns = np.mgrid[:size, :size].astype(np.float32)
    x, y = columns - centre[0], rows - centre[1]
    turn = rng.uniform(0, np.pi)
    u, v = x * np.cos(turn) + y * np.sin(turn), -x * np.sin(turn) + y * np.cos(turn)
    period = rng.uniform(5, 7.5) * SUPERSAMPLING
    phase = 2 * np.pi / period
    match CLASSES[label]:
        case "stripes":
            pattern = np.sin(phase * u)
        case "checks":
            pattern = 2 * np.sin(0.7 * phase * u) * np.sin(0.7 * phase * v)
        case "dots":
            pattern = 1.5 * (np.cos(phase * u) + np.cos(phase * v)) - 1.2
        case "waves":
            pattern = np.sin(phase * (u + 0.45 * period * np.sin(0.45 * phase * v)))
        case "blotches":
            pattern = _noise(rng, size, 0.3 * period)
        case _:  # rings
            pattern = np.sin(phase * np.hypot(u, v))
    share = (1 / (1 + np.exp(-3 * pattern)))[..., None]
    drift = 0.09 * np.stack([_noise(rng, size, size / 10) for _ in range(3)], axis=2)
    return (colours[0] * (1 - share) + colours[1] * share + drift).clip(0, 1)


def _light(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw illumination that falls off across the image by up to 30 % to either side."""
    rows, columns = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    angle = rng.uniform(0, 2 * np.pi)
    return 1 + rng.uniform(0, 0.3) * (rows * np.cos(angle) + columns * np.sin(angle)) / 1.4


def _strokes(rng: np.random.Generator, region: np.ndarray, tag: str) -> list[Stroke]:
    """Draw a stroke or two in each large part of the region, along its middle as people would."""
    parts, count = ndimage.label(region)
    strokes = []
    for number in range(1, count + 1):
        part = parts == number
        if part.sum() >= (400 if tag == "background" else 40):
            strokes.append(_stroke(rng, part, tag))
            if tag == "background" and part.sum() > 3000 and rng.random() < 0.6:
                strokes.append(_stroke(rng, part, tag))
    return strokes


def _stroke(rng: np.random.Generator, part: np.ndarray, tag: str) -> Stroke:
    depth = ndimage.distance_transform_edt(np.pad(part, 1))[1:-1, 1:-1]
    inner = np.argwhere(depth >= min(2.0, depth.max()))
    ends = inner[rng.integers(0, len(inner), 12)]
    # Of a dozen random places, the farthest from the first: strokes cross their region.
    start, end = ends[0], ends[np.abs(ends - ends[0]).sum(1).argmax()]
    cost = np.where(part, 1 / np.minimum(depth + 0.5, 6) ** 2, 1e3)
    path, _ = route_through_array(cost, start, end, geometric=True)
    # A person stops short: at most 40 px, a point every 4.
    path = path[:40]
    points = [*path[:-1:4], path[-1]]
    if len(points) == 1:
        points = [points[0], points[0]]
    # Through the middle of the pixels.
    return Stroke(tag, Line(tuple((int(column) + 0.5, int(row) + 0.5) for row, column in points)))
