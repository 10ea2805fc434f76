"""Read a study and run one of its settings as a DVC experiment."""

import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import yaml
from dvc.api import DVCFileSystem, metrics_show
from dvc.exceptions import DvcException
from numpy.typing import NDArray
from pydantic import Field, StrictFloat, StrictInt, ValidationError

from bpg.errors import BPGError
from bpg.evaluation.comparison import Counts
from bpg.strict_yaml import read_as
from bpg.variants import Variants
from pipeline.params import Section, Switches
from pipeline.paths import ROOT, run_layout
from pipeline.variants import make_lists

Value = int | float | bool | str | list[StrictInt | StrictFloat]
DVC = (sys.executable, "-m", "dvc")
COMMON = ("dataset", "recipe", "seeds", "variants")  # what no setting may change
POLL = 3  # seconds between two looks at DVC's queue, at least
SHARE = 10  # times what a look takes, which is seconds of a core that the trainings want
RESTART = 60  # seconds until new workers are started where none is at work


class Found(NamedTuple):
    """Results of an experiment.

    Attributes:
        metrics: results/metrics.json.
        counts: {variant: its counts, seed by seed}.
        trained_with: What its networks were trained with.
    """

    metrics: dict[str, Any]
    counts: Counts
    trained_with: list[str]


class Study(Section):
    """studies/NAME.yaml: what is trained, and {setting: {parameter: value}}.

    A parameter is a key of params.yaml or, after `recipe:` or `dataset:`, of the parameter file
    that params.yaml picks. The others are compared to the setting `reference`.
    """

    title: str
    reference: str
    variants: Annotated[list[str], Field(min_length=1)]
    settings: Annotated[dict[str, dict[str, Value]], Field(min_length=2)]


def read_study(path: Path, variants: Variants) -> Study:
    """Read a study.

    Args:
        path: studies/NAME.yaml.
        variants: All variants by name.

    Raises:
        BPGError: The file is missing or wrong, or has an unknown variant; the message names the
            file and the key.
    """
    study = read_as(path, Study)
    for name in study.variants:
        if name not in variants:
            raise BPGError(
                f"{path}: variants: unknown variant {name!r}; known: {', '.join(variants)}"
            )
    if study.reference not in study.settings:
        known = ", ".join(study.settings)
        raise BPGError(f"{path}: reference: unknown setting {study.reference!r}; known: {known}")
    for setting, changes in study.settings.items():
        for key in changes:
            if key.partition(".")[0] in COMMON:
                raise BPGError(
                    f"{path}: settings: {setting}: {key}: the same for all settings; "
                    f"variants: in the study, others: python -m studies NAME -S {key}=VALUE"
                )
    return study


def with_changes(switches: Switches, extra: Sequence[str]) -> Switches:
    """Return params.yaml as it is with further `-S` arguments.

    Args:
        switches: Content of params.yaml.
        extra: KEY=VALUE each; keys of other files change nothing here.

    Raises:
        BPGError: A value is not YAML, or not allowed for its key.
    """
    values = switches.model_dump(by_alias=True)
    try:
        for change in extra:
            key, _, value = change.partition("=")
            if key in values:
                values[key] = yaml.safe_load(value)
        return Switches.model_validate(values)
    except (ValidationError, yaml.YAMLError) as error:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else "not YAML"
        raise BPGError(f"-S {' -S '.join(extra)}: {why}") from error


def refuse_overlap(study: Study, switches: Switches, extra: Sequence[str]) -> None:
    """Refuse extra `-S` arguments that would undo what the study itself sets.

    Args:
        study: Its settings and variants.
        switches: Name the parameter files.
        extra: KEY=VALUE each.

    Raises:
        BPGError: There is such an argument; the message names it.
    """
    own = {
        change.partition("=")[0]
        for setting in study.settings
        for change in _changes(study, setting, switches)
    }
    for change in extra:
        key = change.partition("=")[0]
        if key in own or key.partition(".")[0] == "variants":
            raise BPGError(f"-S {change}: the study itself sets {key}; leave it out")


def run_setting(
    study: Study,
    setting: str,
    label: str,
    switches: Switches,
    variants: Variants,
    extra: Sequence[str],
) -> Found:
    """Run one setting as the experiment `study-LABEL`.

    Args:
        study: The study.
        setting: Name of the setting.
        label: LABEL; its underscores become hyphens.
        switches: Name the parameter files.
        variants: All variants by name.
        extra: Further `-S` arguments, KEY=VALUE each.

    Returns:
        What the experiment wrote.

    Raises:
        BPGError: DVC failed; it has said why.
    """
    name = _experiment(label)
    command = ["exp", "run", "--temp", "--name", name]
    for change in overrides(study, setting, switches, variants) + list(extra):
        command += ["--set-param", change]
    if subprocess.run([*DVC, *command, "tables"], check=False).returncode:
        raise BPGError(
            f"the setting {setting!r} failed; see above. It was: dvc {' '.join(command)}"
        )
    return read_experiment(name, study.variants, switches.seeds)


def run_queued(
    study: Study,
    labels: Mapping[str, str],
    jobs: int,
    switches: Switches,
    variants: Variants,
    extra: Sequence[str],
) -> dict[str, Found]:
    """Run all settings through DVC's queue, several at a time.

    Args:
        study: The study.
        labels: {setting: LABEL}, as `run_setting` takes it.
        jobs: How many at a time.
        switches: Name the parameter files.
        variants: All variants by name.
        extra: Further `-S` arguments, KEY=VALUE each.

    Returns:
        {setting: what its experiment wrote}.

    Raises:
        BPGError: DVC failed.
    """
    names = {setting: _experiment(label) for setting, label in labels.items()}
    try:
        for setting, name in names.items():
            changes = overrides(study, setting, switches, variants) + list(extra)
            options = [word for change in changes for word in ("--set-param", change)]
            _dvc("exp", "run", "--queue", "--name", name, *options, "tables")
        _wait_for(names, jobs)
    except BaseException:
        # One by one, as an unknown name stops DVC; what has failed keeps its log.
        for name in names.values():
            _try("queue", "kill", name)
        for name, state in _states().items():
            if name in names.values() and state == "Queued":
                _try("queue", "remove", name)
        raise
    return {
        setting: read_experiment(name, study.variants, switches.seeds)
        for setting, name in names.items()
    }


def _wait_for(names: Mapping[str, str], jobs: int) -> None:
    """Let DVC's workers do the experiments {setting: name}, and say how each is going."""
    before: dict[str, str] = {}
    started = -math.inf
    while True:
        looked = time.monotonic()
        found = _states()
        took = time.monotonic() - looked
        for setting, name in names.items():
            if found.get(name) != before.get(name):
                print(f"{setting}: {found.get(name, 'unknown').lower()}", flush=True)
        before = found
        states = {name: found.get(name) for name in names.values()}
        for name, state in states.items():
            if state == "Failed":
                raise BPGError(f"{name} failed; `dvc queue logs {name}` says why")
        if set(states.values()) == {"Success"}:
            return
        # A worker needs a while until it answers, and ends when it has been idle for a while.
        idle = "Queued" in states.values() and "Running" not in states.values()
        if idle and time.monotonic() - started > RESTART:
            started = time.monotonic()
            # Workers keep the output open for as long as they live.
            command = [*DVC, "queue", "start", "--jobs", str(jobs)]
            subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        time.sleep(max(POLL, min(60, SHARE * took)))


def _states() -> dict[str, str]:
    """Return {name: state} of the studies' experiments in DVC's queue."""
    said = _dvc("queue", "status")
    return dict(re.findall(r"(study-\S+)\s.*?(Queued|Running|Failed|Success)", said))


def _try(*words: str) -> None:
    subprocess.run([*DVC, *words], capture_output=True, check=False)


def _dvc(*words: str) -> str:
    done = subprocess.run([*DVC, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BPGError(f"dvc {' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _experiment(label: str) -> str:
    """Name the experiment, and remove earlier ones of that name, which would be in the way.

    What they computed stays in the cache.
    """
    name = f"study-{label}".replace("_", "-")
    for kind in ("exp", "queue"):
        _try(kind, "remove", "--quiet", name)
    return name


def is_untracked(path: Path) -> bool:
    """Say whether a file exists that git does not track: DVC's copies of the checkout lack it."""
    command = ["git", "ls-files", "--error-unmatch", path.name]
    tracked = subprocess.run(command, cwd=path.parent, capture_output=True, check=False)
    return path.exists() and tracked.returncode != 0


def overrides(study: Study, setting: str, switches: Switches, variants: Variants) -> list[str]:
    """Return a setting as `dvc exp run -S` takes it, the study's variants included.

    Args:
        study: The study.
        setting: Name of the setting.
        switches: Name the parameter files.
        variants: All variants by name.

    Returns:
        KEY=VALUE for each parameter.
    """
    lists = make_lists(study.variants, variants)
    chosen = [f"variants.{key}={_hydra(listed)}" for key, listed in lists.items()]
    return chosen + _changes(study, setting, switches)


def _hydra(listed: list) -> str:
    """Write a list as `-S` takes it: like JSON, but without quotation marks."""
    return json.dumps(listed, separators=(",", ": ")).replace('"', "")


def _changes(study: Study, setting: str, switches: Switches) -> list[str]:
    files = {
        "recipe": f"params/recipe/{switches.recipe}.yaml",
        "dataset": f"params/dataset/{switches.dataset}.yaml",
    }
    changes = []
    for key, value in study.settings[setting].items():
        file, _, inside = key.rpartition(":")
        place = f"{files[file]}:{inside}" if file else inside
        changes.append(f"{place}={json.dumps(value, separators=(',', ':'))}")
    return changes


def read_experiment(name: str, variants: Sequence[str], seeds: Sequence[int]) -> Found:
    """Return what an experiment wrote.

    Args:
        name: Of the experiment.
        variants: Those it trained.
        seeds: Those it trained them with.

    Raises:
        BPGError: It has no results.
    """
    try:
        metrics = metrics_show("results/metrics.json", rev=name)
        files = DVCFileSystem(ROOT, rev=name)
        makings = json.loads(files.read_text("results/provenance.json"))
        counts = {
            variant: [_counts_of(files, variant, seed) for seed in seeds] for variant in variants
        }
    except (DvcException, OSError, ValueError) as error:
        raise BPGError(
            f"the experiment {name}: results missing ({error}); run the study again"
        ) from error
    made = [f"commit {making['commit']}; {making['trained with']}" for making in makings]
    return Found(metrics, counts, made)


def _counts_of(files: DVCFileSystem, variant: str, seed: int) -> NDArray[np.int32]:
    place = run_layout(variant, seed).counts.relative_to(ROOT)
    return np.load(BytesIO(files.cat_file(str(place))), allow_pickle=False)
