"""The stages' unfinished work: a stage that was stopped goes on from it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bpg.work import Work, discard_served, open_work
from stages.declared import belongs_to, declared, is_declared
from stages.layout import UNFINISHED
from stages.parameters import Parameters
from stages.versions import versions


def arithmetic(parameters: Parameters, device: str, *, bf16: bool) -> dict[str, Any]:
    """Return the settings of the machine that decide how numbers are rounded."""
    machine = parameters.recipe.machine
    return {
        "device": device,
        "bf16": bf16,
        "threads": machine.threads,
        "deterministic": machine.deterministic,
    }


@contextmanager
def unfinished(
    stage: str,
    parameters: Parameters,
    variant: str | None = None,
    seed: int | None = None,
    *,
    rounding: dict[str, Any] | None = None,
) -> Iterator[Work]:
    """Open the work of a stage, or of one run of it, in `unfinished/`.

    It belongs to what dvc.yaml declares, to the packages' versions and to `rounding`, as
    `arithmetic` gives it where PyTorch computes.
    """
    found = declared(stage, parameters, variant, seed)
    name = stage if variant is None else f"{stage}-{variant}-{seed}"
    origin = {**belongs_to(found), "versions": versions()}
    origin |= {f"machine.{key}": value for key, value in (rounding or {}).items()}
    outputs = map(Path, found.outputs)
    with open_work(UNFINISHED / name, origin, outputs, lambda line: _say(stage, line)) as work:
        if len(work):
            _say(stage, f"goes on: {len(work)} files are done already")
        yield work


def discard_read(
    stage: str, parameters: Parameters, variant: str | None = None, seed: int | None = None
) -> None:
    """Delete the finished work of the stages whose outputs this one reads."""
    if UNFINISHED.is_dir() and is_declared(stage):
        discard_served(UNFINISHED, map(Path, declared(stage, parameters, variant, seed).inputs))


def _say(stage: str, line: str) -> None:
    print(f"{stage}: {line}", flush=True)
