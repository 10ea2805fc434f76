"""A training item from files of VOC's size, against Pillow: `python -m bench.augmentation`.

Theirs is the usual chain of Pillow's: decode, resize the window, paste into the crop, and float
edges. One thread. Floor: decoding the JPEG by libjpeg-turbo, which neither way can leave out.
"""

import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image

from bench.measure import Row, in_turns, photographs, regions, show
from bpg.data.dataset import TrainingImages
from bpg.data.masks import write_mask
from bpg.data.options import Augmentation
from bpg.opencv import cv2

CROP, FILL = 321, (124, 116, 104)


def with_pillow(folder: Path, name: str, edges: bool, rng: np.random.Generator) -> list:
    images = [
        Image.open(folder / f"images/{name}.jpg").convert("RGB"),
        Image.open(folder / f"labels/{name}.png"),
    ]
    if edges:
        images.append(Image.open(folder / f"edges/{name}.png"))
    scale, flip = rng.uniform(0.5, 1.5), rng.random() < 0.5
    box, place = [[], []], [[], []]
    for extent in images[0].size:
        scaled = round(extent * scale)
        offset = int(rng.integers(0, abs(scaled - CROP) + 1))
        first, left = (offset, 0) if scaled > CROP else (0, offset)
        length = min(scaled, CROP)
        for side, value in zip(box, (first, first + length), strict=True):
            side.append(value * extent / scaled)
        for side, value in zip(place, (left, left + length), strict=True):
            side.append(value)
    size = tuple(b - a for a, b in zip(*place, strict=True))
    planes = []
    for number, (image, fill) in enumerate(zip(images, (FILL, 255, 0), strict=False)):
        kind = Image.Resampling.NEAREST if number == 1 else Image.Resampling.BILINEAR
        target = Image.new(image.mode, (CROP, CROP), fill)
        target.paste(image.resize(size, kind, (*box[0], *box[1])), tuple(place[0]))
        plane = np.array(target)
        planes.append(np.ascontiguousarray(plane[:, ::-1]) if flip else plane)
    tensors = [torch.from_numpy(np.ascontiguousarray(planes[0].transpose(2, 0, 1)))]
    tensors.append(torch.from_numpy(planes[1]))
    if edges:
        tensors.append(torch.from_numpy(planes[2]).float() / 255)
    return tensors


def measure(folder: Path, names: list[str], *, edges: bool) -> Row:
    augmentation = Augmentation(CROP, 0.5, 1.5, True)
    places = [folder / kind for kind in ("images", "labels", "edges")]
    data = TrainingImages(
        names,
        *places[:2],
        places[2] if edges else None,
        augmentation,
        classes=21,
        seed=0,
        fill=FILL,
    )

    def ours() -> None:
        for index in range(4 * len(names)):
            data[index]

    def theirs() -> None:
        rng = np.random.default_rng(0)
        for index in range(4 * len(names)):
            with_pillow(folder, names[index % len(names)], edges, rng)

    times = [taken / (4 * len(names)) for taken in in_turns(ours, theirs)]
    jpegs = [np.frombuffer((places[0] / f"{n}.jpg").read_bytes(), np.uint8) for n in names]
    decoding = []
    for jpeg in jpegs * 4:
        started = time.perf_counter()
        cv2.imdecode(jpeg, cv2.IMREAD_COLOR_RGB)
        decoding.append(1000 * (time.perf_counter() - started))
    return Row(
        f"training item{' with edges' if edges else ''}, crop {CROP}",
        *times,
        "≥ 2",
        f"{median(decoding):.2f} ms: the JPEG",
        "bilinear between four pixels, as published; not averaged where it shrinks, as Pillow does",
    )


def warps() -> Row:
    """What is done to the decoded planes alone."""
    image = photographs()[0]
    pillow = Image.fromarray(image)
    matrix = np.array([[1 / 0.7, 0, 0], [0, 1 / 0.7, 0]])

    def ours() -> None:
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        cv2.warpAffine(image, matrix, (321, 262), flags=flags, borderMode=cv2.BORDER_REPLICATE)

    def theirs() -> None:
        np.array(pillow.resize((321, 262), Image.Resampling.BILINEAR, (0, 0, 321 / 0.7, 262 / 0.7)))

    times = in_turns(ours, theirs, rounds=30)
    return Row("of which the image's warp, at 0.7", *times, "≥ 2", "", "as above")


def rows() -> list[Row]:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for kind in ("images", "labels", "edges"):
            (folder / kind).mkdir()
        names = []
        for number, image in enumerate(photographs()):
            names.append(f"p{number}")
            Image.fromarray(image).save(folder / f"images/p{number}.jpg", quality=92)
            labels = regions(number)
            labels[np.random.default_rng(number).random(labels.shape) > 0.03] = 255
            write_mask(folder / f"labels/p{number}.png", labels)
            # As smooth as HED's maps: some 80 kB a PNG.
            grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (0, 0), 3)
            slopes = np.hypot(*np.gradient(grey.astype(np.float32)))
            edges = np.clip(12 * slopes, 0, 255).astype(np.uint8)
            Image.fromarray(edges).save(folder / f"edges/p{number}.png")
        return [measure(folder, names, edges=e) for e in (False, True)] + [warps()]


if __name__ == "__main__":
    show(rows())
