"""Lists of picture names."""

from pathlib import Path

from bpg.errors import BPGError


def read_ids(path: Path) -> list[str]:
    """Read a list of picture names, one a line; BPGError where it is missing or empty."""
    if not path.is_file():
        raise BPGError(f"{path}: no such id list; run the prepare stage")
    names = path.read_text(encoding="utf-8").split()
    if not names:
        raise BPGError(f"{path}: lists no picture")
    return names
