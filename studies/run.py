"""Read a study and run one of its settings as a DVC experiment."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from dvc.api import metrics_show
from dvc.exceptions import DvcException
from pydantic import Field, ValidationError, field_validator

from bpg.errors import BPGError
from bpg.variants import VARIANTS
from stages.parameters import Section, Switches, read_section

Value = int | float | bool | str


class Study(Section):
    """studies/NAME.yaml: what is trained, and {setting: {parameter: value}}.

    A parameter is a key of params.yaml or, behind `recipe:` or `dataset:`, of the parameter file
    that params.yaml picks.
    """

    title: str
    variants: Annotated[list[str], Field(min_length=1)]
    settings: Annotated[dict[str, dict[str, Value]], Field(min_length=2)]

    @field_validator("variants")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        for name in names:
            if name not in VARIANTS:
                raise ValueError(f"unknown variant {name!r}; known: {', '.join(VARIANTS)}")
        return names


def read_study(path: Path) -> Study:
    """Read a study; BPGError names the file and the key of what is wrong."""
    return read_section(path, Study)


def with_changes(switches: Switches, extra: Sequence[str]) -> Switches:
    """Return params.yaml as it is with the further `-S` arguments KEY=VALUE."""
    values = switches.model_dump(by_alias=True)
    for change in extra:
        key, _, value = change.partition("=")
        if key in values:
            values[key] = yaml.safe_load(value)
    try:
        return Switches.model_validate(values)
    except ValidationError as error:
        raise BPGError(f"-S {' -S '.join(extra)}: {error.errors()[0]['msg']}") from error


def run_setting(
    study: Study, setting: str, label: str, switches: Switches, extra: Sequence[str]
) -> dict[str, Any]:
    """Run one setting as the experiment `study-LABEL`; return its results/metrics.json.

    `extra` are further `-S` arguments. BPGError when DVC fails; it has said why.
    """
    name = f"study-{label}".replace("_", "-")
    # An earlier experiment of this name is in the way; what it computed stays in the cache.
    subprocess.run(["dvc", "exp", "remove", "--quiet", name], capture_output=True, check=False)
    changes = overrides(study, setting, switches) + list(extra)
    command = ["dvc", "exp", "run", "--temp", "--name", name]
    for change in changes:
        command += ["--set-param", change]
    if subprocess.run([*command, "tables"], check=False).returncode:
        raise BPGError(f"the setting {setting!r} failed; see above. It was: {' '.join(command)}")
    return _metrics(name)


def overrides(study: Study, setting: str, switches: Switches) -> list[str]:
    """Return the setting as `dvc exp run -S` takes it, the study's variants included."""
    files = {
        "recipe": f"params/recipe/{switches.recipe}.yaml",
        "dataset": f"params/dataset/{switches.dataset}.yaml",
    }
    lists = {
        "train": [v for v in study.variants if VARIANTS[v].brn is None],
        "train_boundary": [v for v in study.variants if VARIANTS[v].brn is not None],
        "all": study.variants,
    }
    changes = [f"variants.{key}=[{','.join(names)}]" for key, names in lists.items()]
    for key, value in study.settings[setting].items():
        file, _, inside = key.rpartition(":")
        place = f"{files[file]}:{inside}" if file else inside
        changes.append(f"{place}={json.dumps(value)}")
    return changes


def _metrics(revision: str) -> dict[str, Any]:
    try:
        return metrics_show("results/metrics.json", rev=revision)
    except DvcException as error:
        raise BPGError(f"the experiment {revision} has no results/metrics.json: {error}") from error
