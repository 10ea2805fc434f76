"""Training pictures with their labels and edge maps, augmented."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from bpg.data.masks import IGNORE, image_path, read_grey, read_image, read_mask
from bpg.errors import BPGError


@dataclass(frozen=True)
class Augmentation:
    """Random scale in [low, high], a square crop of `crop` pixels, a flip in every other case."""

    crop: int
    low: float
    high: float
    flip: bool


class TrainingPictures(Dataset):
    """Items: image uint8 (3, c, c), labels uint8 (c, c), edges float (c, c) in 0..1, valid bool.

    c is the crop. Outside the picture the image is the mean colour, the label 255, and `valid`
    False. Without an `edges` folder the edge map is zero. What is drawn for an item follows from
    (seed, epoch, item) alone, so that the number of loading processes changes nothing.
    `cache` keeps the decoded pictures in memory.
    """

    def __init__(
        self,
        ids: list[str],
        images: Path,
        labels: Path,
        edges: Path | None,
        augmentation: Augmentation,
        *,
        classes: int,
        seed: int,
        fill: tuple[int, int, int],
        cache: bool = False,
    ):
        self.ids = ids
        self.folders = images, labels, edges
        self.augmentation = augmentation
        self.classes = classes
        self.seed = seed
        self.fill = fill
        self.cache: dict[int, tuple[Image.Image, ...]] | None = {} if cache else None

    def __len__(self) -> int:
        return len(self.ids)

    def _read(self, index: int) -> tuple[Image.Image, ...]:
        if self.cache is not None and index in self.cache:
            return self.cache[index]
        images, labels, edges = self.folders
        name = self.ids[index]
        path = image_path(images, name)
        image = read_image(path)
        label_path = labels / f"{name}.png"
        label = read_mask(label_path)
        strange = label[(label >= self.classes) & (label != IGNORE)]
        if len(strange):
            raise BPGError(
                f"{label_path}: label {strange[0]}; only 0..{self.classes - 1} and 255 are known"
            )
        planes = {path: image, label_path: label}
        if edges is not None:
            planes[edges / f"{name}.png"] = read_grey(edges / f"{name}.png")
        for other, plane in planes.items():
            if plane.shape[:2] != image.shape[:2]:
                raise BPGError(
                    f"{other}: {plane.shape[1]}x{plane.shape[0]} pixels, its image {path.name} "
                    f"{image.shape[1]}x{image.shape[0]}; they must agree"
                )
        pictures = tuple(Image.fromarray(plane) for plane in planes.values())
        if self.cache is not None:
            self.cache[index] = pictures
        return pictures

    def __getitem__(self, key: int) -> tuple[torch.Tensor, ...]:
        # The key carries the epoch, because loading processes hold copies of this object.
        epoch, index = divmod(key, len(self.ids))
        rng = np.random.default_rng([self.seed, epoch, index])
        pictures = self._read(index)
        crop = self.augmentation.crop
        scale = rng.uniform(self.augmentation.low, self.augmentation.high)
        flip = self.augmentation.flip and rng.random() < 0.5
        box, place = _window(rng, pictures[0].size, scale, crop)
        fills = (self.fill, IGNORE, 0)
        planes = [
            _cut(picture, box, place, crop, fill, nearest=number == 1)
            for number, (picture, fill) in enumerate(zip(pictures, fills, strict=False))
        ]
        valid = np.zeros((crop, crop), bool)
        valid[place[1] : place[3], place[0] : place[2]] = True
        if flip:
            planes = [plane[:, ::-1].copy() for plane in planes]
            valid = valid[:, ::-1].copy()
        edges = planes[2] if len(planes) > 2 else np.zeros((crop, crop), np.uint8)
        return (
            torch.from_numpy(np.ascontiguousarray(planes[0].transpose(2, 0, 1))),
            torch.from_numpy(np.ascontiguousarray(planes[1])),
            torch.from_numpy(np.ascontiguousarray(edges)).float() / 255,
            torch.from_numpy(np.ascontiguousarray(valid)),
        )


def _window(
    rng: np.random.Generator, size: tuple[int, int], scale: float, crop: int
) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Choose what to cut from a (width, height) picture and where it lies in the crop.

    Returns the box in source pixels and the place (left, top, right, bottom) in the crop.
    """
    starts, ends, lefts, rights = [], [], [], []
    for extent in size:
        scaled = max(1, round(extent * scale))
        room = scaled - crop
        # Larger than the crop: a random window. Smaller: a random place inside the crop.
        offset = int(rng.integers(0, abs(room) + 1))
        first, place = (offset, 0) if room > 0 else (0, offset)
        length = min(scaled, crop)
        starts.append(first * extent / scaled)
        ends.append(min(extent, (first + length) * extent / scaled))
        lefts.append(place)
        rights.append(place + length)
    return (*starts, *ends), (*lefts, *rights)


def _cut(
    picture: Image.Image,
    box: tuple[float, ...],
    place: tuple[int, ...],
    crop: int,
    fill: int | tuple[int, int, int],
    *,
    nearest: bool,
) -> np.ndarray:
    """Resample the box of `picture` into its place in a crop filled with `fill`."""
    filter_ = Image.Resampling.NEAREST if nearest else Image.Resampling.BILINEAR
    target = Image.new(picture.mode, (crop, crop), fill)
    size = (place[2] - place[0], place[3] - place[1])
    target.paste(picture.resize(size, filter_, box), place[:2])
    return np.array(target)  # a copy: PyTorch wants to own what it gets
