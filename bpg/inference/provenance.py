"""The record of a network's training, from wherever the network lies; loads no PyTorch."""

import json
from pathlib import Path
from typing import Any

FOLDER = "provenance"


def find_record(model: Path, digest: str) -> dict[str, Any] | None:
    """Look for the record of a training, filed under the digest of its network.

    Args:
        model: The network's file; the record is in a folder `provenance` above it.
        digest: SHA-256 of that file, or of what it was exported from.

    Returns:
        What `bpg.report.provenance.Provenance` holds; None if there is no readable record.
    """
    for folder in model.resolve().parents:
        path = folder / FOLDER / f"{digest}.json"
        if path.is_file():
            try:
                found = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError, RecursionError):
                return None
            return found if isinstance(found, dict) else None
    return None


def training_commit(model: Path, digest: str) -> str | None:
    """Return the commit that trained a network, if its record is found.

    Args:
        model: The network's file.
        digest: Its SHA-256.
    """
    commit = (find_record(model, digest) or {}).get("commit")
    return commit if isinstance(commit, str) else None
