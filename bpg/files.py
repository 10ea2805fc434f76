"""Files that users bring, read whole but never without a limit."""

from pathlib import Path

from bpg.errors import BPGError

_LIST_LIMIT = 64 * 2**20
"""Bytes of a list of names."""


def read_limited(path: Path, limit: int, otherwise: str) -> bytes:
    """Read a file that is not larger than it may be.

    Args:
        path: The file.
        limit: Bytes; of a larger file, no more than one byte beyond is read.
        otherwise: What errors say about a larger file, such as "; export it in parts".

    Raises:
        BPGError: It cannot be read, or is larger than `limit`; the message names it.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise BPGError(f"{path}: cannot be read ({error.strerror})") from error
    if len(data) > limit:
        raise BPGError(f"{path}: larger than {limit:,} bytes{otherwise}")
    return data


def read_lines(path: Path, what: str) -> list[str]:
    """Read a list that people write: one name a line, blanks inside allowed.

    Args:
        path: A text file in UTF-8, with or without a byte order mark.
        what: What a line holds, for errors: "class name".

    Returns:
        The lines without blanks around them, and without empty ones.

    Raises:
        BPGError: The file cannot be read, or is no text in UTF-8; the message names it.
    """
    try:
        text = read_limited(path, _LIST_LIMIT, f"; write one {what} a line").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BPGError(f"{path}: not UTF-8 text; write one {what} a line") from error
    return [line.strip() for line in text.splitlines() if line.strip()]
