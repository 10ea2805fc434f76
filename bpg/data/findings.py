"""What a folder of images and strokes has that is wrong, or that its owner should know."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One line about a folder.

    Attributes:
        level: An error stops a training; a warning is suspicious; a note is worth knowing.
        text: What was found, and the remedy.
        images: The images that it is about, by their names.
    """

    level: Level
    text: str
    images: tuple[str, ...] = ()


def listed(names: Sequence[str], most: int = 3) -> str:
    """Name the first few of many, and how many more there are."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most:,} more" if len(names) > most else shown


def counted(number: int, what: str) -> str:
    """Return "1 image" or "2 images"."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")
