"""What dvc.yaml declares about a stage: the only list of what it depends on and what it makes.

Read here without DVC, which need not be installed where a stage script is run by hand.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bpg.resumable import tree_digest
from bpg.strict_yaml import read_yaml
from pipeline.params import Parameters
from pipeline.paths import ROOT
from pipeline.variants import stage_of

# The code that runs, wherever the data are: dvc.yaml, stages/, pipeline/ and bpg/ are here.
CODE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Declared:
    """Paths of inputs (code, too) and outputs; parameters as {file: keys}, no keys for all."""

    inputs: tuple[str, ...]
    parameters: Mapping[str, tuple[str, ...]]
    outputs: tuple[str, ...]


def is_declared(stage: str) -> bool:
    """Say whether dvc.yaml has this stage."""
    return stage in _entries()


def declared(
    stage: str, parameters: Parameters, variant: str | None = None, seed: int | None = None
) -> Declared:
    """Return what dvc.yaml says about a stage, with its ${...} filled in.

    Args:
        stage: Name of the stage. With a variant, "train" stands for the stage that trains it.
        parameters: Have the values to fill in.
        variant: Of the run, for a stage that has runs.
        seed: Of the run.
    """
    names = {
        "dataset": parameters.switches.dataset,
        "recipe": parameters.switches.recipe,
        **_variables(),
    }
    if variant is not None:
        names |= {
            "item.variant": variant,
            "item.seed": str(seed),
            "item.round.name": variant,
            "item.round.init_from": str(parameters.variants[variant].init_from),
        }

    def fill(text: str) -> str:
        return re.sub(r"\$\{([\w.]+)\}", lambda match: names[match[1]], text)

    if stage == "train" and variant is not None:
        stage = stage_of(parameters.variants[variant])
    entry = _entries()[stage]
    files: dict[str, tuple[str, ...]] = {}
    for item in entry.get("params", []):
        # A plain word is a key of params.yaml.
        listed = item if isinstance(item, dict) else {"params.yaml": [item]}
        for file, keys in listed.items():
            files[fill(file)] = (*files.get(fill(file), ()), *map(fill, keys or ()))
    outputs = [*entry.get("outs", []), *entry.get("metrics", [])]
    return Declared(
        tuple(map(fill, entry["deps"])),
        files,
        tuple(fill(next(iter(o)) if isinstance(o, dict) else o) for o in outputs),
    )


def fingerprint(found: Declared) -> dict[str, Any]:
    """Return what work on a stage depends on.

    Args:
        found: What dvc.yaml declares.

    Returns:
        {input: digest, "file: key": value}. A missing input has None: the stage itself reports it.
    """
    result: dict[str, Any] = {}
    for file, keys in found.parameters.items():
        values = read_yaml(_place(file))
        for key in keys:
            result[f"{file}: {key}"] = _value(values, key)
        if not keys:
            result[file] = values
    for name in found.inputs:
        path = _place(name)
        # If a file is missing, the stage itself says so when it opens it.
        result[name] = tree_digest(path) if path.exists() else None
    return result


@cache
def _dvc_yaml() -> dict[str, Any]:
    return read_yaml(CODE / "dvc.yaml")


def _entries() -> dict[str, Any]:
    return _dvc_yaml()["stages"]


def _variables() -> dict[str, str]:
    """Return what dvc.yaml takes from files other than params.yaml, its `vars`: FILE:KEY."""
    found = {}
    for entry in _dvc_yaml().get("vars", []):
        file, _, key = entry.partition(":")
        found[key] = str(read_yaml(ROOT / file)[key])
    return found


def _place(name: str) -> Path:
    return (CODE if name.startswith(("bpg/", "pipeline/", "stages/")) else ROOT) / name


def _value(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values[part]
    return values
