"""What `make check` says before anything runs: mistakes in parameters, and in the checkout."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bpg.errors import BPGError
from bpg.strict_yaml import read_as
from pipeline.params import RENAMED, Dataset, Parameters, Recipe, read_parameters
from pipeline.paths import RESULTS, ROOT, RUNS, UNFINISHED


def problems(root: Path) -> Iterator[str]:
    """Say what is wrong with a checkout, and the remedy.

    Args:
        root: The folder of dvc.yaml.

    Yields:
        One line for each problem.
    """
    yield from links(root)
    try:
        git = subprocess.run(
            ("git", "rev-parse", "--git-dir"), cwd=root, capture_output=True, check=False
        )
    except OSError as error:
        yield f"git: {error.strerror}; DVC needs it: install git"
        return
    said = git.stderr.decode(errors="replace")
    if "dubious ownership" in said:
        yield (
            f"{root.resolve()}: belongs to another user, so that git and `dvc exp run` refuse it; "
            f"git config --global --add safe.directory {root.resolve()}"
        )
    elif "not a git repository" in said:
        yield (
            f"{root.resolve()}: not a git checkout, which DVC needs; clone the repository, or "
            "git init && git add --all && git commit --message Start"
        )
    elif git.returncode:
        yield f"git: {' '.join(said.split())[:200]}"
    elif _has_no_commit(root):
        yield (
            f"{root.resolve()}: a git repository without a commit, in which DVCLive fails: "
            "git add --all && git commit --message Start"
        )


def _has_no_commit(root: Path) -> bool:
    command = ("git", "rev-parse", "--verify", "--quiet", "HEAD")
    return subprocess.run(command, cwd=root, capture_output=True, check=False).returncode != 0


def links(root: Path) -> Iterator[str]:
    """Say which of the folders that DVC writes are symbolic links: it fails after the work is done.

    Args:
        root: The folder of dvc.yaml.

    Yields:
        One line for each.
    """
    for folder in (Path("data"), RUNS, RESULTS, UNFINISHED):
        if (root / folder).is_symlink():
            yield (
                f"{folder}: a symbolic link, behind which DVC stores nothing; make it a folder, "
                "and move the whole checkout or DVC's cache (dvc cache dir) to the other disk"
            )


def unused(root: Path, parameters: Parameters) -> Iterator[str]:
    """Say what is wrong in the files that are not in use, and which variants are not trained.

    Args:
        root: The folder of dvc.yaml.
        parameters: Those in use.

    Yields:
        One line for each.
    """
    kinds: tuple[tuple[str, Any], ...] = (("dataset", Dataset), ("recipe", Recipe))
    for folder, kind in kinds:
        for path in sorted((root / "params" / folder).glob("*.yaml")):
            try:
                read_as(path, kind, RENAMED)
            except BPGError as error:
                yield str(error)
    trained = parameters.switches.variants.trained()
    left = ", ".join(name for name in parameters.variants if name not in trained)
    if left:
        yield f"{root / 'params.yaml'}: variants: not trained, as no list has them: {left}"


def main() -> None:
    """Read the parameters and look at the checkout; end with status 1 where something is wrong."""
    found = []
    try:
        parameters = read_parameters(ROOT)
        for line in unused(ROOT, parameters):
            print(f"check: warning: {line}")
    except BPGError as error:
        found.append(str(error))
    found += problems(ROOT)
    for line in found:
        print(f"check: error: {line}", file=sys.stderr)
    if found:
        sys.exit(1)
    print("check: parameters and checkout are in order")


if __name__ == "__main__":
    main()
