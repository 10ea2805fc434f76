"""What the runs were trained with; kept apart from their numbers."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from bpg.errors import BPGError


class Provenance(BaseModel):
    """One training: commit, hardware, versions of packages (any others); `seconds` it took."""

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, str]

    commit: str
    hardware: str
    precision: str
    threads: int
    seconds: float

    def __str__(self) -> str:
        versions = ", ".join(f"{name} {number}" for name, number in self.model_extra.items())
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"commit {self.commit}; {versions}; {self.hardware}, {self.precision}, {threads}"


Makings = list[tuple[str, dict[str, float]]]


def read_provenance(runs: Path, variants: Sequence[str], seeds: Sequence[int]) -> Makings:
    """Read runs/VARIANT/SEED/provenance.json of all pairs and put equal ones together.

    Returns (what they were made with, {"VARIANT SEED": seconds of training}), as a rule one.
    BPGError names a file that is missing or not of this kind.
    """
    groups: dict[str, dict[str, float]] = {}
    for variant in variants:
        for seed in seeds:
            path = runs / variant / str(seed) / "provenance.json"
            try:
                found = Provenance.model_validate_json(path.read_text(encoding="utf-8"))
            except FileNotFoundError:
                raise BPGError(f"{path}: missing; train {variant}, {seed} anew") from None
            except (OSError, UnicodeDecodeError, ValidationError) as error:
                raise BPGError(f"{path}: not what a training was made with; train anew") from error
            groups.setdefault(str(found), {})[f"{variant} {seed}"] = found.seconds
    return list(groups.items())


def lines(makings: Makings) -> list[str]:
    """Say it in one line for each way of making, with the runs where there are several."""
    if len(makings) == 1:
        return [makings[0][0]]
    return [f"{', '.join(runs)}: {text}" for text, runs in makings]


def document(makings: Makings) -> str:
    """Return results/provenance.json: a list of {"trained with", "seconds": {run: s}}."""
    entries: list[Mapping[str, Any]] = [
        {"trained with": text, "seconds": runs} for text, runs in makings
    ]
    return json.dumps(entries, indent=2) + "\n"
