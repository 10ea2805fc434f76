"""The strokes of a folder as they are drawn: every change is on disk before it is acknowledged."""

import itertools
import threading
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from bpg.atomic import flush_folder, whole_file, write_text
from bpg.data.folder import BACKGROUND, DRAWN, class_key, read_folder
from bpg.data.formats.labelme import read_labelme, write_labelme
from bpg.data.options import FolderOptions
from bpg.data.strokes import Line, Point, Stroke, Strokes
from bpg.draw.editing import erased, thick
from bpg.errors import BPGError
from bpg.files import read_limited
from bpg.strict_yaml import first_error

MOST_POINTS = 20_000
"""Of a stroke."""

_FILE_LIMIT = 64 * 2**20
_CLASS_LIST = "classes.txt"
_JOURNAL = ".bpg-draw.rename"
_MOST_CLASSES = 254
_NAME_LIMIT = 60
_RESERVED = ("__ignore__", "_background_")  # labelme's names for no label and for the background
_NOTHING_YET = "no strokes; draw some"  # what `read_folder` says of a folder without any

Key = tuple[int, ...]
"""Where a stroke is in the drawing order: a piece of an erased one is where that was."""


class MergeError(BPGError):
    """A new name is that of another class: their strokes would be merged.

    Attributes:
        other: That class.
    """

    def __init__(self, other: str):
        super().__init__(f"there is a class {other} already")
        self.other = other


class _Renaming(BaseModel):
    """What is under way: the names, and the classes afterwards."""

    model_config = ConfigDict(extra="forbid")

    old: str
    new: str
    after: list[str]


@dataclass
class Sheet:
    """An image's strokes.

    Attributes:
        locked: What other tools have drawn: shown, trained on, and not changed here.
        own: What was drawn here, by number, in drawing order.
        gone: What was erased or taken back since the start, by number: it can be restored.
        keys: By number, the place in the drawing order.
        revision: Counts the changes since the start.
    """

    locked: tuple[Stroke, ...] = ()
    own: dict[int, Stroke] = field(default_factory=dict)
    gone: dict[int, Stroke] = field(default_factory=dict)
    keys: dict[int, Key] = field(default_factory=dict)
    revision: int = 0

    @property
    def strokes(self) -> tuple[Stroke, ...]:
        """All, in drawing order."""
        return (*self.locked, *self.own.values())


@dataclass(frozen=True)
class Change:
    """What a change did: numbers of strokes that it added and removed."""

    added: tuple[int, ...]
    removed: tuple[int, ...]


class Store:
    """A folder that is drawn on, by one process at a time and any number of windows.

    A sheet that is replaced is a new object: whoever reads one sees it as it was.

    Args:
        root: The folder; images as for `dataset: folder`.

    Attributes:
        problems: What is wrong with the folder, such as images that cannot be read.

    Raises:
        BPGError: There is no image in it, another process draws on it, or what was drawn here
            before was drawn on an image of another size.
    """

    def __init__(self, root: Path):
        if not root.is_dir():
            raise BPGError(f"{root}: no such folder; give the folder of your images")
        self.root = root.resolve()
        # First, so that nothing that is read here changes any more.
        self._alone = FileLock(self.root / ".bpg-draw.lock")
        try:
            self._alone.acquire(timeout=0)
        except Timeout:
            raise BPGError(
                f"{self.root}: another bpg draw has this folder open; use its page, or end it"
            ) from None
        try:
            self._read_all()
        except BaseException:
            self.close()
            raise

    def _read_all(self) -> None:
        self.folder = read_folder(self.root, FolderOptions(), longest_side=None, drawn=False)
        self._lock = threading.RLock()
        self._numbers = itertools.count(1)
        self.problems = [
            finding.text
            for finding in self.folder.findings
            if finding.level == "error" and _NOTHING_YET not in finding.text
        ]
        photos = self.folder.photos.items()
        self.names = [name for name, photo in photos if isinstance(photo.source, Path)]
        if inside := len(self.folder.photos) - len(self.names):
            self.problems.append(f"{inside} images inside annotation files cannot be drawn on")
        if not self.names:
            raise BPGError("; ".join([f"{self.root}: no image to draw on", *self.problems]))
        self.place = self._choose_place()
        if not self.place.resolve().is_relative_to(self.root):
            raise BPGError(f"{self.place}: a link out of {self.root}; strokes are kept inside")
        self.classes = list(self.folder.classes) or [BACKGROUND]
        self.sheets = {name: self._read(name) for name in self.names}
        self._complete_renaming()

    def close(self) -> None:
        """Let others draw on the folder."""
        self._alone.release()

    def counts(self) -> list[int]:
        """Count the strokes by class, in the order of the classes."""
        tags = Counter(stroke.tag for sheet in self.sheets.values() for stroke in sheet.strokes)
        return [tags[name] for name in self.classes]

    def size(self, name: str) -> tuple[int, int]:
        """Return (width, height) of an image in pixels, upright."""
        photo = self.folder.photos[name]
        return photo.width, photo.height

    def add(self, name: str, tag: str, points: Sequence[Point], brush: float | None) -> Change:
        """Add a stroke.

        Args:
            name: The image.
            tag: Its class.
            points: In pixels of the image; those outside are left out.
            brush: Width of the brush in pixels; None: a line, which has the data set's width.

        Raises:
            BPGError: The class is unknown, or there are no points inside or too many.
        """
        width, height = self.size(name)
        inside = _inside(points, width, height)
        if not inside:
            raise BPGError("outside the image")
        shape = Line(inside) if brush is None else thick(inside, brush, width, height)
        with self._lock:
            if tag not in self.classes:
                raise BPGError(f"there is no class {tag[:_NAME_LIMIT]!r}")
            return self._change(name, add=[((), Stroke(tag, shape))])

    def erase(self, name: str, points: Sequence[Point], rubber: float) -> Change:
        """Take away what an eraser went over, of what was drawn here.

        Args:
            name: The image.
            points: Of its way, in pixels of the image.
            rubber: Its width in pixels.

        Raises:
            BPGError: There are no points or too many.
        """
        width, height = self.size(name)
        way = _counted(points)
        with self._lock:
            sheet = self.sheets[name]
            added: list[tuple[Key, Stroke]] = []
            removed = []
            for number, stroke in sheet.own.items():
                left = erased(stroke, way, rubber, width, height)
                if left is not None:
                    removed.append(number)
                    added += [(sheet.keys[number], piece) for piece in left]
            return self._change(name, add=added, remove=removed)

    def clear(self, name: str) -> Change:
        """Take away all that was drawn here on an image."""
        with self._lock:
            return self._change(name, remove=tuple(self.sheets[name].own))

    def undo(self, name: str, change: Change) -> Change:
        """Take a change back: remove what it added and restore what it removed.

        Where another window has erased or restored a part of it since, nothing comes back that
        would then be there twice.
        """
        with self._lock:
            sheet = self.sheets[name]
            removed = [number for number in change.added if number in sheet.own]
            whole = len(removed) == len(change.added)
            restored = [number for number in change.removed if number in sheet.gone and whole]
            return self._change(name, remove=removed, restore=restored)

    def add_class(self, name: str) -> None:
        """Add a class, at the end.

        Raises:
            BPGError: There is no name, one that is known or has another meaning, or no room.
        """
        name = _class_name(name)
        with self._lock:
            self._complete_renaming()  # it writes the classes as they were to be then
            if self._known(name) is not None:
                raise BPGError(f"there is a class {name} already")
            if len(self.classes) >= _MOST_CLASSES:
                raise BPGError(f"there are {_MOST_CLASSES} classes, which is the most")
            self._write_classes([*self.classes, name])

    def rename_class(self, old: str, new: str, *, merge: bool = False) -> None:
        """Give a class another name, in all strokes that were drawn here.

        After a crash in the middle, the next start completes it; until then, each stroke has one
        of both names, and `classes.txt` has both.

        Args:
            old: What it is called.
            new: What it will be called.
            merge: Whether its strokes may become those of another class, if that has the new name.

        Raises:
            MergeError: Another class has the new name.
            BPGError: The new name is none, or the class cannot be changed here.
        """
        new = _class_name(new)
        with self._lock:
            self._complete_renaming()
            place = self._changeable(old)
            if any(stroke.tag == old for sheet in self.sheets.values() for stroke in sheet.locked):
                raise BPGError(f"{old} has strokes of other tools; rename it there")
            other = self._known(new, but=old)
            if other is None:
                after = [*self.classes[:place], new, *self.classes[place + 1 :]]
            else:
                if not merge:
                    raise MergeError(other)
                self._refuse_other_numbers(old)
                new, after = other, [one for one in self.classes if one != old]
            if new != old:
                renaming = _Renaming(old=old, new=new, after=after)
                write_text(self.root / _JOURNAL, renaming.model_dump_json())
                self._complete_renaming()

    def _complete_renaming(self) -> None:
        journal = self.root / _JOURNAL
        try:
            renaming = _Renaming.model_validate_json(journal.read_bytes())
        except FileNotFoundError:
            return
        except ValidationError as error:
            raise BPGError(
                f"{journal}: {first_error(error)}; delete it, and look into {_CLASS_LIST}"
            ) from error
        old, new = renaming.old, renaming.new
        if new not in self.classes and len(self.classes) < _MOST_CLASSES:
            self._write_classes([*self.classes, new])
        for name, sheet in self.sheets.items():
            changed = _renamed(sheet, old, new)
            if changed.own != sheet.own:
                self._write(name, changed.own)
            self.sheets[name] = changed
        self._write_classes(renaming.after)
        journal.unlink()

    def remove_class(self, name: str) -> None:
        """Remove a class that has no strokes.

        Raises:
            BPGError: It has strokes, or cannot be changed here.
        """
        with self._lock:
            self._complete_renaming()
            place = self._changeable(name)
            if number := self.counts()[place]:
                raise BPGError(f"{name} has strokes ({number}); erase them, or rename the class")
            self._refuse_other_numbers(name)
            self._write_classes([one for one in self.classes if one != name])
            for image, sheet in self.sheets.items():  # what was erased comes back no more
                gone = {n: stroke for n, stroke in sheet.gone.items() if stroke.tag != name}
                self.sheets[image] = replace(sheet, gone=gone)

    def _known(self, name: str, but: str | None = None) -> str | None:
        """Return what the folder calls a class, if it has it; not the one that is left out."""
        key = class_key(name).casefold()
        known = [one for one in self.classes if one != but and class_key(one).casefold() == key]
        return name if name in known else next(iter(known), None)

    def _changeable(self, name: str) -> int:
        if name not in self.classes:
            raise BPGError(f"there is no class {name[:_NAME_LIMIT]!r}")
        place = self.classes.index(name)
        if place == 0:
            raise BPGError("the first class is the background; it stays")
        return place

    def _refuse_other_numbers(self, name: str) -> None:
        if self.folder.masks or any(sheet.locked for sheet in self.sheets.values()):
            raise BPGError(
                f"{name} cannot be removed or merged: masks or strokes of other tools may refer to "
                "classes by number"
            )

    def adopt_classes(self, names: Sequence[str]) -> None:
        """Take over a network's classes, where the folder has none of its own yet."""
        with self._lock:
            if len(self.classes) == 1:
                self._write_classes(list(names))

    def _write_classes(self, names: list[str]) -> None:
        path = self.root / _CLASS_LIST
        if len(names) > 1:
            write_text(path, "\n".join(names) + "\n")
        else:  # a list of the background alone is none
            path.unlink(missing_ok=True)
        self.classes = names

    def _change(
        self,
        name: str,
        *,
        add: Sequence[tuple[Key, Stroke]] = (),
        remove: Sequence[int] = (),
        restore: Sequence[int] = (),
    ) -> Change:
        """Write an image's new strokes, then count them as drawn.

        Args:
            name: The image.
            add: New strokes, and the place of what each of them is a piece of.
            remove: Numbers of strokes that go.
            restore: Numbers of strokes that come back.
        """
        before = self.sheets[name]
        own, gone, keys = dict(before.own), dict(before.gone), dict(before.keys)
        for number in remove:
            gone[number] = own.pop(number)
        for number in restore:
            own[number] = gone.pop(number)
        added = list(restore)
        for key, stroke in add:
            number = next(self._numbers)
            own[number], keys[number] = stroke, (*key, number)
            added.append(number)
        change = Change(tuple(added), tuple(remove))
        if not added and not remove:
            return change
        own = dict(sorted(own.items(), key=lambda item: keys[item[0]]))
        self._write(name, own)
        self.sheets[name] = Sheet(before.locked, own, gone, keys, before.revision + 1)
        return change

    def _file(self, name: str) -> Path:
        return self.place / f"{name}.json"

    def _write(self, name: str, own: dict[int, Stroke]) -> None:
        path = self._file(name)
        if not own:
            path.unlink(missing_ok=True)
            if path.parent.is_dir():
                flush_folder(path.parent)
            return
        width, height = self.size(name)
        with whole_file(path) as partial:
            write_labelme(partial, Strokes(width, height, tuple(own.values())), name)
        flush_folder(path.parent)

    def _read(self, name: str) -> Sheet:
        path = self._file(name)
        sheet = Sheet(self.folder.strokes.get(name, ()))
        if not path.is_file():
            return sheet
        found = read_labelme(read_limited(path, _FILE_LIMIT, "; no file of strokes"), str(path))
        if found.faults:
            raise BPGError(found.faults[0])
        for image in found.images:
            if image.size is not None and image.size != self.size(name):
                sizes = [f"{width}x{height}" for width, height in (image.size, self.size(name))]
                raise BPGError(
                    f"{path}: drawn on {sizes[0]} pixels, but {name} has {sizes[1]}; put the image "
                    "back, or move this file away"
                )
            for stroke in image.strokes:
                number = next(self._numbers)
                sheet.own[number] = Stroke(self._class_of(stroke.tag), stroke.shape)
                sheet.keys[number] = (number,)
        return sheet

    def _class_of(self, tag: str | None) -> str | None:
        """Return the name that the folder has for a class; one that it lacks becomes a class."""
        if tag is None:
            return None
        known = {class_key(one): one for one in self.classes}
        if class_key(tag) not in known:
            self.classes.append(tag)
        return known.get(class_key(tag), tag)

    def _choose_place(self) -> Path:
        """Return where to write: below the folder of the strokes; a new one if they are with the
        images and there are none."""
        strokes = self.root / self.folder.options.strokes
        beside = strokes.resolve() == (self.root / self.folder.options.images).resolve()
        if beside and not self.folder.strokes:
            listed, ours = strokes / _CLASS_LIST, self.root / _CLASS_LIST
            if listed.is_file() and not ours.is_file():  # which would not be looked for any more
                write_text(ours, listed.read_text(encoding="utf-8"))
            strokes = self.root / FolderOptions().strokes
        return strokes / DRAWN


def _class_name(name: str) -> str:
    name = unicodedata.normalize("NFC", " ".join(name.split()))
    if not name or len(name) > _NAME_LIMIT or not name.isprintable():
        raise BPGError(f"a class has a name of 1 to {_NAME_LIMIT} letters")
    if name.casefold() in _RESERVED:
        raise BPGError(f"{name} means something else in labelme's files; take another name")
    return name


def _renamed(sheet: Sheet, old: str, new: str) -> Sheet:
    own, gone = (
        {n: replace(stroke, tag=new) if stroke.tag == old else stroke for n, stroke in part.items()}
        for part in (sheet.own, sheet.gone)
    )
    if own == sheet.own and gone == sheet.gone:
        return sheet
    return replace(sheet, own=own, gone=gone, revision=sheet.revision + 1)


def _counted(points: Sequence[Point]) -> tuple[Point, ...]:
    if not 1 <= len(points) <= MOST_POINTS:
        raise BPGError(f"a stroke has 1 to {MOST_POINTS:,} points")
    return tuple((float(x), float(y)) for x, y in points)


def _inside(points: Sequence[Point], width: int, height: int) -> tuple[Point, ...]:
    return tuple((x, y) for x, y in _counted(points) if 0 <= x <= width and 0 <= y <= height)
