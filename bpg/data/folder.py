"""A user's folder: photographs, strokes from any annotation tool, and masks where there are any."""

import hashlib
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from tqdm import tqdm

from bpg.constants import IGNORE
from bpg.data.findings import Finding, counted, listed
from bpg.data.folder_pngs import PngNames, Reading, unclear
from bpg.data.formats.annotations import (
    Faults,
    ImageStrokes,
    check_inside,
    parse_json,
    reaches_beyond,
    read_bytes,
)
from bpg.data.formats.label_maps import may_be_strokes, strokes_of_class, strokes_of_map
from bpg.data.formats.label_studio import TOOL as LABEL_STUDIO
from bpg.data.formats.label_studio import PngRegion, png_key, png_names
from bpg.data.formats.read import read_annotations
from bpg.data.frames import resized, turned
from bpg.data.matching import Images, bare_name, normalised
from bpg.data.options import FolderOptions
from bpg.data.photographs import (
    SIDEWAYS,
    SUFFIXES,
    decode_photograph,
    read_photograph,
    read_photograph_file,
)
from bpg.data.strokes import Pixels, Stroke, Strokes, covered, paint
from bpg.errors import BPGError
from bpg.files import read_lines
from bpg.opencv import cv2
from bpg.resize import shrunk_size

SMALL = 16
"""Side of the small copies by which images are compared, in pixels."""

BACKGROUND = "background"
DRAWN = "drawn"
"""Below the folder of strokes, what `bpg draw` writes: labelme files."""

_CALLED_BACKGROUND = {"background", "_background_", "__background__", "bg"}
_NAME_LIMIT = 240
"""Bytes of a file's name, with room for a suffix: file systems have 255."""
_SAME = 0.8
"""Two strokes of a class are one if this share of their pixels is common to both: tools round
differently, and two annotators draw the same."""
_MOST_CLASSES = 254
_CLASS_LIST = "classes.txt"
_SCRIBBLED = "scribble.json"
_NO_ANNOTATIONS = (_CLASS_LIST, "val.txt", _SCRIBBLED)
"""Lists of ours, and what `bpg scribble` writes beside its strokes."""


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
        small: A small copy, uint8 (SMALL, SMALL, 3), RGB.
        digest: Of the file's bytes.
    """

    name: str
    id: str
    source: Path | bytes = field(repr=False)
    width: int
    height: int
    orientation: int
    small: NDArray[np.uint8] = field(repr=False)
    digest: bytes = field(repr=False)

    def read(self) -> NDArray[np.uint8]:
        """Decode the image: uint8 (H, W, 3), RGB, upright."""
        if isinstance(self.source, bytes):
            return decode_photograph(self.source, self.name).pixels
        return read_photograph(self.source).pixels


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
        return shrunk_size((photo.width, photo.height), self.longest_side)

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
        else "".join(f"%{byte:02X}" for byte in character.encode())
        for character in name
    )


def read_folder(
    root: Path,
    options: FolderOptions,
    *,
    classes: Sequence[str] = (),
    line_width: int = 3,
    longest_side: int | None = None,
    drawn: bool = True,
) -> Folder:
    """Read everything in a folder: every image is decoded, every stroke drawn.

    Args:
        root: The folder.
        options: Which folder is what, and what to do in cases of doubt.
        classes: Class names, background first; empty: from `classes.txt` in the folder, or else
            from the annotations.
        line_width: Of lines, in pixels of the shrunk image.
        longest_side: Images are shrunk so that the longer side has at most so many pixels.
        drawn: Whether to read what `bpg draw` has written, too.

    Returns:
        The folder; what is wrong with it is among its findings.

    Raises:
        BPGError: There is no such folder, or no image in it.
    """
    return _Reader(root, options, classes, line_width, longest_side, drawn).read()


class _Reader:
    def __init__(
        self,
        root: Path,
        options: FolderOptions,
        classes: Sequence[str],
        line_width: int,
        longest_side: int | None,
        drawn: bool,
    ):
        if not root.is_dir():
            raise BPGError(f"{root}: no such folder; give the folder of your images")
        self.root, self.line_width, self.longest_side = root, line_width, longest_side
        self.drawn = drawn
        self.findings: list[Finding] = []
        self.options = self._layout(options)
        self.classes = self._checked(classes, "classes") or self._listed_classes()
        self.photos: dict[str, Photo] = {}
        # By image: (strokes in the frame of the full image, the files that they come from).
        self.found: dict[str, list[tuple[Stroke, str]]] = defaultdict(list)
        self.declared: dict[str, None] = {}
        self.left_out: dict[str, Counter[str]] = defaultdict(Counter)  # kind: file: how many
        self.index_maps: list[tuple[str, Path, list[tuple[int, Stroke]]]] = []
        self.exported: dict[str, PngRegion] = {}  # Label Studio's PNGs
        self.unjoined: list[str] = []
        self.linked: set[str] = set()  # folders that are not gone into

    def say(self, level: str, text: str, images: Iterable[str] = ()) -> None:
        # Names may hold control characters, which would make lines of their own.
        shown = "".join(one if one.isprintable() else "?" for one in text)
        self.findings.append(Finding(level, shown, tuple(images)))  # type: ignore[arg-type]

    def _say_errors(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.say("error", text)

    def read(self) -> Folder:
        self._read_photos()
        self._read_annotations()
        self._name_index_maps()
        classes, unused = self._resolve_classes()
        if strange := sorted(self.options.colours.keys() - set(classes)):
            self.say("warning", f"source.colours: there is no class {listed(strange)}")
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
            for one in folders:
                if Path(parent, one).is_symlink():
                    self.linked.add(str(Path(parent, one)))
            folders[:] = sorted(
                one
                for one in folders
                if not one.startswith((".", "__MACOSX"))
                and Path(parent, one).resolve() not in others
            )
            for file in sorted(files):
                path = Path(parent, file)
                hidden = file.startswith(".") or file.casefold() in ("thumbs.db", "desktop.ini")
                if not hidden and path.is_file():  # a pipe would never end
                    yield path.relative_to(top).as_posix(), path

    # Images

    def _read_photos(self) -> None:
        found, strange = [], defaultdict[str, list[str]](list)
        for name, path in self._files(self.options.images):
            if path.suffix.casefold() in SUFFIXES:
                found.append((name, path))
            elif path.suffix.casefold() in _UNREAD:
                strange[path.suffix.casefold()].append(name)
        for suffix, names in sorted(strange.items()):
            self.say(
                "warning",
                f"{counted(len(names), 'file')} {suffix} not read ({listed(names)}); save as JPEG, "
                "PNG, TIFF or WebP",
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
        if not self.drawn:
            files = [(name, path) for name, path in files if not name.startswith(f"{DRAWN}/")]
        if together:  # PNGs are images there
            files = [(name, path) for name, path in files if name not in self.photos]
            self._warn_of_drawn_images()
        else:  # tools save beside the image, too
            beside = (".json", ".xml")
            files += [
                (name, path)
                for name, path in self._files(self.options.images)
                if path.suffix.casefold() in beside
            ]
        names = PngNames(
            tuple(self.photos),
            [name for name, _ in files],
            {*self.classes, BACKGROUND},
            # bpg scribble has a folder for each format.
            class_folders=not (self.root / self.options.strokes / _SCRIBBLED).is_file(),
        )
        # PNGs last: the JSON of their export says what Label Studio's are about.
        files.sort(key=lambda file: file[1].suffix.casefold() == ".png")
        for name, path in tqdm(files, "strokes", unit="file", disable=None):
            try:
                if path.suffix.casefold() == ".png":
                    self._read_png(name, path, names, images)
                else:
                    self._read_file(name, path, images, unread)
            except BPGError as error:
                self.say("error", str(error))
        self._say_what_was_left(unread)

    def _say_what_was_left(self, unread: Sequence[str]) -> None:
        if self.unjoined:
            self.say(
                "warning",
                f"{counted(len(self.unjoined), 'PNG')} of Label Studio's export not used "
                f"({listed(self.unjoined)}): "
                + (
                    "the JSON beside them has no such regions on images that are here"
                    if self.exported
                    else "their names do not say of which image; put the JSON export of the "
                    "project beside them"
                ),
            )
        for folder in sorted(self.linked):
            self.say("warning", f"{folder}: a link to a folder, which is not read")
        if unread:
            self.say(
                "warning",
                f"no annotations that are read: {listed(unread)}; unpack archives, and save what "
                "was painted as PNG",
            )
        if self.left_out:
            # Kinds from the same files together: a file may have many.
            by_files: dict[tuple[str, ...], list[str]] = defaultdict(list)
            for kind, files in sorted(self.left_out.items()):
                by_files[tuple(sorted(files))].append(f"{kind} {files.total():,}")
            groups = (f"{', '.join(kinds)} (in {listed(at)})" for at, kinds in by_files.items())
            self.say("warning", f"not used as strokes: {'; '.join(groups)}")
        failed = any(finding.level == "error" for finding in self.findings)
        if not (failed or self.found or self.index_maps):
            self.say(
                "error",
                f"{self.root / self.options.strokes}: no strokes; draw some with labelme, CVAT, "
                "Label Studio or a paint program",
            )

    def _warn_of_drawn_images(self) -> None:
        """Say which PNGs look like strokes on another image, but are taken for images."""
        stems = {one: bare_name(one) for one in self.photos}
        times = Counter(s for s in stems.values() if not s.casefold().endswith(SUFFIXES))
        drawn = [
            one
            for one, stem in stems.items()
            if one.casefold().endswith(".png")
            and (
                times[stem] > 1
                or any(stem[:n] in times for n, letter in enumerate(stem) if letter in "_-")
            )
        ]
        if drawn:
            self.say(
                "warning",
                f"taken for images: {listed(drawn)}; if they are strokes, move them to strokes/",
                drawn,
            )

    def _read_file(self, name: str, path: Path, images: Images, unread: list[str]) -> None:
        if path.name in _NO_ANNOTATIONS:
            return
        annotations = read_annotations(path)
        if annotations is None:
            unread.append(name)
            return
        if annotations.tool == LABEL_STUDIO:
            self.exported |= png_names(parse_json(read_bytes(path), str(path)), str(path))
        self.declared |= dict.fromkeys(annotations.classes)
        for kind, number in annotations.left_out.items():
            self.left_out[kind][self._shown(path)] += number
        self._say_errors(annotations.faults)
        faults = Faults(str(path))
        # Files of `bpg draw` have the image's whole path: their own folder means nothing.
        folder = "" if name.startswith(f"{DRAWN}/") else name.rpartition("/")[0]
        lost = []
        taken: dict[str, str] = {}
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
            elif meant and taken.setdefault(meant[0], image.names[0]) != image.names[0]:
                self.say(
                    "error",
                    f"{image.place}: {taken[meant[0]]!r} and {image.names[0]!r} would both be "
                    f"{meant[0]}; put all images into the folder, with their sub-folders",
                    meant,
                )
            elif meant:
                with faults.noted():
                    self._add(meant[0], image, path, faults)
            elif image.strokes:
                lost.append(image.names[0] if image.names else "an image without a name")
        self._say_errors(faults.lines())
        if lost:
            self.say("warning", f"{path}: no image is called {listed(lost)}: strokes not used")

    def _take_embedded(self, file: str, image: ImageStrokes) -> list[str]:
        """Take the image inside a file of annotations as one of the folder's; return its name.

        It has the name that the file gives it, beside the file; or else the file's own, if it gives
        none, or an image of other content has it already.
        """
        assert image.embedded is not None
        path = PurePosixPath(file)
        given = image.names[0].rpartition("/")[2]
        name = file if given == path.stem else str(path.with_name(given))
        known = self.photos.get(name)
        if known is not None:
            if known.digest == hashlib.sha256(image.embedded).digest():
                return [name]  # two people drew on copies of it
            if file in self.photos:
                raise BPGError(
                    f"{image.place}: another image is called {file}, too; rename this file"
                )
            self.say(
                "warning",
                f"{image.place}: another file has an image {name}, too; this one is called {file}",
                [name, file],
            )
            name = file
        self.photos[name] = _photo(name, image.embedded)
        called = f", called {name}" if name != file else ""
        self.say("note", f"{image.place}: the image inside the file is used{called}", [name])
        return [name]

    def _add(self, name: str, image: ImageStrokes, path: Path, faults: Faults) -> None:
        """Add the strokes that a file of annotations has for an image."""
        photo, file = self.photos[name], self._shown(path)
        size = (photo.width, photo.height)
        strokes = []
        shown = self._as_shown(name, image.size, image.strokes, image.place)
        for stroke, place in zip(shown, image.places, strict=True):
            with faults.noted():
                check_inside(stroke.shape, *size, place)
                strokes.append(stroke)
        self.found[name] += [(stroke, file) for stroke in strokes]
        beyond = sum(reaches_beyond(stroke.shape, *size) for stroke in strokes)
        if beyond:
            self.say(
                "warning",
                f"{image.place}: {counted(beyond, 'stroke')} of {name} run far over the image's "
                "border; were they drawn on another image, or another size?",
                [name],
            )

    def _as_shown(
        self, name: str, drawn_on: tuple[int, int] | None, strokes: Sequence[Stroke], place: str
    ) -> Sequence[Stroke]:
        """Return an image's strokes in the frame of the image as shown."""
        photo = self.photos[name]
        size = (photo.width, photo.height)
        if drawn_on is None or drawn_on == size:
            return strokes
        if photo.orientation not in SIDEWAYS or drawn_on != size[::-1]:
            raise BPGError(
                f"{place}: drawn on {drawn_on[0]}x{drawn_on[1]} pixels, but {name} "
                f"has {size[0]}x{size[1]}"
            )
        self.say("note", f"{place}: drawn on the image as stored; turned as EXIF says", [name])
        return [
            replace(stroke, shape=turned(stroke.shape, photo.orientation, *size))
            for stroke in strokes
        ]

    def _shown(self, path: Path) -> str:
        """Return how messages call a file: without the address in the names of an export."""
        key = png_key(path.name)
        return (path.with_name(f"{key}.png") if key else path).relative_to(self.root).as_posix()

    def _read_png(self, name: str, path: Path, names: PngNames, images: Images) -> None:
        place = str(self.root / self._shown(path))
        exported = png_key(name) is not None
        readings = self._exported_region(name, images) or names.readings(name)
        if exported and (len(readings) != 1 or len(readings[0].images) != 1):
            # The names of this export hold an annotator's address: it is not repeated.
            self.unjoined.append(self._shown(path))
            return
        if not readings:
            text = f"{place}: matches no image: not used; name it after the image"
            self.say("warning", text)
            return
        data = read_bytes(path)
        meant, tag = self._decided(readings, data, place)
        if len(meant) > 1:
            self.say("warning", f"{place}: not used: {unclear(readings)}", meant)
        elif tag is None:
            size, found = strokes_of_map(data, place, self.options.unlabelled)
            # Their classes get names when all files are read.
            strokes = [Stroke(None, pixels) for _, pixels in found]
            shown = self._as_shown(meant[0], size, strokes, place)
            indices = [index for index, _ in found]
            self.index_maps.append((meant[0], path, [*zip(indices, shown, strict=True)]))
        else:
            # A region of an export may have several parts.
            size, drawn = strokes_of_class(data, place, tag, whole=exported)
            file = self._shown(path)
            shown = self._as_shown(meant[0], size, drawn, place)
            self.found[meant[0]] += [(stroke, file) for stroke in shown]

    def _exported_region(self, name: str, images: Images) -> list[Reading]:
        """Return what the JSON of Label Studio's export says about a PNG; empty if nothing."""
        region = self.exported.get(png_key(name) or "")
        if region is None:
            return []
        return [Reading(images.find(region.names) if region.label else [], region.label)]

    def _decided(self, readings: Sequence[Reading], data: bytes, place: str) -> Reading:
        """Return what a PNG is by its name, and by its content if the name does not decide.

        Raises:
            BPGError: Neither does; the message says what to call it.
        """
        if len(readings) == 1:
            return readings[0]
        likely = [
            reading
            for reading in readings
            if may_be_strokes(data, place, None if reading.tag else self.options.unlabelled)
        ]
        if len(likely) != 1:
            raise BPGError(f"{place}: {unclear(readings)}")
        if likely[0] is not readings[0]:
            self.say(
                "note", f"{place}: by its content {likely[0]}, none of {readings[0].images[0]}"
            )
        return likely[0]

    # Classes

    def _listed_classes(self) -> tuple[str, ...]:
        places = (self.root, self.root / self.options.strokes)
        path = next((p for one in places if (p := one / _CLASS_LIST).is_file()), None)
        if path is None:
            return ()
        names = [unicodedata.normalize("NFC", line) for line in read_lines(path, "class name")]
        # labelme's own list of labels begins with it.
        return self._checked([name for name in names if name != "__ignore__"], str(path))

    def _checked(self, names: Sequence[str], place: str) -> tuple[str, ...]:
        if names and (len(set(names)) < len(names) or not 2 <= len(names) <= _MOST_CLASSES):
            raise BPGError(
                f"{place}: must have 2 to {_MOST_CLASSES} different class names, background first"
            )
        return tuple(names)

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
            file = self._shown(path)
            self.found[name] += [
                (replace(stroke, tag=self.classes[index]), file) for index, stroke in found
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
            canonical.setdefault(class_key(name))
        present = {class_key(name) for name in used}
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
        folded = Counter(name.casefold() for name in (BACKGROUND, *classes))
        if alike := [name for name in classes if folded[name.casefold()] > 1]:
            self.say("warning", f"classes that differ in case alone: {', '.join(alike)}")
        drawn = Counter(class_key(tag) for tag in used.elements())
        for name in classes:
            meant = _meant(name, [one for one in canonical if one != name])
            if drawn[name] == 1 and meant:
                self.say("warning", f"the class {name} has a single stroke{meant}")
        if used and BACKGROUND in present and not classes:
            self.say("error", "all strokes are background; draw your objects, too")
        self.found = defaultdict(
            list,
            {
                name: [(replace(s, tag=s.tag and class_key(s.tag)), at) for s, at in found]
                for name, found in self.found.items()
            },
        )
        if len(classes) >= _MOST_CLASSES:
            self.say(
                "error",
                f"{len(classes) + 1:,} classes; at most {_MOST_CLASSES} can be learnt: list those "
                "to be learnt in classes, and set source.unknown_tags to unlabelled",
            )
            classes = classes[: _MOST_CLASSES - 1]
        return (BACKGROUND, *classes), unused

    def _drop_unknown(self, classes: Sequence[str]) -> None:
        unknown: Counter[str] = Counter()
        images: set[str] = set()
        known = {class_key(name): name for name in classes}
        for name, found in self.found.items():
            kept = []
            for stroke, place in found:
                tag = stroke.tag
                if tag is not None and tag not in classes:
                    tag = known.get(class_key(tag), tag)
                if tag is None or tag in classes:
                    kept.append((replace(stroke, tag=tag), place))
                else:
                    unknown[tag] += 1
                    images.add(name)
            found[:] = kept
        if not unknown:
            return
        which = ", ".join(
            f"{tag[:40]} ({counted(n, 'stroke')}{_meant(tag, classes)})"
            for tag, n in unknown.most_common(50)
        )
        if self.options.unknown_tags == "refuse":
            text = (
                f"strokes of unknown classes: {which}, on {listed(sorted(images))}; add them to "
                "classes, or set source.unknown_tags: unlabelled"
            )
            self.say("error", text, sorted(images))
        else:
            text = f"strokes of unknown classes, left unlabelled: {which}, on "
            self.say("warning", text + listed(sorted(images)), sorted(images))

    # Strokes

    def _finish(self, name: str) -> tuple[Stroke, ...]:
        """Shrink an image's strokes with it, and count what two files have in common once."""
        photo = self.photos[name]
        before = (photo.width, photo.height)
        after = shrunk_size(before, self.longest_side)
        kept: list[tuple[Stroke, str, Pixels]] = []
        twice, empty = 0, 0
        for stroke, place in self.found[name]:
            shape = resized(stroke.shape, before, after)
            pixels = covered(shape, *after, self.line_width)
            if not pixels.mask.any():
                empty += 1
            elif (again := _again(stroke, pixels, kept)) is not None:
                twice += 1
                # Another class was drawn over it in between: the later one corrects that.
                if any(
                    one.tag != stroke.tag and _overlap(pixels, there) > 0
                    for one, _, there in kept[again + 1 :]
                ):
                    del kept[again]
                    kept.append((replace(stroke, shape=shape), place, pixels))
            else:
                kept.append((replace(stroke, shape=shape), place, pixels))
        if twice:
            places = sorted({place for _, place in self.found[name]})
            self.say(
                "note",
                f"{name}: {counted(twice, 'stroke')} drawn twice (in {listed(places)}), "
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
            if len(meant) != 1 or not _same_folder(name, meant[0]):
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
        chosen = set()
        for line in read_lines(path, "image name"):
            meant = images.find([line])
            if len(meant) != 1:
                self.say("error", f"{path}: {line[:80]!r} is no image of the folder, or several")
            chosen.update(meant[:1])
        return frozenset(chosen)


_UNREAD = (".heic", ".heif", ".bmp", ".gif", ".avif", ".jp2", ".dng", ".cr2", ".nef", ".arw")
"""Suffixes of images that are not read."""


def _meant(tag: str, classes: Sequence[str]) -> str:
    close = get_close_matches(tag, classes, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _same_folder(mask: str, image: str) -> bool:
    """Say whether the folder of a mask can be that of its image: equal, or one is not given."""
    folders = [normalised(one).rpartition("/")[0] for one in (mask, image)]
    return not all(folders) or folders[0] == folders[1]


def class_key(tag: str) -> str:
    """Return a class's name as it is compared: the tools' names for the background are one."""
    tag = unicodedata.normalize("NFC", tag)
    return BACKGROUND if tag.casefold() in _CALLED_BACKGROUND else tag


def _again(
    stroke: Stroke, pixels: Pixels, kept: Sequence[tuple[Stroke, str, Pixels]]
) -> int | None:
    """Return the place of a stroke of the same class on the same pixels; None if there is none."""
    for place, (one, _, there) in enumerate(kept):
        if stroke.tag == one.tag and _overlap(pixels, there) >= _SAME:
            return place
    return None


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
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise BPGError(f"{name!r}: a name that is not UTF-8; rename it") from error
    identity = image_id(name)
    if len(identity.encode()) > _NAME_LIMIT:
        raise BPGError(f"{name[:60]}…: a name of more than {_NAME_LIMIT} bytes; shorten it")
    data = source if isinstance(source, bytes) else read_photograph_file(source)
    decoded = decode_photograph(data, name if isinstance(source, bytes) else str(source))
    height, width = decoded.pixels.shape[:2]
    small = cv2.resize(decoded.pixels, (SMALL, SMALL), interpolation=cv2.INTER_AREA)
    digest = hashlib.sha256(data).digest()
    return Photo(
        name, identity, source, width, height, decoded.orientation, small.astype(np.uint8), digest
    )


def as_strokes(folder: Folder, name: str, keep: Sequence[int]) -> Strokes:
    """Return some of an image's strokes, with the size of the shrunk image.

    Args:
        folder: What `read_folder` returns.
        name: The image.
        keep: Places of the strokes to keep, in drawing order.
    """
    return Strokes(*folder.size(name), tuple(folder.strokes[name][place] for place in keep))
