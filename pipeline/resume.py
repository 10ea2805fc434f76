"""The stages' unfinished work: a stage that was stopped goes on from it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bpg.resumable import Work, discard_served, exclusive, open_work
from pipeline.dvc_yaml import declared, fingerprint, is_declared
from pipeline.params import Parameters
from pipeline.paths import UNFINISHED
from pipeline.versions import versions


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

    It belongs to what dvc.yaml declares, to the packages' versions and to `rounding`
    (`pipeline.provenance`) where PyTorch computes.
    """
    found = declared(stage, parameters, variant, seed)
    origin = {**fingerprint(found), "versions": versions()}
    origin |= {f"machine.{key}": value for key, value in (rounding or {}).items()}
    outputs = map(Path, found.outputs)
    folder = _folder(stage, variant, seed)
    with open_work(folder, origin, outputs, lambda line: _say(stage, line)) as work:
        if len(work):
            _say(stage, f"goes on: {len(work)} files are done already")
        yield work


@contextmanager
def at_stage(
    stage: str, parameters: Parameters, variant: str | None = None, seed: int | None = None
) -> Iterator[None]:
    """Be the only process at a stage, or at one run of it.

    Deletes the finished work of the stages whose outputs this one reads.
    """
    if not is_declared(stage):
        yield
        return
    with exclusive(_folder(stage, variant, seed), lambda line: _say(stage, line)):
        discard_served(UNFINISHED, map(Path, declared(stage, parameters, variant, seed).inputs))
        yield


def _folder(stage: str, variant: str | None, seed: int | None) -> Path:
    return UNFINISHED / (stage if variant is None else f"{stage}-{variant}-{seed}")


def _say(stage: str, line: str) -> None:
    print(f"{stage}: {line}", flush=True)
