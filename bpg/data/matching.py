"""Which image an annotation is about: tools write down paths of another machine."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

_DRIVE = re.compile(r"^[A-Za-z]:")


def normalised(name: str) -> str:
    """Return a path as ours are: forward slashes, relative, composed characters (NFC).

    File systems differ in how they write an accent: as one character or as two.
    """
    parts = _DRIVE.sub("", unicodedata.normalize("NFC", name)).replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in ("", ".", ".."))


class Images:
    """The images that annotations may be about, to be found by what annotations call them.

    Args:
        names: Relative paths of the images with forward slashes, as on disk.
    """

    def __init__(self, names: Iterable[str]):
        self._found: dict[str, list[str]] = defaultdict(list)
        for name in names:
            for key in dict.fromkeys(self._keys(name)):
                self._found[key].append(name)

    def find(self, candidates: Sequence[str]) -> list[str]:
        """Return the images that are meant: one, none, or several if the names do not decide.

        A name stands for the image with the same path, or else for those whose path ends like it:
        the longest common end decides. After that, the file's suffix may differ, and then upper and
        lower case.

        Args:
            candidates: What an annotation calls its image, the best name first.
        """
        ways = [list(self._ways(candidate)) for candidate in candidates if candidate]
        for level in range(6):
            for way in ways:
                for key in way[level]:
                    if found := self._found.get(key):
                        return found
        return []

    @staticmethod
    def _keys(name: str) -> Iterator[str]:
        for level in Images._ways(name):
            yield from level

    @staticmethod
    def _ways(name: str) -> Iterator[list[str]]:
        """Yield the keys of a name by strictness, the longest end first."""
        parts = normalised(name).split("/")
        ends = ["/".join(parts[n:]) for n in range(len(parts))]
        bare = [_without_suffix(end) for end in ends]
        either = [*dict.fromkeys((*bare, *ends))]
        yield [f"path:{ends[0]}"]
        yield [f"end:{end}" for end in ends]
        yield [f"bare path:{bare[0]}", f"bare path:{ends[0]}"]
        yield [f"bare end:{end}" for end in either]
        yield [f"folded path:{bare[0].casefold()}", f"folded path:{ends[0].casefold()}"]
        yield [f"folded end:{end.casefold()}" for end in either]


def bare_name(name: str) -> str:
    """Return a normalised path without its suffix."""
    return _without_suffix(normalised(name))


def _without_suffix(name: str) -> str:
    folder, slash, last = name.rpartition("/")
    return folder + slash + (last.rpartition(".")[0] or last)
