"""What the networks were trained with: commit, versions, hardware. Kept apart from their numbers.

A record is filed under the digest of the network that it describes. It is not an output of a stage,
for it never repeats, and yet it is found again whichever network DVC puts back into place.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from bpg.errors import BPGError
from bpg.resumable import file_digest

UNKNOWN = "not recorded in this checkout: from DVC's cache"


class Provenance(BaseModel):
    """One training: commit, hardware, versions of packages (any others); the `seconds` it took."""

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, str]

    commit: str
    hardware: str
    precision: str
    threads: int
    seconds: float

    def __str__(self) -> str:
        versions = ", ".join(f"{name} {number}" for name, number in self.__pydantic_extra__.items())
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"{versions}; {self.hardware}, {self.precision}, {threads}"


@dataclass(frozen=True)
class Record:
    """A run ("VARIANT SEED"), its network's SHA-256, and how that was trained, if known."""

    run: str
    model: str
    provenance: Provenance | None


def read_records(folder: Path, models: Mapping[str, Path]) -> list[Record]:
    """Look up how networks were trained; a network without a record is no error.

    Args:
        folder: Where the records are, DIGEST.json each.
        models: {run: the network's file}.

    Raises:
        BPGError: A network is missing, or a file is not a record; the message names it.
    """
    records = []
    for run, model in models.items():
        if not model.is_file():
            raise BPGError(f"{model}: missing; train {run} again")
        digest = file_digest(model)
        path = folder / f"{digest}.json"
        found = None
        if path.exists():
            try:
                found = Provenance.model_validate_json(path.read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError, ValidationError) as error:
                raise BPGError(f"{path}: not what a training was made with; delete it") from error
        records.append(Record(run, digest, found))
    return records


def lines(records: Sequence[Record]) -> list[str]:
    """Describe versions and hardware in a line for each kind, with its runs if there are several.

    Commits and times are left out, so that equal runs give equal lines.
    """
    groups: dict[str, list[str]] = {}
    for record in records:
        text = UNKNOWN if record.provenance is None else str(record.provenance)
        groups.setdefault(text, []).append(record.run)
    if len(groups) == 1:
        return list(groups)
    return [f"{', '.join(runs)}: {text}" for text, runs in groups.items()]


def document(records: Sequence[Record]) -> str:
    """Return the text of results/provenance.json.

    A list of {"commit", "trained with", "runs": {run: {"model": SHA-256, "seconds"}}}.
    """
    groups: dict[tuple[str, str], dict[str, dict[str, object]]] = {}
    for record in records:
        found = record.provenance
        key = ("unknown", UNKNOWN) if found is None else (found.commit, str(found))
        entry: dict[str, object] = {"model": record.model}
        if found is not None:
            entry["seconds"] = found.seconds
        groups.setdefault(key, {})[record.run] = entry
    entries = [
        {"commit": commit, "trained with": text, "runs": runs}
        for (commit, text), runs in groups.items()
    ]
    return json.dumps(entries, indent=2) + "\n"
