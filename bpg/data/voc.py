"""PASCAL VOC 2012 with SBD's masks and ScribbleSup's strokes, from the official archives."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from bpg.constants import IGNORE
from bpg.data.formats.labelme import write_labelme
from bpg.data.frames import resized_strokes, shrunk_labels
from bpg.data.masks import (
    decode_image,
    decode_labels,
    image_size,
    is_rotated,
    write_image,
    write_mask,
)
from bpg.data.sbd import read_segmentation
from bpg.data.scribbles import check_size, decode_strokes
from bpg.download.archives import MEMBER_LIMIT, disk_full_named, read_members
from bpg.errors import BPGError
from bpg.resize import shrink, shrunk_size
from bpg.resumable import Work

# Matched at the end of a member's name, so that a leading "./" or folder does no harm.
_VOC_LIST = re.compile(r"(?:^|/)VOC2012/ImageSets/Segmentation/(train|val)\.txt$", re.ASCII)
_VOC_FILE = re.compile(
    r"(?:^|/)VOC2012/(?:JPEGImages/([\w-]+)\.jpg|SegmentationClass/([\w-]+)\.png)$", re.ASCII
)
_SBD_FILE = re.compile(r"(?:^|/)dataset/(?:(train|val)\.txt|cls/([\w-]+)\.mat)$", re.ASCII)
_SMALL = 16 * 2**20
"""Bytes of a list or of one of SBD's masks; the real ones have a few thousand."""
_MASKS_LIMIT = 2**30
"""Bytes of all masks of an archive, which are kept in memory; the real ones have 30 million."""
_SCRIBBLE = re.compile(r"(?:^|/)pascal_2012/([\w-]+)\.xml$", re.ASCII)


def train_aug_ids(
    voc_train: Iterable[str], voc_val: Iterable[str], sbd: Iterable[str]
) -> list[str]:
    """Return the training ids known as train_aug: (SBD + VOC train) - VOC val.

    Source: Hariharan et al., "Semantic Contours", ICCV 2011, combined as in DeepLab and its
    successors.

    Args:
        voc_train: VOC's ids for segmentation training.
        voc_val: VOC's ids for segmentation validation.
        sbd: All of SBD's ids, its own train and val together. Some of them are VOC val images,
            which must not be trained on.

    Returns:
        Sorted ids, 10,582 with the official archives.
    """
    return sorted((set(sbd) | set(voc_train)) - set(voc_val))


def prepare_voc(
    archives: Path,
    work: Work,
    *,
    classes: Sequence[str],
    voc: str,
    sbd: str,
    scribbles: str,
    longest_side: int | None = None,
) -> tuple[list[str], list[str]]:
    """Make the training and validation data out of three official archives.

    The work receives images/ID.jpg (VOC's bytes), masks/ID.png (palette PNG, labels 0..K and 255,
    where K + 1 = len(classes); VOC's mask where there is one, else SBD's), and strokes/ID.xml of
    the training ids. An image that is shrunk to `longest_side`, with its mask (nearest neighbour)
    and strokes, becomes images/ID.png and strokes/ID.json (labelme's). Files that are already done
    are not written again.

    Args:
        archives: Folder of the archives.
        work: Where the files go.
        classes: Class names, background first.
        voc: File name of VOC's archive.
        sbd: File name of SBD's archive.
        scribbles: File name of ScribbleSup's archive.
        longest_side: Images whose longer side has more pixels are shrunk to it; None: none is.

    Returns:
        The training ids (train_aug) and VOC's val ids, both sorted.

    Raises:
        BPGError: A list, image, mask or scribble is missing or broken, or a mask differs in size
            from its image or has a label above K; the message names the archive and the file.
    """
    voc_train, voc_val = _read_voc_lists(archives / voc)
    sbd_ids, sbd_masks = _read_sbd(archives / sbd)
    train, val_ids = train_aug_ids(voc_train, voc_val, sbd_ids), set(voc_val)
    val = sorted(val_ids)
    with disk_full_named(work.folder):
        unpacked = _unpack_voc(archives / voc, work, {*train, *val}, longest_side)
        sizes, voc_masks, turned = unpacked
        shrunk = {i: shrunk_size(size[::-1], longest_side) for i, size in sizes.items()}
        shrunk = {i: size for i, size in shrunk.items() if size != sizes[i][::-1]}
        _unpack_scribbles(archives / scribbles, work, set(train), sizes, shrunk)
        # Val is scored on VOC's own masks: SBD's must not step in for a missing one.
        sbd_masks = {i: data for i, data in sbd_masks.items() if i not in val_ids}
        left = [i for i in [*train, *val] if not work.done(f"masks/{i}.png")]
        found = _decode_masks(left, archives / voc, voc_masks, archives / sbd, sbd_masks)
        renumbered = 0
        for image_id, name, mask, by_colour in tqdm(found, "masks", len(left), disable=None):
            _check_mask(mask, sizes[image_id], len(classes), name, turned=image_id in turned)
            renumbered += by_colour
            file = f"masks/{image_id}.png"
            (path,) = work.begin(file)
            write_mask(path, shrunk_labels(mask, shrunk.get(image_id, mask.shape)))
            work.add(file)
    if renumbered:
        print(
            f"{archives / voc}: the palettes of {renumbered} masks are renumbered; their labels "
            "were taken from the colours"
        )
    if turned:
        print(
            f"{archives / voc}: {len(turned)} images have an EXIF orientation, which is not "
            f"applied ({min(turned)} is one); masks and strokes must fit the pixels as stored"
        )
    return train, val


def _keep(work: Work, file: str, data: bytes) -> None:
    if not work.done(file):
        (path,) = work.begin(file)
        path.write_bytes(data)
        work.add(file)


def _matching(
    archive: Path,
    pattern: re.Pattern[str],
    *,
    ids: set[str] | None = None,
    limit: int = MEMBER_LIMIT,
) -> Iterator[tuple[str, re.Match[str], bytes]]:
    """Yield (name, match, content) of files whose names match and, if given, hold one of `ids`."""

    def match(name: str) -> re.Match[str] | None:
        found = pattern.search(name)
        wanted = found is not None and (ids is None or not ids.isdisjoint(found.groups()))
        return found if wanted else None

    seen = set()
    for name, data in read_members(archive, lambda name: match(name) is not None, limit):
        if found := match(name):
            # Which of the two is meant depends on who unpacks them.
            if found[0].lstrip("/") in seen:
                raise BPGError(f"{archive}: member {name!r} is there twice; pack the archive again")
            seen.add(found[0].lstrip("/"))
            yield name, found, data


def _read_voc_lists(archive: Path) -> tuple[list[str], list[str]]:
    lists = {}
    for name, match, data in _matching(archive, _VOC_LIST, limit=_SMALL):
        lists[match[1]] = _ids(data, f"{archive}: {name}")
    for which in ("train", "val"):
        if which not in lists:
            raise BPGError(f"{archive}: VOC2012/ImageSets/Segmentation/{which}.txt is missing")
    return lists["train"], lists["val"]


def _read_sbd(archive: Path) -> tuple[set[str], dict[str, bytes]]:
    """Return SBD's ids, by its two lists (by its masks if there are no lists), and its .mat files.

    The lists follow the masks in the archive: to read it only once, we keep all masks, some 30 MB.
    """
    lists, masks, held = {}, {}, 0
    for name, match, data in _matching(archive, _SBD_FILE, limit=_SMALL):
        which, image_id = match.groups()
        if which:
            lists[which] = _ids(data, f"{archive}: {name}")
        else:
            masks[image_id] = data
            _limit_masks(archive, masks, held := held + len(data))
    if not masks:
        raise BPGError(f"{archive}: has no dataset/cls/*.mat; is it SBD's benchmark.tgz?")
    both = lists.keys() == {"train", "val"}
    return (set(lists["train"]) | set(lists["val"]) if both else set(masks)), masks


def _unpack_scribbles(
    archive: Path,
    work: Work,
    ids: set[str],
    sizes: Mapping[str, tuple[int, int]],
    shrunk: Mapping[str, tuple[int, int]],
) -> None:
    """Write the strokes of `ids`.

    `sizes` has the (width, height) of the images, `shrunk` the (height, width) of those that are
    shrunk.
    """
    found = set()
    for name, match, data in _matching(archive, _SCRIBBLE, ids=ids):
        image_id = match[1]
        found.add(image_id)
        if image_id not in shrunk:
            _keep(work, f"strokes/{image_id}.xml", data)
            continue
        file = f"strokes/{image_id}.json"
        if not work.done(file):
            height, width = shrunk[image_id]
            whole = decode_strokes(data, f"{archive}: {name}")
            check_size(whole, sizes[image_id], f"{archive}: {name}")
            strokes = resized_strokes(whole, width, height)
            (path,) = work.begin(file)
            write_labelme(path, strokes, f"{image_id}.png")
            work.add(file)
    _refuse_missing(archive, "pascal_2012/{}.xml", ids, found)


class _Unpacked(NamedTuple):
    """What VOC's archive holds: sizes (width, height), PNG masks, images with an orientation."""

    sizes: dict[str, tuple[int, int]]
    masks: dict[str, bytes]
    turned: set[str]


def _unpack_voc(archive: Path, work: Work, ids: set[str], longest_side: int | None) -> _Unpacked:
    """Write the images of `ids`, shrunk to `longest_side`."""
    sizes, masks, turned, held = {}, {}, set(), 0
    for name, match, data in _matching(archive, _VOC_FILE, ids=ids):
        image_id, mask_id = match.groups()
        if image_id:
            sizes[image_id] = image_size(data, f"{archive}: {name}")
            if is_rotated(data, f"{archive}: {name}"):
                turned.add(image_id)
            size = sizes[image_id][::-1]
            small = shrunk_size(size, longest_side)
            file = f"images/{image_id}." + ("jpg" if small == size else "png")
            if work.done(file):
                continue
            # Damage is found here, and not after all trainings.
            image = decode_image(data, f"{archive}: {name}")
            if small == size:
                _keep(work, file, data)
            else:
                (path,) = work.begin(file)
                write_image(path, shrink(image, small))
                work.add(file)
        else:
            masks[mask_id] = data
            _limit_masks(archive, masks, held := held + len(data))
    _refuse_missing(archive, "VOC2012/JPEGImages/{}.jpg", ids, sizes)
    return _Unpacked(sizes, masks, turned)


def _decode_masks(
    ids: Iterable[str],
    voc: Path,
    voc_masks: Mapping[str, bytes],
    sbd: Path,
    sbd_masks: Mapping[str, bytes],
) -> Iterator[tuple[str, str, np.ndarray, bool]]:
    """Yield (id, name for errors, mask, whether by its colours): VOC's mask, or else SBD's."""
    for image_id in ids:
        if image_id in voc_masks:
            name = f"{voc}: SegmentationClass/{image_id}.png"
            yield image_id, name, *decode_labels(voc_masks[image_id], name)
        elif image_id in sbd_masks:
            name = f"{sbd}: cls/{image_id}.mat"
            yield image_id, name, read_segmentation(sbd_masks[image_id], name), False
        else:
            raise BPGError(
                f"{voc}: SegmentationClass/{image_id}.png is missing, "
                f"and {sbd.name} has no mask in its place; fetch the archives again"
            )


def _ids(data: bytes, name: str) -> list[str]:
    # Windows editors write a byte order mark.
    ids = data.removeprefix(b"\xef\xbb\xbf").decode("ascii", errors="replace").split()
    for image_id in ids:
        if not re.fullmatch(r"[\w-]+", image_id, re.ASCII):
            raise BPGError(f"{name}: {image_id[:40]!r} is no image id")
    if not ids:
        raise BPGError(f"{name}: the list is empty")
    return ids


def _check_mask(
    mask: np.ndarray, size: tuple[int, int], labels: int, name: str, *, turned: bool
) -> None:
    height, width = mask.shape
    if (width, height) != size:
        why = " (and an EXIF orientation: save its pixels upright)" if turned else ""
        raise BPGError(
            f"{name}: the mask has {width}x{height} pixels, its image {size[0]}x{size[1]}{why}"
        )
    wrong = mask[(mask >= labels) & (mask != IGNORE)]
    if wrong.size:
        raise BPGError(f"{name}: label {wrong[0]} is none of 0..{labels - 1} and {IGNORE}")


def _limit_masks(archive: Path, masks: Mapping[str, bytes], held: int) -> None:
    if held > _MASKS_LIMIT:
        raise BPGError(
            f"{archive}: its first {len(masks)} masks have {held:,} bytes, more than the limit of "
            f"{_MASKS_LIMIT:,}"
        )


def _refuse_missing(
    archive: Path, pattern: str, ids: Collection[str], found: Collection[str]
) -> None:
    missing = sorted(set(ids) - set(found))
    if missing:
        raise BPGError(
            f"{archive}: {pattern.format(missing[0])} is missing "
            f"({len(missing)} of {len(ids)} are); fetch the archive again"
        )
