"""Delete what a killed DVC process left truncated or locked: it writes these two files in place.

`dvc.lock` says what every stage was made from, `.dvc/tmp/rwlock` which process is using which path.
Without the first, DVC finds finished stages in its cache; it creates the second anew.

DVC never forgets a stage, such as one of a seed that is no longer run, yet it reads and writes all
of `dvc.lock` at every stage, in pure Python. So former stages are deleted, too; should they come
back, DVC finds them in its cache.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import yaml
import zc.lockfile

from bpg.atomic import write_text
from bpg.errors import BPGError
from pipeline.jobs import stage_names
from pipeline.params import read_parameters
from pipeline.paths import ROOT
from pipeline.run_stage import is_dvc

PATIENCE = 10  # seconds, for another DVC that is between two stages


def repair() -> None:
    """Delete `dvc.lock` and DVC's table of locks if DVC could not read them.

    Prints a line for each. Also drops stages from `dvc.lock` that the pipeline no longer has.

    Raises:
        BPGError: Another DVC process is at work, and does not end within `PATIENCE`.
    """
    temporary = ROOT / ".dvc/tmp"
    if not temporary.is_dir():
        return
    alone = _lock(temporary / "lock")
    try:
        lock, table = ROOT / "dvc.lock", temporary / "rwlock"
        if lock.is_file() and not _is_whole(lock):
            lock.unlink()
            print("repair: dvc.lock was cut off: deleted; DVC looks into its cache instead")
        elif lock.is_file():
            _forget_former_stages(lock)
        if table.is_file() and not _is_held(table):
            table.unlink()
            print("repair: .dvc/tmp/rwlock was cut off, or of a process that has ended: deleted")
    finally:
        alone.close()


def _lock(path: Path) -> zc.lockfile.LockFile:
    """Take the lock that DVC holds whenever it writes either file, though not while a stage runs.

    A DVC whose parent was killed holds it for moments, between two stages: so wait for a while.
    """
    for _ in range(int(PATIENCE / 0.1)):
        try:
            return zc.lockfile.LockFile(str(path))
        except zc.lockfile.LockError:
            time.sleep(0.1)
    raise BPGError("another DVC is at work here; wait for it to end")


def _is_whole(lock: Path) -> bool:
    # Slow to import, and needed only here.
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA  # noqa: PLC0415
    from voluptuous import Invalid  # noqa: PLC0415

    try:
        text = lock.read_text(encoding="utf-8")
        COMPILED_LOCKFILE_SCHEMA(_load(text))
    except (UnicodeDecodeError, yaml.YAMLError, Invalid):
        return False
    # Half a line may be half a digest: DVC would trust it and run the stage again.
    return text.endswith("\n")


def _forget_former_stages(lock: Path) -> None:
    try:
        current = stage_names(read_parameters(ROOT))
    except BPGError:
        return  # `make check` reports it
    content = _load(lock.read_text(encoding="utf-8"))
    stages = content.get("stages", {})
    kept = {name: entry for name, entry in stages.items() if name in current}
    if former := len(stages) - len(kept):
        write_text(lock, yaml.safe_dump(content | {"stages": kept}, sort_keys=False))
        print(
            f"repair: deleted {former} entries of dvc.lock: the pipeline no longer has such stages"
        )


def _load(text: str) -> Any:
    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506


def _is_held(table: Path) -> bool:
    """Say whether a living DVC process holds any of these locks; process numbers are reused."""
    try:
        held = json.loads(table.read_text(encoding="utf-8"))
        readers = (one for several in held.get("read", {}).values() for one in several)
        holders = [*held.get("write", {}).values(), *readers]
        numbers = {int(holder["pid"]) for holder in holders}
    except (ValueError, TypeError, KeyError, AttributeError):
        return False
    return not held or any(map(_lives_as_dvc, numbers))


def _lives_as_dvc(number: int) -> bool:
    try:
        return is_dvc(psutil.Process(number))
    except psutil.Error:
        return False


def main() -> None:
    """Repair, as `make repair` does; an error is one line and status 1."""
    try:
        repair()
    except BPGError as error:
        sys.exit(f"repair: error: {error}")
