"""A user's folder: photographs, strokes from any annotation tool, and masks where there are any."""

import hashlib
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from tqdm import tqdm

from bpg.constants import IGNORE
from bpg.data.findings import Finding, counted, listed
from bpg.data.formats.annotations import ImageStrokes, check_inside, parse_json, read_bytes
from bpg.data.formats.label_maps import strokes_of_class, strokes_of_map
from bpg.data.formats.label_studio import TOOL as LABEL_STUDIO
from bpg.data.formats.label_studio import PngRegion, png_key, png_names
from bpg.data.formats.read import read_annotations
from bpg.data.frames import SIDEWAYS, resized, shrink, shrunk_size, turned
from bpg.data.matching import Images, normalised
from bpg.data.options import FolderOptions
from bpg.data.photographs import SUFFIXES, Photograph, decode_photograph, read_photograph
from bpg.data.strokes import Pixels, Stroke, Strokes, covered, paint
from bpg.errors import BPGError

THUMBNAIL = 240
"""Longer side of the small copies, in pixels."""

BACKGROUND = "background"
_CALLED_BACKGROUND = {"background", "_background_", "__background__", "bg"}
_NAME_LIMIT = 240
"""Bytes of a file's name, with room for a suffix: file systems have 255."""
_SAME = 0.8
"""Two strokes of a class from two files are one if this share of their pixels is common to both:
tools round differently."""
_SEPARATORS = ("__", "_", "-", ".", " ")


@dataclass(frozen=True)
class Photo:
    """An image of the folder.

    Attributes:
        name: Its path in the folder of images, with forward slashes.
        id: The same as a file name, from which the name can be got back.
        source: The file; or its content, where an annotation file contains it.
        width: In pixels, upright.
        height: In pixels, upright.
        orientation: EXIF's, which has been applied; 1 if it is stored upright.
        thumbnail: A small copy, uint8 (h, w, 3), RGB.
        digest: Of the file's bytes.
    """

    name: str
    id: str
    source: Path | bytes = field(repr=False)
    width: int
    height: int
    orientation: int
    thumbnail: NDArray[np.uint8] = field(repr=False)
    digest: bytes = field(repr=False)

    def read(self) -> NDArray[np.uint8]:
        """Decode the image: uint8 (H, W, 3), RGB, upright."""
        return _decode(self.source, self.name).pixels


@dataclass(frozen=True)
class Folder:
    """What a folder holds, matched and checked.

    Attributes:
        root: The folder.
        line_width: Of lines, in pixels of the shrunk image.
        longest_side: Images are shrunk so that the longer side has at most so many pixels.
        classes: Names by label, background first.
        unused: Names that annotations declare and no stroke has.
        photos: All images by name, sorted.
        strokes: By name, the strokes on the shrunk image, in drawing order.
        masks: By name, the file of the full mask.
        held_out: Names that val.txt lists.
        findings: What is wrong or suspicious.
    """

    root: Path
    options: FolderOptions
    line_width: int
    longest_side: int | None
    classes: tuple[str, ...]
    unused: tuple[str, ...]
    photos: Mapping[str, Photo]
    strokes: Mapping[str, tuple[Stroke, ...]]
    masks: Mapping[str, Path]
    held_out: frozenset[str]
    findings: tuple[Finding, ...]

    def size(self, name: str) -> tuple[int, int]:
        """Return (width, height) of the shrunk image."""
        photo = self.photos[name]
        return shrunk_size(photo.width, photo.height, self.longest_side)

    def pixels(self, name: str) -> list[Pixels]:
        """Return the pixels that each stroke of an image covers on the shrunk image."""
        width, height = self.size(name)
        return [
            covered(stroke.shape, width, height, self.line_width) for stroke in self.strokes[name]
        ]

    def label_map(self, name: str) -> NDArray[np.uint8]:
        """Draw an image's strokes: uint8 (H, W), 255 where nothing is drawn."""
        width, height = self.size(name)
        drawn = np.full((height, width), IGNORE, np.uint8)
        for stroke, pixels in zip(self.strokes[name], self.pixels(name), strict=True):
            label = IGNORE if stroke.tag is None else self.classes.index(stroke.tag)
            paint(drawn, pixels, label)
        return drawn

    @cached_property
    def drawn_on(self) -> list[str]:
        """Names of the images with strokes."""
        return [name for name in self.photos if self.strokes.get(name)]


def image_id(name: str) -> str:
    """Return an image's path as a file name: what cannot stand there is percent-encoded.

    `urllib.parse.unquote` gives the path back. Letters stay as they are, accents too.
    """
    return "".join(
        character
        if character.isprintable() and not character.isspace() and character not in "%/\\\0"
        else "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogateescape"))
        for character in name
    )


def read_folder(
    root: Path,
    options: FolderOptions,
    *,
    classes: Sequence[str] = (),
    line_width: int = 3,
    longest_side: int | None = None,
) -> Folder:
    """Read everything in a folder: every image is decoded, every stroke drawn.

    Args:
        root: The folder.
        options: Which folder is what, and what to do in cases of doubt.
        classes: Class names, background first; empty: from `classes.txt` in the folder, or else
            from the annotations.
        line_width: Of lines, in pixels of the shrunk image.
        longest_side: Images are shrunk so that the longer side has at most so many pixels.

    Returns:
        The folder; what is wrong with it is among its findings.

    Raises:
        BPGError: There is no such folder, or no image in it.
    """
    return _Reader(root, options, classes, line_width, longest_side).read()


class _Reader:
    def __init__(
        self,
        root: Path,
        options: FolderOptions,
        classes: Sequence[str],
        line_width: int,
        longest_side: int | None,
    ):
        if not root.is_dir():
            raise BPGError(f"{root}: no such folder; give the folder of your images")
        self.root, self.line_width, self.longest_side = root, line_width, longest_side
        self.findings: list[Finding] = []
        self.options = self._layout(options)
        self.classes = tuple(classes) or self._listed_classes()
        self.photos: dict[str, Photo] = {}
        # By image: (strokes in the frame of the full image, the files that they come from).
        self.found: dict[str, list[tuple[Stroke, str]]] = defaultdict(list)
        self.declared: dict[str, None] = {}
        self.left_out: Counter[str] = Counter()
        self.index_maps: list[tuple[str, Path, list[tuple[int, Pixels]]]] = []
        self.exported: dict[str, PngRegion] = {}  # Label Studio's PNGs
        self.unjoined = 0

    def say(self, level: str, text: str, images: Iterable[str] = ()) -> None:
        self.findings.append(Finding(level, text, tuple(images)))  # type: ignore[arg-type]

    def read(self) -> Folder:
        self._read_photos()
        self._read_annotations()
        self._name_index_maps()
        classes, unused = self._resolve_classes()
        self._drop_unknown(classes)
        strokes = {name: self._finish(name) for name in sorted(self.found)}
        masks = self._find_masks()
        held_out = self._read_val()
        return Folder(
            root=self.root,
            options=self.options,
            line_width=self.line_width,
            longest_side=self.longest_side,
            classes=classes,
            unused=unused,
            photos=dict(sorted(self.photos.items())),
            strokes={name: found for name, found in strokes.items() if found},
            masks=masks,
            held_out=held_out,
            findings=tuple(self.findings),
        )

    # Which folder is what

    def _layout(self, options: FolderOptions) -> FolderOptions:
        usual = FolderOptions()
        if not (self.root / options.images).is_dir():
            if options.images != usual.images:
                raise BPGError(f"{self.root / options.images}: no such folder of images")
            options = replace(options, images=".")
        if not (self.root / options.strokes).is_dir():
            if options.strokes != usual.strokes:
                raise BPGError(f"{self.root / options.strokes}: no such folder of strokes")
            options = replace(options, strokes=options.images)
        if options.masks != usual.masks and not (self.root / options.masks).is_dir():
            raise BPGError(f"{self.root / options.masks}: no such folder of masks")
        has_masks = (self.root / options.masks).is_dir()
        if has_masks and self._same(options.masks, options.images):
            raise BPGError(
                f"{self.root}: images and masks share the folder {options.images}; move the masks "
                "into one of their own and name it in source.masks"
            )
        if has_masks and self._same(options.masks, options.strokes):
            raise BPGError(
                f"{self.root}: strokes and masks share the folder {options.strokes}; move the "
                "masks into one of their own and name it in source.masks"
            )
        self.say(
            "note",
            f"images from {self._named(options.images)}, strokes from "
            f"{self._named(options.strokes)}, "
            + (f"masks from {self._named(options.masks)}" if has_masks else "no masks"),
        )
        return options

    def _same(self, one: str, other: str) -> bool:
        return (self.root / one).resolve() == (self.root / other).resolve()

    def _named(self, folder: str) -> str:
        return "the folder itself" if folder == "." else f"{folder}/"

    def _files(self, folder: str) -> Iterator[tuple[str, Path]]:
        """Yield the files below a folder, (relative path, path), without hidden ones."""
        top = self.root / folder
        others = {
            (self.root / one).resolve()
            for one in (self.options.images, self.options.strokes, self.options.masks)
        } - {top.resolve()}
        for parent, folders, files in os.walk(top):
            folders[:] = sorted(
                one
                for one in folders
                if not one.startswith((".", "__MACOSX"))
                and Path(parent, one).resolve() not in others
            )
            for file in sorted(files):
                if not file.startswith(".") and file.casefold() not in ("thumbs.db", "desktop.ini"):
                    path = Path(parent, file)
                    yield path.relative_to(top).as_posix(), path

    # Images

    def _read_photos(self) -> None:
        found, strange = [], Counter[str]()
        for name, path in self._files(self.options.images):
            if path.suffix.casefold() in SUFFIXES:
                found.append((name, path))
            elif path.suffix.casefold() in _UNREAD:
                strange[path.suffix.casefold()] += 1
        for suffix, number in sorted(strange.items()):
            self.say(
                "warning",
                f"{counted(number, 'file')} {suffix} not read; save as JPEG, PNG, TIFF or WebP",
            )
        if not found and not any(True for _ in self._files(self.options.strokes)):
            raise BPGError(
                f"{self.root / self.options.images}: no JPEG, PNG, TIFF or WebP in it; put your "
                "images into FOLDER/images"
            )
        # Threads: decoding releases the GIL.
        jobs = (delayed(_photo_or_error)(name, path) for name, path in found)
        results = Parallel(n_jobs=-1, prefer="threads", return_as="generator")(jobs)
        for one in tqdm(results, "images", len(found), unit="image", disable=None):
            if isinstance(one, Photo):
                self.photos[one.name] = one
            else:
                self.say("error", one)
        turned_ones = [p.name for p in self.photos.values() if p.orientation != 1]
        if turned_ones:
            self.say(
                "note",
                f"{counted(len(turned_ones), 'image')} turned upright by EXIF orientation: "
                f"{listed(turned_ones)}",
                turned_ones,
            )

    # Annotations

    def _read_annotations(self) -> None:
        images = Images(self.photos)
        together = self._same(self.options.images, self.options.strokes)
        unread: list[str] = []
        files = list(self._files(self.options.strokes))
        if together:  # PNGs are images there
            files = [(name, path) for name, path in files if name not in self.photos]
        # PNGs last: the JSON of their export says what Label Studio's are about.
        for name, path in sorted(files, key=lambda file: file[1].suffix.casefold() == ".png"):
            try:
                if path.suffix.casefold() == ".png":
                    self._read_png(name, path, images)
                else:
                    self._read_file(name, path, images, unread)
            except BPGError as error:
                self.say("error", str(error))
        if self.unjoined:
            self.say(
                "warning",
                f"{counted(self.unjoined, 'PNG')} of Label Studio's export not used: their names "
                "do not say of which image; put the JSON export of the project beside them",
            )
        if unread:
            self.say("note", f"no annotations, not read: {listed(unread)}")
        if self.left_out:
            kinds = ", ".join(f"{kind} {n:,}" for kind, n in sorted(self.left_out.items()))
            self.say("warning", f"left out, because they are no strokes: {kinds}")
        failed = any(finding.level == "error" for finding in self.findings)
        if not (failed or self.found or self.index_maps):
            self.say(
                "error",
                f"{self.root / self.options.strokes}: no strokes; draw some with labelme, CVAT, "
                "Label Studio or a paint program",
            )

    def _read_file(self, name: str, path: Path, images: Images, unread: list[str]) -> None:
        annotations = read_annotations(path)
        if annotations is None:
            unread.append(name)
            return
        if annotations.tool == LABEL_STUDIO:
            self.exported |= png_names(parse_json(read_bytes(path), str(path)), str(path))
        self.declared |= dict.fromkeys(annotations.classes)
        self.left_out.update(annotations.left_out)
        folder = name.rpartition("/")[0]
        lost = []
        for image in annotations.images:
            beside = [f"{folder}/{one}" for one in image.names] if folder else []
            meant = images.find([*beside, *image.names])
            if not meant and image.embedded:
                meant = self._take_embedded(name, image)
            if len(meant) > 1:
                self.say(
                    "error",
                    f"{image.place}: {image.names[0]!r} may be {listed(meant)}; give the images "
                    "different names",
                    meant,
                )
            elif meant:
                self._add(meant[0], image, path)
            elif image.strokes:
                lost.append(image.names[0] if image.names else "an image without a name")
        if lost:
            self.say("warning", f"{path}: no image is called {listed(lost)}: strokes not used")

    def _take_embedded(self, name: str, image: ImageStrokes) -> list[str]:
        assert image.embedded is not None
        photo = _photo(name, image.embedded)
        self.photos[name] = photo
        self.say("note", f"{image.place}: the image inside the file is used", [name])
        return [name]

    def _add(self, name: str, image: ImageStrokes, path: Path) -> None:
        photo = self.photos[name]
        strokes = image.strokes
        size = (photo.width, photo.height)
        if image.size is not None and image.size != size:
            if photo.orientation not in SIDEWAYS or image.size != size[::-1]:
                raise BPGError(
                    f"{image.place}: drawn on {image.size[0]}x{image.size[1]} pixels, but {name} "
                    f"has {size[0]}x{size[1]}"
                )
            strokes = tuple(
                replace(stroke, shape=turned(stroke.shape, photo.orientation, *size))
                for stroke in strokes
            )
            self.say(
                "note", f"{image.place}: drawn on the image as stored; turned as EXIF says", [name]
            )
        check_inside(strokes, *size, image.place)
        file = path.relative_to(self.root).as_posix()
        self.found[name] += [(stroke, file) for stroke in strokes]

    def _read_png(self, name: str, path: Path, images: Images) -> None:
        place = str(path)
        meant, tag = self._meaning(name, images)
        if len(meant) != 1 and png_key(name) is not None:
            # The names of this export hold an annotator's address: it is not repeated.
            self.unjoined += 1
        elif len(meant) != 1:
            said = f"may be of {listed(meant)}" if meant else "matches no image"
            self.say("warning", f"{place}: {said}: not used; name it after the image", meant)
        elif tag is None:
            size, found = strokes_of_map(read_bytes(path), place, self.options.unlabelled)
            self._add(meant[0], ImageStrokes((name,), size, (), place), path)
            self.index_maps.append((meant[0], path, found))
        else:
            size, strokes = strokes_of_class(read_bytes(path), place, tag)
            self._add(meant[0], ImageStrokes((name,), size, tuple(strokes), place), path)

    def _meaning(self, name: str, images: Images) -> tuple[list[str], str | None]:
        """Return the images that a PNG may be of, and its class if it is of one class alone."""
        key = png_key(name)
        if key is not None and key in self.exported:
            region = self.exported[key]
            return (images.find(region.names), region.label) if region.label else ([], None)
        bare = {_bare(one): one for one in self.photos}
        bare |= {normalised(one): one for one in self.photos}
        stem = _bare(name)
        if stem in bare:
            return [bare[stem]], None
        folder, _, last = stem.rpartition("/")
        if folder in bare:  # IMAGE/CLASS.png
            return [bare[folder]], last
        top, _, rest = stem.partition("/")
        if rest in bare:  # CLASS/IMAGE.png
            return [bare[rest]], top
        for length in range(len(stem) - 1, 0, -1):  # IMAGE_CLASS.png
            separator = next((s for s in _SEPARATORS if stem.startswith(s, length)), None)
            if separator and stem[:length] in bare and stem[length + len(separator) :]:
                return [bare[stem[:length]]], stem[length + len(separator) :]
        return images.find([name]), None

    # Classes

    def _listed_classes(self) -> tuple[str, ...]:
        path = self.root / "classes.txt"
        if not path.is_file():
            return ()
        try:
            lines = read_bytes(path).decode("utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise BPGError(f"{path}: not UTF-8 text; write one class name a line") from error
        names = tuple(unicodedata.normalize("NFC", line.strip()) for line in lines if line.strip())
        if len(set(names)) < len(names) or len(names) < 2:
            raise BPGError(f"{path}: must have two different class names or more, background first")
        return names

    def _name_index_maps(self) -> None:
        """Turn indices into class names."""
        highest = 0
        for name, path, found in self.index_maps:
            values = sorted({index for index, _ in found})
            highest = max([highest, *values])
            if not self.classes:
                continue
            if values and values[-1] >= len(self.classes):
                value = values[-1] if self.options.unlabelled else values[-1] + 1
                self.say(
                    "error",
                    f"{path}: has the value {value}, but the classes are "
                    f"{', '.join(self.classes)}, from {0 if self.options.unlabelled else 1} on",
                    [name],
                )
                continue
            file = path.relative_to(self.root).as_posix()
            self.found[name] += [
                (Stroke(self.classes[index], pixels), file) for index, pixels in found
            ]
        if self.index_maps and not self.classes:
            self.say(
                "error",
                f"{self.index_maps[0][1]}: the values 0 to {highest} of PNG strokes have no names; "
                "list them in classes (of params/dataset/folder.yaml), or in classes.txt in your "
                "folder, one a line",
            )

    def _resolve_classes(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the classes, background first, and the declared ones that no stroke has."""
        used = Counter(s.tag for found in self.found.values() for s, _ in found if s.tag)
        if self.classes:
            unused = tuple(name for name in self.classes if not used[name])
            if unused and used:
                self.say("warning", f"classes without a stroke: {', '.join(unused)}")
            return self.classes, unused
        canonical: dict[str, None] = {}
        for name in (*self.declared, *sorted(used)):
            canonical.setdefault(_canonical(name))
        present = {_canonical(name) for name in used}
        unused = tuple(name for name in canonical if name not in present)
        classes = [name for name in canonical if name in present and name != BACKGROUND]
        if unused:
            self.say("note", f"declared, but without a stroke, so not trained: {', '.join(unused)}")
        if used and BACKGROUND not in present:
            self.say(
                "error",
                f"no stroke of a class called {BACKGROUND}, so every pixel would become one of "
                f"{', '.join(classes[:5])}; draw what is none of them, or list the class of the "
                "ground first in classes",
            )
        if used and BACKGROUND in present and not classes:
            self.say("error", "all strokes are background; draw your objects, too")
        self.found = defaultdict(
            list,
            {
                name: [(replace(s, tag=s.tag and _canonical(s.tag)), at) for s, at in found]
                for name, found in self.found.items()
            },
        )
        return (BACKGROUND, *classes), unused

    def _drop_unknown(self, classes: Sequence[str]) -> None:
        unknown: Counter[str] = Counter()
        images: set[str] = set()
        for name, found in self.found.items():
            kept = []
            for stroke, place in found:
                tag = stroke.tag
                if tag is not None and tag not in classes and _canonical(tag) in classes:
                    tag = _canonical(tag)
                if tag is None or tag in classes:
                    kept.append((replace(stroke, tag=tag), place))
                else:
                    unknown[tag] += 1
                    images.add(name)
            found[:] = kept
        if not unknown:
            return
        which = ", ".join(f"{tag[:40]} {n:,}" for tag, n in unknown.most_common(50))
        if self.options.unknown_tags == "refuse":
            text = f"strokes of unknown classes: {which}; add them to classes, or set "
            self.say("error", text + "source.unknown_tags: unlabelled", sorted(images))
        else:
            self.say("warning", f"strokes of unknown classes, left unlabelled: {which}")

    # Strokes

    def _finish(self, name: str) -> tuple[Stroke, ...]:
        """Shrink an image's strokes with it, and count what two files have in common once."""
        photo = self.photos[name]
        before = (photo.width, photo.height)
        after = shrunk_size(*before, self.longest_side)
        kept: list[tuple[Stroke, str, Pixels]] = []
        twice, empty = 0, 0
        for stroke, place in self.found[name]:
            shape = resized(stroke.shape, before, after)
            pixels = covered(shape, *after, self.line_width)
            if not pixels.mask.any():
                empty += 1
            elif any(
                place != other and stroke.tag == one.tag and _overlap(pixels, there) >= _SAME
                for one, other, there in kept
            ):
                twice += 1
            else:
                kept.append((replace(stroke, shape=shape), place, pixels))
        if twice:
            places = sorted({place for _, place in self.found[name]})
            self.say(
                "note",
                f"{name}: {counted(twice, 'stroke')} in several files ({listed(places)}), "
                "counted once",
                [name],
            )
        if empty:
            self.say("warning", f"{name}: {counted(empty, 'stroke')} without a pixel", [name])
        return tuple(stroke for stroke, _, _ in kept)

    # Masks and lists

    def _find_masks(self) -> dict[str, Path]:
        if not (self.root / self.options.masks).is_dir():
            return {}
        images = Images(self.photos)
        found: dict[str, Path] = {}
        lost = []
        for name, path in self._files(self.options.masks):
            if path.suffix.casefold() != ".png":
                lost.append(name)
                continue
            meant = images.find([name])
            if len(meant) != 1:
                lost.append(name)
            elif meant[0] in found:
                self.say("error", f"{path}: {meant[0]} has another mask, too", meant)
            else:
                found[meant[0]] = path
        if lost:
            self.say("warning", f"masks that are no PNG or match no image: {listed(lost)}")
        return dict(sorted(found.items()))

    def _read_val(self) -> frozenset[str]:
        path = self.root / "val.txt"
        if not path.is_file():
            return frozenset()
        images = Images(self.photos)
        try:
            lines = read_bytes(path).decode("utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise BPGError(f"{path}: not UTF-8 text; write one image name a line") from error
        chosen = set()
        for line in filter(None, map(str.strip, lines)):
            meant = images.find([line])
            if len(meant) != 1:
                self.say("error", f"{path}: {line[:80]!r} is no image of the folder, or several")
            chosen.update(meant[:1])
        return frozenset(chosen)


_UNREAD = (".heic", ".heif", ".bmp", ".gif", ".avif", ".jp2", ".dng", ".cr2", ".nef", ".arw")
"""Suffixes of images that are not read."""


def _bare(name: str) -> str:
    """Return a normalised path without its suffix."""
    folder, slash, last = normalised(name).rpartition("/")
    return folder + slash + (last.rpartition(".")[0] or last)


def _canonical(tag: str) -> str:
    tag = unicodedata.normalize("NFC", tag)
    return BACKGROUND if tag.casefold() in _CALLED_BACKGROUND else tag


def _overlap(one: Pixels, other: Pixels) -> float:
    """Return which share of the pixels of either is common to both."""
    left, top = min(one.left, other.left), min(one.top, other.top)
    right = max(p.left + p.mask.shape[1] for p in (one, other))
    bottom = max(p.top + p.mask.shape[0] for p in (one, other))
    both = np.zeros((bottom - top, right - left), np.uint8)
    for pixels in (one, other):
        height, width = pixels.mask.shape
        box = both[
            pixels.top - top : pixels.top - top + height,
            pixels.left - left : pixels.left - left + width,
        ]
        box += pixels.mask
    return float((both == 2).sum() / max(1, (both > 0).sum()))


def _photo_or_error(name: str, path: Path) -> Photo | str:
    try:
        return _photo(name, path)
    except BPGError as error:
        return str(error)


def _photo(name: str, source: Path | bytes) -> Photo:
    identity = image_id(name)
    if len(identity.encode("utf-8", "surrogateescape")) > _NAME_LIMIT:
        raise BPGError(f"{name[:60]}…: a name of more than {_NAME_LIMIT} bytes; shorten it")
    decoded = _decode(source, name)
    height, width = decoded.pixels.shape[:2]
    small = shrink(decoded.pixels, shrunk_size(width, height, THUMBNAIL))
    data = source if isinstance(source, bytes) else source.read_bytes()
    digest = hashlib.sha256(data).digest()
    return Photo(name, identity, source, width, height, decoded.orientation, small, digest)


def _decode(source: Path | bytes, name: str) -> Photograph:
    if isinstance(source, bytes):
        return decode_photograph(source, name)
    return read_photograph(source)


def as_strokes(folder: Folder, name: str, keep: Sequence[int]) -> Strokes:
    """Return some of an image's strokes, with the size of the shrunk image.

    Args:
        folder: What `read_folder` returns.
        name: The image.
        keep: Places of the strokes to keep, in drawing order.
    """
    return Strokes(*folder.size(name), tuple(folder.strokes[name][place] for place in keep))
