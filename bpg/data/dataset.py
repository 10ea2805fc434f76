"""Training images with their labels and edge maps, augmented."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from bpg.constants import IGNORE
from bpg.data.masks import image_path, read_grey, read_image, read_mask
from bpg.data.options import Augmentation
from bpg.errors import BPGError
from bpg.opencv import cv2

_LONGEST = 32_766  # the longest side that OpenCV's warp takes


class TrainingImages(Dataset):
    """Training images with their labels and edge maps, randomly scaled, cropped and flipped.

    An item is a tuple of four tensors, where c is the side of the crop: image uint8 (c, c, 3) RGB,
    labels uint8 (c, c), edges uint8 (c, c) with 255 = a certain edge, and valid bool (c, c). They
    are bytes because that is what travels from the loading processes to the device. Outside the
    image, the image is `fill`, the labels are 255, the edges 0, and `valid` is False.

    The augmentation of an item depends on (seed, epoch, item) alone, so the number of loading
    processes changes nothing. Reading an item raises BPGError, which names the file, if a file is
    missing or broken, holds an unknown label, differs in size from its image, or is too large for
    OpenCV.

    Args:
        ids: Names of the images.
        images: Folder of ID.jpg or ID.png.
        labels: Folder of label maps, ID.png, with labels 0..classes-1 and 255 = ignore.
        edges: Folder of edge maps, ID.png; None gives edge maps of zeros.
        augmentation: Scale, crop and flip.
        classes: Number of classes, background included.
        seed: Seed of the augmentation.
        fill: RGB in 0..255 for what lies outside the image, usually the mean colour.
        cache: Whether to keep the decoded images in memory.
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
        self.cache: dict[int, tuple[np.ndarray, ...]] | None = {} if cache else None

    def __len__(self) -> int:
        return len(self.ids)

    def _read(self, index: int) -> tuple[np.ndarray, ...]:
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
        if max(image.shape) > _LONGEST:
            raise BPGError(
                f"{path}: {image.shape[1]}x{image.shape[0]} pixels; more than {_LONGEST} on a side "
                "cannot be augmented; cut it into parts"
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
        maps = tuple(planes.values())
        if self.cache is not None:
            self.cache[index] = maps
        return maps

    def __getitem__(self, key: int) -> tuple[torch.Tensor, ...]:
        # The key carries the epoch, because loading processes hold copies of this object.
        epoch, index = divmod(key, len(self.ids))
        rng = np.random.default_rng([self.seed, epoch, index])
        maps = self._read(index)
        crop = self.augmentation.crop
        scale = rng.uniform(self.augmentation.low, self.augmentation.high)
        flip = self.augmentation.flip and rng.random() < 0.5
        window = _window(rng, maps[0].shape, scale, crop)
        fills: tuple[int | tuple[int, int, int], ...] = (self.fill, IGNORE, 0)
        planes = [
            _warp(one, window, crop, fill, flip=flip, nearest=number == 1)
            for number, (one, fill) in enumerate(zip(maps, fills, strict=False))
        ]
        edges = planes[2] if len(planes) > 2 else np.zeros((crop, crop), np.uint8)
        valid = np.zeros((crop, crop), bool)
        rows, columns = (slice(side.place, side.place + side.length) for side in window)
        valid[rows, columns] = True
        if flip:
            valid = valid[:, ::-1].copy()
        return tuple(map(torch.from_numpy, (planes[0], planes[1], edges, valid)))


class _Side(NamedTuple):
    """What to cut out along one axis, in pixels of the scaled image, and its place in the crop.

    Pixel i of the `length` pixels is sampled at (`first` + i + 1/2) · `step` - 1/2 of the image.
    """

    first: int
    length: int
    place: int
    step: float


def _window(
    rng: np.random.Generator, shape: tuple[int, ...], scale: float, crop: int
) -> tuple[_Side, _Side]:
    """Choose what to cut out of an image (height, width, ...): rows and columns."""
    sides = []
    # The width is drawn first.
    for extent in (shape[1], shape[0]):
        scaled = max(1, round(extent * scale))
        room = scaled - crop
        # Larger than the crop: a random window. Smaller: a random place inside the crop.
        offset = int(rng.integers(0, abs(room) + 1))
        first, place = (offset, 0) if room > 0 else (0, offset)
        sides.append(_Side(first, min(scaled, crop), place, extent / scaled))
    return sides[1], sides[0]


def _warp(
    plane: np.ndarray,
    window: tuple[_Side, _Side],
    crop: int,
    fill: int | tuple[int, int, int],
    *,
    flip: bool,
    nearest: bool,
) -> np.ndarray:
    """Resample the window of `plane` into its place in a crop filled with `fill`.

    Bilinear interpolation between the four nearest pixels, as in the published augmentation: at
    half the size, these are all the pixels there are.
    """
    rows, columns = window
    across, down = columns.step, rows.step
    left = (columns.first + 0.5) * across - 0.5
    top = (rows.first + 0.5) * down - 0.5
    before, after = columns.place, crop - columns.place - columns.length
    if flip:
        left += (columns.length - 1) * across
        across = -across
        before, after = after, before
    warped = cv2.warpAffine(
        plane,
        np.array([[across, 0, left], [0, down, top]]),
        (columns.length, rows.length),
        flags=(cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if warped.shape[:2] == (crop, crop):
        return warped
    below = crop - rows.place - rows.length
    border = cv2.BORDER_CONSTANT
    return cv2.copyMakeBorder(warped, rows.place, below, before, after, border, value=fill)
