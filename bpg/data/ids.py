"""Lists of image names."""

from pathlib import Path, PurePosixPath

from bpg.errors import BPGError
from bpg.files import read_limited

FILE_LIMIT = 64 * 2**20
"""Larger lists are refused unread."""


def read_ids(path: Path, *, empty: bool = False) -> list[str]:
    """Read a list of image names, one per line.

    Args:
        path: The list.
        empty: Whether it may list no image.

    Returns:
        The names, none of them with a folder.

    Raises:
        BPGError: The file is missing, larger than `FILE_LIMIT`, not text or empty, or one of the
            names is a path or is there twice.
    """
    if not path.is_file():
        raise BPGError(f"{path}: no such id list; run the prepare stage")
    data = read_limited(path, FILE_LIMIT, ", so no list of names")
    try:
        names = data.decode("utf-8-sig").split()  # Windows editors write a byte order mark
    except UnicodeDecodeError as error:
        raise BPGError(f"{path}: no list of names ({error})") from error
    if not names and not empty:
        raise BPGError(f"{path}: lists no image")
    seen: set[str] = set()
    for name in names:
        if name == ".." or "\0" in name or PurePosixPath(name).name != name:
            raise BPGError(f"{path}: {name[:40]!r} is not a valid image name")
        if name in seen:
            raise BPGError(f"{path}: lists {name[:40]!r} twice")
        seen.add(name)
    return names
