"""Which images a command line means, and what their results are called."""

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from bpg.data.photographs import SUFFIXES
from bpg.errors import BPGError


class Input(NamedTuple):
    """An image.

    Attributes:
        path: The file.
        name: Its path below the folder or the fixed part of the pattern that it was found by,
            without the suffix: what its results are called.
    """

    path: Path
    name: str


def find_inputs(given: Sequence[str], out: Path) -> list[Input]:
    """Find the images that are meant, in a fixed order.

    Hidden files and what lies below `out` are left out of folders and patterns.

    Args:
        given: Files; folders, whose images are all taken, of subfolders, too; patterns such as
            "photos/**/*.jpg".
        out: The folder for the results.

    Returns:
        At least one image, each once.

    Raises:
        BPGError: There is none, a path does not exist, two images have one name, so that their
            results would overwrite each other, or results would go where images are read from.
    """
    found: dict[Path, Input] = {}
    for one in given:
        nothing = True
        for path, below in _meant(one, out):
            name = PurePosixPath(*path.relative_to(below).with_suffix("").parts)
            found.setdefault(path.resolve(), Input(path, str(name)))
            nothing = False
        if nothing:
            known = ", ".join(SUFFIXES)
            raise BPGError(f"{one}: no image is there (looked for {known})")
    by_name: dict[str, Path] = {}
    for image in found.values():
        other = by_name.setdefault(image.name, image.path)
        if other != image.path:
            raise BPGError(
                f"{other} and {image.path}: their results would both be called {image.name}.png; "
                "rename one, or run twice with another --out"
            )
    results = {
        out.resolve() / f"{one.name}{suffix}"
        for one in found.values()
        for suffix in (".png", ".overlay.jpg", ".overlay.png")
    }
    if overwritten := next((path for path in found if path in results), None):
        raise BPGError(f"{overwritten}: its result would overwrite it; give another --out")
    return list(found.values())


def _meant(given: str, out: Path) -> Iterator[tuple[Path, Path]]:
    """Yield images and the folder that their names are relative to."""
    path = Path(given)
    if path.is_file():
        yield path, path.parent
    elif path.is_dir():
        if path.resolve() == out.resolve():
            raise BPGError(f"{out}: images are read from there; give another folder as --out")
        for file in sorted(path.rglob("*")):
            if _is_image(file, path, out):
                yield file, path
    elif glob.has_magic(given):
        fixed = _fixed(path)
        # Not `Path.glob`: it takes no absolute patterns, and follows them into hidden folders.
        for name in sorted(glob.glob(given, recursive=True)):  # noqa: PTH207
            if _is_image(Path(name), fixed, out):
                yield Path(name), fixed
    else:
        raise BPGError(f"{given}: no such file or folder")


def _is_image(path: Path, below: Path, out: Path) -> bool:
    return (
        path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(below).parts)
        and not path.resolve().is_relative_to(out.resolve())
    )


def _fixed(pattern: Path) -> Path:
    """Return the folders of a pattern before its first wildcard."""
    parts = []
    for part in pattern.parts[:-1]:
        if glob.has_magic(part):
            break
        parts.append(part)
    return Path(*parts)
