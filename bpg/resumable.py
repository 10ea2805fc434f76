"""Resumable work: what is done is kept, and the next start does only what is left.

A process can be killed at any moment, and a machine can lose power. So a file counts as done only
if a journal beside it holds its digest and the digest still matches: half a file, a lost file or
half a line of the journal is simply done again, and no file needs its own flush to disk.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bpg.atomic import whole_directory, write_json, write_text
from bpg.errors import BPGError

_FINGERPRINT, _JOURNAL, _FINISHED = "fingerprint.json", "journal", "finished.json"
_CHECKPOINT = "checkpoint"
UNSURE_WAIT = 60
"""Seconds to wait for a lock that does not end with its process."""
_DISCARDED = ".discarded-"
_AT_ONCE = 256  # files
_SMALL = 2**18  # bytes: `hashlib.file_digest` clears as many for each file
_OWN = {_FINGERPRINT, _JOURNAL, _FINISHED, _CHECKPOINT}


class Work:
    """A folder of files that are kept until their stage is finished; `open_work` makes it.

    Args:
        folder: An existing folder. Files in it that are not done are deleted.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._done = self._verified()
        self._clear()
        # Rewritten: a truncated last line would otherwise run into the next one.
        lines = (f"{digest}  {name}\n" for name, digest in self._done.items())
        write_text(folder / _JOURNAL, "".join(lines))

    def __len__(self) -> int:
        return len(self._done)

    def done(self, *names: str) -> bool:
        """Say whether all of these files are done.

        Args:
            *names: Paths inside the work.
        """
        return all(name in self._done for name in names)

    def path(self, name: str) -> Path:
        """Return where the file `name` is; to write it, call `begin` first."""
        return self.folder / name

    def begin(self, *names: str) -> list[Path]:
        """Make room for files: create their folders and delete old versions.

        Files are never overwritten in place: they may share their disk blocks with an output.

        Args:
            *names: Paths inside the work.

        Returns:
            Where to write each of them.
        """
        paths = list(map(self.path, names))
        for name, path in zip(names, paths, strict=True):
            self._done.pop(name, None)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
        return paths

    @property
    def checkpoint(self) -> Path:
        """Where a training keeps its state: written atomically by itself, so not in the journal."""
        return self.folder / _CHECKPOINT

    def add(self, *names: str) -> None:
        """Count files as done.

        Args:
            *names: Paths inside the work, written where `begin` said.
        """
        digests = {name: file_digest(self.folder / name) for name in names}
        # One write for all, so that a kill rarely separates what belongs together.
        lines = "".join(f"{digest}  {name}\n" for name, digest in digests.items())
        with (self.folder / _JOURNAL).open("a", encoding="utf-8") as journal:
            journal.write(lines)
        self._done |= digests

    def publish(self, outputs: Mapping[str, Path]) -> None:
        """Put finished folders into place, each as a whole.

        The files also stay here, at no cost in disk space if the file system has hard links:
        whoever stores the outputs may still be stopped. `discard_served` deletes them.

        Args:
            outputs: {folder in the work: output}.
        """
        for name, output in outputs.items():
            with whole_directory(output) as folder:
                made = {""}
                for file in sorted(self._done):
                    if file.startswith(f"{name}/"):
                        target = file.removeprefix(f"{name}/")
                        if (parent := target.rpartition("/")[0]) not in made:
                            (folder / parent).mkdir(parents=True, exist_ok=True)
                            made.add(parent)
                        _link(f"{self.folder}/{file}", f"{folder}/{target}")

    def _verified(self) -> dict[str, str]:
        try:
            text = (self.folder / _JOURNAL).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return {}
        there = set(_files(self.folder))
        entries = {}
        for line in text.splitlines(keepends=True):
            digest, _, name = line.removesuffix("\n").partition("  ")
            if line.endswith("\n") and name in there:
                entries[name] = digest
        found = zip(entries, _digests(self.folder, [*entries]), strict=True)
        return {name: digest for name, digest in found if digest == entries[name]}

    def _clear(self) -> None:
        """Delete whatever is not done; never overwrite it, for it may share its disk blocks."""
        for name in list(_files(self.folder)):
            if name not in self._done and name not in _OWN:
                self.path(name).unlink()


@contextmanager
def open_work(
    folder: Path,
    fingerprint: Mapping[str, Any],
    outputs: Iterable[Path],
    say: Callable[[str], None],
) -> Iterator[Work]:
    """Open the work kept in a folder; start over if it belongs to something else.

    When the block ends without an error, the work is marked as finished. The caller must hold
    `exclusive`.

    Args:
        folder: Where the work is kept.
        fingerprint: All that the work depends on, {what: JSON value}: configuration and digests of
            inputs.
        outputs: Paths that the work makes.
        say: Gets one line that names what has changed if the work starts over.

    Yields:
        The work, with what is done already.

    Raises:
        OSError: A file cannot be written; the error names a file or `folder`.
    """
    wanted = json.loads(json.dumps(fingerprint))
    if folder.exists():
        found = _read_json(folder / _FINGERPRINT)
        if found != wanted:
            # A process killed before it had a journal has done nothing yet.
            if (folder / _JOURNAL).exists():
                say(f"starts over: {_changes(found, wanted)}")
            _discard(folder)
    if not folder.exists():
        folder.mkdir(parents=True)
        write_json(folder / _FINGERPRINT, wanted)
    try:
        yield Work(folder)
    except OSError as error:
        # A write error names no file.
        error.filename = error.filename or str(folder)
        raise
    write_json(folder / _FINISHED, [str(output) for output in outputs])


def discard_served(works: Path, read: Iterable[Path]) -> None:
    """Delete finished work whose outputs are being read.

    For whoever reads these outputs: by then they have been stored, and the work has served its
    purpose.

    Args:
        works: Folder of all works.
        read: Paths that are read; work is deleted if one of its outputs is among them or below
            them.
    """
    read = list(read)
    for left in works.glob(f"{_DISCARDED}*"):
        shutil.rmtree(left, ignore_errors=True)
    for note in works.glob(f"*/{_FINISHED}"):
        try:
            with FileLock(_lock(note.parent), timeout=0):
                outputs = [Path(output) for output in _read_json(note) or []]
                if any(o.is_relative_to(r) for o in outputs for r in read):
                    _discard(note.parent)
        except Timeout:
            continue  # another process is at it again


def _discard(folder: Path) -> None:
    """Delete a work, under another name: a half-deleted one would go unnoticed."""
    left = folder.with_name(f"{_DISCARDED}{os.getpid()}-{folder.name}")
    shutil.rmtree(left, ignore_errors=True)
    folder.rename(left)
    # Another stage may be deleting it at the same time, as a killed process's leftovers.
    shutil.rmtree(left, ignore_errors=True)


def _lock(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.lock")


@contextmanager
def exclusive(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Be the only process at the work in a folder, whether it exists or not.

    If another process is there, wait for its end: a killed `dvc repro` leaves the process of its
    stage running, and the next one starts another. The lock ends with the process, however that
    ends.

    Args:
        folder: Where the work is or will be kept.
        say: Gets a line if there is something to wait for.

    Raises:
        BPGError: The file system has no locks of the operating system, as some network file
            systems, and a lock file, which may be an old one, stays there for `UNSURE_WAIT`.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(_lock(folder))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"another process is at this stage; waiting for it to end (lock: {lock.lock_file})")
        try:
            # Where a lock ends with its process, it can be waited for as long as that takes.
            lock.acquire(timeout=-1 if _has_flock(Path(lock.lock_file)) else UNSURE_WAIT)
        except Timeout as error:
            raise BPGError(
                f"{lock.lock_file}: still there after {UNSURE_WAIT} s, on a file system on which "
                "locks do not end with their process; if no other process is at this stage, delete "
                "this file and run again"
            ) from error
    try:
        yield
    finally:
        lock.release()


def _has_flock(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.ENOSYS, errno.EOPNOTSUPP)
    return True


def file_digest(path: Path | str) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 pathlib takes as long as the rest
        if os.fstat(file.fileno()).st_size < _SMALL:
            return hashlib.sha256(file.read()).hexdigest()
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree_digest(path: Path) -> str:
    """Return one SHA-256 for a file, or for all names and contents below a folder.

    Python's compiled files and half-written files of killed processes do not count.
    """
    if path.is_file():
        return file_digest(path)
    names = sorted(_files(path, skip=_does_not_count), key=lambda name: name.split("/"))
    total = hashlib.sha256()
    for name, digest in zip(names, _digests(path, names), strict=True):
        total.update(f"{digest}  {name}\n".encode())
    return total.hexdigest()


def _files(folder: Path, skip: Callable[[str], bool] = lambda name: False) -> Iterator[str]:
    """Yield the files below a folder, by their paths in it, in any order; links to folders are left
    out. Without pathlib, which takes ten times as long."""
    left = [""]
    while left:
        below = left.pop()
        with os.scandir(folder / below) as entries:
            for entry in entries:
                if skip(entry.name):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    left.append(f"{below}{entry.name}/")
                elif os.path.isfile(entry):  # noqa: PTH113 of a link that leads nowhere, False
                    yield below + entry.name


def _digests(folder: Path, names: Sequence[str]) -> Iterator[str]:
    """Yield the SHA-256 of files below a folder, in their order."""
    # Threads: reading and hashing release the GIL. Many files at a time: handing one over takes
    # longer than reading it, if it is small.
    parts = [names[first : first + _AT_ONCE] for first in range(0, len(names), _AT_ONCE)]

    def digests(part: Sequence[str]) -> list[str]:
        return [file_digest(f"{folder}/{name}") for name in part]

    with ThreadPoolExecutor() as pool:
        for found in pool.map(digests, parts):
            yield from found


def _does_not_count(name: str) -> bool:
    return name == "__pycache__" or name.startswith(".partial-") or _is_temporary(name)


def _is_temporary(name: str) -> bool:
    return name.startswith(".") and name.endswith(".tmp")


def _changes(found: Any, wanted: dict[str, Any]) -> str:
    if not isinstance(found, dict):
        return "what the kept work belongs to cannot be read"
    changed = [name for name in {**found, **wanted} if found.get(name) != wanted.get(name)]
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    return f"changed since this work was begun: {', '.join(changed[:3])}{more}"


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links; if it is the disk, copying says so
        shutil.copyfile(source, target)
