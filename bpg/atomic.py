"""Files and folders that appear whole or not at all."""

import csv
import glob
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write a file under a temporary name and move it into place if the block succeeds.

    The data are flushed to disk before the rename, so that a crash leaves either the old file or
    the new one.

    Args:
        path: The file to write; its folder is created.

    Yields:
        The temporary path, beside `path`.

    Raises:
        OSError: The file cannot be written; the error names `path`.
    """
    partial = _partial(path)
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        _name(error, partial, path)
        raise
    finally:
        partial.unlink(missing_ok=True)


def flush_folder(folder: Path) -> None:
    """Make renames and deletions in a folder last through a loss of power."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextmanager
def whole_directory(path: Path) -> Iterator[Path]:
    """Fill a temporary folder that replaces the old one if the block succeeds.

    The disk is flushed first, so that no file of the new folder is empty after a crash.

    Args:
        path: The folder to write; its parent is created.

    Yields:
        The temporary folder, beside `path` and empty.

    Raises:
        OSError: The folder cannot be written; the error names `path`.
    """
    partial = _partial(path)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        os.sync()  # once for all files: a flush of each costs milliseconds
        if path.exists():
            shutil.rmtree(path)
        partial.rename(path)
    except OSError as error:
        _name(error, partial, path)
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _partial(path: Path) -> Path:
    """Return the temporary name beside `path`; delete what killed processes left behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for stale in path.parent.glob(f".partial-*-{glob.escape(path.name)}"):
        number = stale.name.split("-")[1]
        if number.isdecimal() and not _runs(int(number)):
            shutil.rmtree(stale) if stale.is_dir() else stale.unlink(missing_ok=True)
    # The suffix stays last: writers such as Pillow choose the format by it.
    return path.with_name(f".partial-{os.getpid()}-{path.name}")


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True  # someone else's, or not a process number at all: left alone
    return True


def _name(error: OSError, partial: Path, path: Path) -> None:
    """Make a write error, which names no file or the temporary one, name `path`."""
    if error.filename is None or str(error.filename).startswith(str(partial)):
        error.filename = str(path)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON, whole or not at all.

    Args:
        path: File to write.
        value: Anything that JSON can hold.

    Raises:
        ValueError: There is a NaN or an infinity in `value`.
    """
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write dicts as CSV.

    Args:
        path: File to write, whole or not at all.
        columns: Keys of the dicts, in the order of the columns.
        rows: The dicts; None becomes an empty field.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
