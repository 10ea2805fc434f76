"""Official archives: fetch them, check them, read their members."""

import codecs
import errno
import glob
import hashlib
import lzma
import os
import re
import shutil
import stat
import struct
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, TypeVar
from urllib.parse import quote, urlsplit

import requests
from requests.exceptions import InvalidSchema, InvalidURL, MissingSchema
from tqdm import tqdm
from urllib3.exceptions import HTTPError

from bpg.atomic import whole_file
from bpg.errors import BPGError

MEMBER_LIMIT = 100 * 2**20
"""Bytes of a member that we read; a larger one would be a decompression bomb."""

PASSED_LIMIT = 64 * 2**30
"""Bytes of all members: even to skip them, a compressed archive must be unpacked."""

HEAD_LIMIT = 2**20
"""Bytes of a tar header's extensions, such as a longer name."""

SUMS_LIMIT = 2**24
"""Bytes of a mirror's SHA256SUMS."""

ATTEMPTS = 6
"""Transfers in a row that may fail without a byte of progress."""

FIRST_PAUSE = 1.0
"""Seconds before the first retry; each further pause is twice as long, at most a minute."""

_SUM_STYLES = (
    re.compile(r"(?P<digest>[0-9a-fA-F]{64}) [ *](?:\./)?(?P<name>.+)"),  # sha256sum
    re.compile(r"SHA256 ?\((?:\./)?(?P<name>.+)\) ?= ?(?P<digest>[0-9a-fA-F]{64})"),  # BSD, --tag
)
_TIMEOUT = (15, 60)  # seconds to connect, and between two packets
_CHUNK = 2**20
_T = TypeVar("_T")
_RETRIED_STATUS = {408, 425, 429, 500, 502, 503, 504}
BROKEN_ARCHIVE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    NotImplementedError,  # a compression that zipfile lacks
    RuntimeError,  # an encrypted zip
    LookupError,  # a tar's header that ends too soon
    MemoryError,  # a header that promises too much
)


class _BrokenTransferError(Exception):
    """A transfer that is worth another attempt."""


@dataclass(frozen=True)
class _Entry:
    name: str
    regular: bool
    size: int
    position: int  # in the archive's file, for the progress bar
    read: Callable[[], bytes]


def obtain(name: str, url: str, checksum: str | None, folder: Path, mirror: str | None) -> Path:
    """Put an official archive into a folder, checked against its checksum.

    A file that is already in place and right is kept. An interrupted download stays in `folder` as
    NAME.CHECKSUM.part, and the next call resumes it.

    Args:
        name: File name of the archive.
        url: Address of the file, unless there is a mirror.
        checksum: "md5:..." or "sha256:..." (the first 8 digits of which suffice); None or "" if the
            publisher gives none. Then nothing is checked.
        folder: Where to put the archive; it is created.
        mirror: A folder or http(s) address that has a file of that name. Its SHA256SUMS, if there
            is one, replaces `checksum`.

    Returns:
        Path of the archive.

    Raises:
        BPGError: The source is missing or unreachable, the checksum is wrong or malformed, the
            mirror's SHA256SUMS does not list the archive, `name` is not a plain file name, or the
            disk is full.
    """
    if name in ("", "..") or PurePosixPath(name).name != name:
        raise BPGError(f"archive name {name!r}: must be a plain file name")
    expected = _mirror_checksum(mirror, name) if mirror else None
    expected = expected or checksum or None
    if expected:
        _split_checksum(expected, name)
    target = folder / name
    if expected and target.is_file() and _digest(target, expected).startswith(expected):
        return target
    folder.mkdir(parents=True, exist_ok=True)
    if mirror and not is_url(mirror):
        _copy(Path(mirror) / name, target, expected)
    else:
        address = f"{mirror.rstrip('/')}/{quote(name)}" if mirror else url
        _download_checked(address, target, expected)
    return target


def read_members(
    archive: Path, wanted: Callable[[str], bool], limit: int = MEMBER_LIMIT
) -> Iterator[tuple[str, bytes]]:
    """Read the wanted files of a tar (plain, gz, bz2, xz) or zip in one pass.

    Folders are skipped.

    Args:
        archive: The tar or zip.
        wanted: Says by its name whether a member is to be read.
        limit: Bytes that a wanted member may have.

    Yields:
        (name, content) of each wanted file.

    Raises:
        BPGError: The archive is missing, cut off or of another type, or too large when unpacked; or
            a wanted member has an absolute path, goes up by "..", is not a regular file, or is
            larger than `limit`. The message names the archive and the member.
    """
    try:
        raw = archive.open("rb")
    except OSError as error:
        raise BPGError(f"{archive}: cannot be read ({error.strerror}); fetch it first") from error
    with raw, _progress(archive.stat().st_size, f"read {archive.name}") as bar:
        passed = 0
        is_zip = raw.read(2) == b"PK"
        raw.seek(0)
        try:
            for entry in (_zip_entries if is_zip else _tar_entries)(raw):
                passed += entry.size
                if passed > PASSED_LIMIT:
                    raise BPGError(
                        f"{archive}: with member {entry.name!r} it comes to {passed:,} bytes, more "
                        f"than the limit of {PASSED_LIMIT:,}"
                    )
                if wanted(entry.name):
                    _refuse_unsafe(archive, entry, limit)
                    yield entry.name, entry.read()
                bar.update(max(0, entry.position - bar.n))
        except BROKEN_ARCHIVE as error:
            raise BPGError(
                f"{archive}: no tar or zip archive, or broken or cut off ({_one_line(error)}); "
                "delete it and fetch it again"
            ) from error


def extract(
    archive: Path,
    destination: Path,
    members: Callable[[str], str | None],
    limit: int = MEMBER_LIMIT,
) -> int:
    """Unpack files of a tar or zip below a folder.

    What was written before an error stays: pass a folder of `bpg.atomic.whole_directory`.

    Args:
        archive: The tar or zip.
        destination: The folder.
        members: Gives the path below `destination` by a member's name, or None to leave it out.
        limit: Bytes that an unpacked member may have.

    Returns:
        The number of files.

    Raises:
        BPGError: As for `read_members`; or a path leaves `destination`; or the disk is full.
    """
    count = 0
    for name, data in read_members(archive, lambda name: members(name) is not None, limit):
        relative = members(name)
        if relative is None or not _stays_below(relative):
            raise BPGError(f"{archive}: member {name!r} would be written outside {destination}")
        with disk_full_named(destination):
            path = destination / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        count += 1
    return count


@contextmanager
def disk_full_named(folder: Path, needed: int | None = None) -> Iterator[None]:
    """Turn "no space left" inside the block into a BPGError with needed and free bytes.

    Args:
        folder: A folder on that disk.
        needed: Bytes that the block needs, if known.

    Raises:
        BPGError: The disk or the quota is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _disk_full(folder, needed) from error


# Sources


def is_url(mirror: str) -> bool:
    """Say whether a mirror is an address, not a folder."""
    return urlsplit(mirror).scheme in ("http", "https")


def _mirror_checksum(mirror: str, name: str) -> str | None:
    """Return the mirror's own checksum of `name`; None if it has no SHA256SUMS."""
    place = f"{mirror.rstrip('/')}/SHA256SUMS"
    text = _fetch_text(place) if is_url(mirror) else _read_text(Path(mirror))
    if text is None:
        return None
    for line in text.splitlines():
        for style in _SUM_STYLES:
            entry = style.fullmatch(line.strip())
            if entry and entry["name"] == name:
                return f"sha256:{entry['digest'].lower()}"
    raise BPGError(f"{place}: has no valid line for {name}; add it with sha256sum")


def _read_text(folder: Path) -> str | None:
    if not folder.is_dir():
        raise BPGError(f"mirror {folder}: no such folder (nor an http or https address)")
    try:
        with (folder / "SHA256SUMS").open("rb") as file:
            return _decode(file.read(SUMS_LIMIT))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BPGError(f"{folder / 'SHA256SUMS'}: cannot be read ({error.strerror})") from error


def _decode(data: bytes) -> str:
    """Decode a text file of unknown origin: PowerShell writes UTF-16, Windows editors a mark."""
    utf_16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if utf_16 else "utf-8-sig", errors="replace")


def _fetch_text(url: str) -> str | None:
    def fetch() -> str | None:
        with requests.get(url, stream=True, timeout=_TIMEOUT) as response:
            if response.status_code in (404, 410):
                return None
            _check_status(response, url)
            return _decode(response.raw.read(SUMS_LIMIT, decode_content=True))

    return _retried(fetch, url, progress=lambda: 0)


def _copy(source: Path, target: Path, expected: str | None) -> None:
    if not source.is_file():
        raise BPGError(f"{source}: no such file in the mirror; put the archive there by this name")
    if target.exists() and source.samefile(target):
        # Only a wrong file gets here; copying it onto itself would not mend it.
        _check(target, expected, source)
        return
    size = source.stat().st_size
    _check_room(target.parent, size)
    with disk_full_named(target.parent, size), whole_file(target) as partial:
        shutil.copyfile(source, partial)
        _check(partial, expected, source)


def _download_checked(url: str, target: Path, expected: str | None) -> None:
    # The checksum in the name keeps the halves of two different files apart.
    mark = expected.partition(":")[2][:8] if expected else "unchecked"
    part = target.with_name(f"{target.name}.{mark}.part")
    _retried(lambda: _transfer(url, part), url, progress=lambda: _size(part))
    try:
        _check(part, expected, url)
    except BPGError:
        part.unlink()
        raise
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(target)
    for stale in target.parent.glob(f"{glob.escape(target.name)}.*.part"):
        stale.unlink()


# One transfer


def _retried(action: Callable[[], _T], url: str, progress: Callable[[], int]) -> _T:
    """Call `action` until it succeeds or ATTEMPTS calls in a row brought no progress."""
    failures, best = 0, progress()
    while True:
        try:
            return action()
        except (InvalidSchema, InvalidURL, MissingSchema) as error:
            raise BPGError(f"{url}: no valid address ({_one_line(error)})") from error
        except (requests.RequestException, HTTPError, _BrokenTransferError) as error:
            failures += 1
            if progress() > best:
                failures, best = 1, progress()
            if failures >= ATTEMPTS:
                raise BPGError(
                    f"{url}: download failed ({_one_line(error)}); run again to resume it, or put "
                    "the file into a folder and name that folder as mirror"
                ) from error
            time.sleep(min(60.0, FIRST_PAUSE * 2 ** (failures - 1)))


def _transfer(url: str, part: Path) -> None:
    """Complete `part`, resuming where it ends if the server supports that."""
    done = _size(part)
    # Identity: some servers would wrap a .tgz into another gzip.
    headers = {"Accept-Encoding": "identity"}
    if done:
        headers["Range"] = f"bytes={done}-"
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
        if response.status_code == 416 and done:
            if response.headers.get("Content-Range", "") == f"bytes */{done}":
                return
            part.unlink()
            raise _BrokenTransferError("the server has no such range")
        _check_status(response, url)
        if response.status_code == 206:
            if not response.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
                part.unlink(missing_ok=True)
                raise _BrokenTransferError("the server sent another range")
        else:
            done = 0
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise BPGError(f"{url}: the server sent a web page instead of the file")
        _save(response, part, done)


def _save(response: requests.Response, part: Path, done: int) -> None:
    length = response.headers.get("Content-Length", "")
    total = done + int(length) if length.isdecimal() else None
    if total:
        _check_room(part.parent, total - done)
    name = part.name.rsplit(".", 2)[0]
    with (
        disk_full_named(part.parent, total),
        part.open("ab" if done else "wb") as file,
        _progress(total, f"fetch {name}", done) as bar,
    ):
        for chunk in response.raw.stream(_CHUNK, decode_content=False):
            file.write(chunk)
            bar.update(len(chunk))
    if total is not None and _size(part) != total:
        raise _BrokenTransferError(f"{_size(part):,} of {total:,} bytes came")


def _check_status(response: requests.Response, url: str) -> None:
    if response.status_code in _RETRIED_STATUS:
        raise _BrokenTransferError(f"HTTP status {response.status_code}")
    if response.status_code not in (200, 206):
        raise BPGError(
            f"{url}: the server answers with HTTP status {response.status_code}; "
            "check the address, or put the file into a folder and name that folder as mirror"
        )


# Checks


def _split_checksum(checksum: str, name: str) -> tuple[str, str]:
    algorithm, _, digest = checksum.partition(":")
    # The first digits of a SHA-256 will do: torchvision publishes eight, in its file names.
    digits = {"md5": "32", "sha256": "8,64"}.get(algorithm)
    if not digits or not re.fullmatch(rf"[0-9a-f]{{{digits}}}", digest):
        raise BPGError(
            f"{name}: checksum {checksum!r} must be md5:<32 hex> or sha256:<8 to 64 hex>"
        )
    return algorithm, digest


def _digest(path: Path, like: str) -> str:
    algorithm, _ = _split_checksum(like, path.name)
    with path.open("rb") as file:
        # Not for security: md5 is what VOC's and SBD's publishers and users quote.
        digest = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False))
    return f"{algorithm}:{digest.hexdigest()}"


def _check(path: Path, expected: str | None, source: str | Path) -> None:
    if expected is None:
        return
    got = _digest(path, expected)
    if not got.startswith(expected):
        raise BPGError(
            f"{source}: wrong checksum, expected {expected}, got {got}; nothing of it was kept: "
            "run again, or give a mirror that has the right file"
        )


def _check_room(folder: Path, needed: int) -> None:
    if needed > shutil.disk_usage(folder).free:
        raise _disk_full(folder, needed)


def _disk_full(folder: Path, needed: int | None) -> BPGError:
    free = shutil.disk_usage(folder).free
    need = f"{needed:,} bytes needed, " if needed is not None else ""
    return BPGError(f"{folder}: the disk is full ({need}{free:,} free); make room and run again")


def _refuse_unsafe(archive: Path, entry: _Entry, limit: int) -> None:
    place = f"{archive}: member {entry.name!r}"
    if not _stays_below(entry.name):
        raise BPGError(f"{place} is absolute or goes up by '..': refused")
    if not entry.regular:
        raise BPGError(f"{place} is a link or device, not a regular file: refused")
    if entry.size > limit:
        raise BPGError(f"{place} has {entry.size:,} bytes, more than the limit of {limit:,}")


def _stays_below(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


# Reading


_IN_MEMORY = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


class _Member(tarfile.TarInfo):
    """A tar header, which tarfile reads into memory as a whole; refused if it is a bomb."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _IN_MEMORY and self.size > HEAD_LIMIT:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes")
        return super()._proc_member(archive)  # type: ignore[misc]  # the stub has no private names

    def _refuse_sparse(self, *arguments: object) -> None:
        # Their maps are read into memory with the header, however long; no data set has them.
        raise tarfile.ReadError("a sparse file")

    _proc_sparse = _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse_sparse


def _tar_entries(raw: BinaryIO) -> Iterator[_Entry]:
    with tarfile.open(fileobj=raw, mode="r:*", tarinfo=_Member) as tar:
        for member in tar:
            if member.isdir():
                continue

            def read(member: tarfile.TarInfo = member) -> bytes:
                file = tar.extractfile(member)
                return file.read() if file else b""

            yield _Entry(member.name, member.isreg(), member.size, raw.tell(), read)


def _zip_entries(raw: BinaryIO) -> Iterator[_Entry]:
    with zipfile.ZipFile(raw) as archive:
        # In the order on disk, so that the disk reads ahead.
        for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
            if info.is_dir():
                continue
            # Zips made on Unix keep the file type here; 0 stands for none given.
            kind = stat.S_IFMT(info.external_attr >> 16)
            position = info.header_offset + info.compress_size

            def read(info: zipfile.ZipInfo = info) -> bytes:
                return archive.read(info)

            yield _Entry(info.filename, kind in (0, stat.S_IFREG), info.file_size, position, read)


def _progress(total: int | None, what: str, initial: int = 0) -> tqdm:
    return tqdm(
        total=total,
        initial=initial,
        desc=what,
        unit="B",
        unit_scale=True,
        disable=None,  # silent if nobody is watching, such as in a log file
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
