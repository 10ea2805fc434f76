"""Which image a PNG of strokes is of, and of which class it is, by its name."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

from bpg.data.findings import listed
from bpg.data.matching import Images, bare_name, normalised

_SEPARATORS = ("__", "_", "-", ".", " ")


class Reading(NamedTuple):
    """What a PNG's name may mean.

    Attributes:
        images: The image; several if the name does not decide, none if it is of none.
        tag: The class that is painted; None for a map of values.
    """

    images: list[str]
    tag: str | None

    def __str__(self) -> str:
        """Return it in words, for messages."""
        what = "the map of values" if self.tag is None else f"the class {self.tag}"
        return f"{what} of {listed(self.images)}"

    def clear_names(self) -> list[str]:
        """Return what to call a PNG that can mean nothing else, for each of the images."""
        end = ".png" if self.tag is None else f"/{self.tag}.png"
        return [image + end for image in self.images]


def unclear(readings: Sequence[Reading]) -> str:
    """Say what a name may mean, and what to call the file instead."""
    names = [name for reading in readings for name in reading.clear_names()]
    return f"may be {', or '.join(map(str, readings))}; call it {' or '.join(names[:4])}"


class PngNames:
    """The PNGs of a folder of strokes.

    Args:
        images: Names of the images.
        files: Names of the files in the folder of strokes.
        classes: Names of classes that are known.
        class_folders: Whether a folder of PNGs may be that of a class.
    """

    def __init__(
        self,
        images: Sequence[str],
        files: Sequence[str],
        classes: Collection[str],
        *,
        class_folders: bool,
    ):
        self._images = Images(images)
        self._by_bare_name: dict[str, list[str]] = defaultdict(list)
        for one in images:
            for key in {bare_name(one), normalised(one)}:
                self._by_bare_name[key].append(one)
        names = [name for name in files if name.casefold().endswith(".png")]
        self._given = set(classes)
        self._told: set[str] = set()
        self._class_folders = self._tops(names) if class_folders else set[str]()
        # Classes need not be listed: other PNGs' names may tell them.
        told = (self.readings(name)[:1] for name in names)
        self._told = {reading.tag for found in told for reading in found if reading.tag}

    def _tops(self, names: Sequence[str]) -> set[str]:
        """Return which folders of PNGs are classes: known ones, or several beside each other."""
        tops = {
            name.partition("/")[0]
            for name in names
            if bare_name(name).partition("/")[2] in self._by_bare_name
        }
        return tops if len(tops) > 1 else tops & self._given

    def readings(self, name: str) -> list[Reading]:
        """Return what a PNG's name may mean, the likeliest first; empty if it fits no image.

        There are several if a class that is known makes another reading as likely, such as that of
        `my_cat.png` beside `my.jpg` and `my_cat.jpg`.

        Args:
            name: Path of the PNG in the folder of strokes.
        """
        stem = bare_name(name)
        painted = list(self._of_classes(stem))
        if stem in self._by_bare_name:
            known = self._given | self._told
            whole = Reading(self._by_bare_name[stem], None)
            return [whole, *(reading for reading in painted if reading.tag in known)]
        if painted:
            return [one for one in painted if one.tag in self._given] or painted[:1]
        if elsewhere := self._images.find([name]):  # in another folder than the PNG's
            return [Reading(elsewhere, None)]
        return list(self._split(stem, lambda start: self._images.find([start])))[:1]

    def _of_classes(self, stem: str) -> Iterator[Reading]:
        bare = self._by_bare_name
        folder, _, last = stem.rpartition("/")
        if folder in bare:  # IMAGE/CLASS.png
            yield Reading(bare[folder], last)
        top, _, rest = stem.partition("/")
        if rest in bare and top in self._class_folders:  # CLASS/IMAGE.png
            yield Reading(bare[rest], top)
        yield from self._split(stem, lambda start: bare.get(start, []))  # IMAGE_CLASS.png

    @staticmethod
    def _split(stem: str, find: Callable[[str], list[str]]) -> Iterator[Reading]:
        """Cut a name into that of an image and that of a class; the longest image first."""
        for length in range(len(stem) - 1, 0, -1):
            separator = next((s for s in _SEPARATORS if stem.startswith(s, length)), None)
            rest = stem[length + len(separator) :] if separator else ""
            if rest and (meant := find(stem[:length])):
                yield Reading(meant, rest)
