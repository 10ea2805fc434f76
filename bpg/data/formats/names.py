"""Labels and names of images, as annotation tools write them."""

import re
import unicodedata
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

_DRIVE = re.compile(r"[A-Za-z]:")
_DEEPEST = 16
"""Folders are read to this depth."""

_UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")


def label_text(value: Any) -> str:
    """Return a label as text, numbers too; empty if it is none.

    Letters with accents are brought to one form (NFC): tools on macOS write another.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    text = f"{value:.12g}" if isinstance(value, float) else str(value)
    return unicodedata.normalize("NFC", _printable(text)).strip()


def relative_names(*names: Any) -> tuple[str, ...]:
    """Return what a file calls an image as relative paths with forward slashes.

    Drives, leading slashes and steps upwards are dropped, so that a path can't point out of a
    folder. Each path is followed by its ends, down to the last part alone: tools write paths of the
    machine that they ran on, which begin somewhere above the folder of images.

    Args:
        names: Paths, the best one first; what is no text is skipped.
    """
    found: dict[str, None] = {}
    for name in names:
        if not isinstance(name, str) or "\0" in name:
            continue
        parts = [part for part in _printable(name).replace("\\", "/").split("/") if part.strip()]
        parts = [part for part in parts if part not in (".", "..")]
        if parts and _DRIVE.fullmatch(parts[0]):
            parts = parts[1:]
        parts = parts[-_DEEPEST:]
        found |= {"/".join(parts[start:]): None for start in range(len(parts))}
    return tuple(found)


def url_names(*urls: Any) -> tuple[str, ...]:
    """Return the paths in URLs of images, as `relative_names` does.

    Args:
        urls: With any scheme or none, such as Label Studio's `/data/local-files/?d=` followed by a
            path, or `/data/upload/1/0123abcd-name.jpg`: its uploads have eight hexadecimal digits
            before the name, so that the name without them is offered as well. What is no text is
            skipped.
    """
    paths = [path for url in urls if isinstance(url, str) for path in _url_paths(url)]
    names = relative_names(*paths)
    short = (_UPLOADED.sub("", name.rsplit("/", 1)[-1], count=1) for name in names)
    return tuple(dict.fromkeys((*names, *short)))


def _url_paths(url: str) -> Iterator[str]:
    try:
        parts = urlsplit(url)
        queried = parse_qs(parts.query).get("d", [])
    except ValueError:  # such as brackets that are no IPv6 address
        yield url
        return
    if parts.scheme == "data":
        return
    if parts.path.rstrip("/").endswith("/data/local-files") and queried:
        yield queried[-1]
        # A plus sign that was written as it is stands for a blank after parsing.
        yield unquote(parts.query.rpartition("d=")[2])
        return
    if not (parts.scheme or parts.netloc):  # a plain name may have # and ? in it
        yield unquote(url)
    yield unquote(parts.path)
    yield parts.path


def _printable(text: str) -> str:
    """Return text that can be written as UTF-8: JSON may hold halves of characters."""
    return text.encode("utf-8", "replace").decode()
