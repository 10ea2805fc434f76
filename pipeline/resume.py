"""Resumable work of a stage: one that was stopped does only what is left."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from bpg.resumable import Work, discard_served, exclusive, open_work
from pipeline.dvc_yaml import declared, fingerprint, is_declared
from pipeline.params import Parameters
from pipeline.paths import UNFINISHED
from pipeline.versions import versions

Result = TypeVar("Result")


@contextmanager
def resumable(
    stage: str,
    parameters: Parameters,
    variant: str | None = None,
    seed: int | None = None,
    *,
    rounding: dict[str, Any] | None = None,
) -> Iterator[Work]:
    """Open the work of a stage, or of one run of it, in `unfinished/`.

    The work belongs to what dvc.yaml declares, to the packages' versions and to `rounding`: if any
    of these has changed, it starts over.

    Args:
        stage: Name of the stage's script.
        parameters: Fill in what dvc.yaml declares.
        variant: Of the run, for a stage that has runs.
        seed: Of the run.
        rounding: What `pipeline.provenance.rounding` returns, for a stage in which PyTorch
            computes.

    Yields:
        The work, with what is done already.
    """
    found = declared(stage, parameters, variant, seed)
    origin = {**fingerprint(found), "versions": versions()}
    origin |= {f"machine.{key}": value for key, value in (rounding or {}).items()}
    outputs = map(Path, found.outputs)
    folder = _folder(stage, variant, seed)
    with open_work(folder, origin, outputs, lambda line: _say(stage, line)) as work:
        if len(work):
            _say(stage, f"resuming: {len(work)} files are done already")
        yield work


def images_left(
    work: Work,
    names: Sequence[str],
    files: Sequence[str],
    compute: Callable[[Sequence[str]], Iterable[Result]],
    title: str,
) -> Iterator[tuple[str, Result, list[Path]]]:
    """Go through the images that are not done, with a progress bar.

    The caller's loop writes the files; when it asks for the next image, they count as done. They
    are written there and not where the results are computed, so that after an error in one of
    several threads no other one is still writing.

    Args:
        work: The resumable work.
        names: All images.
        files: The files of an image in the work, "{}" for its name.
        compute: Gives the results of the images that are left, in their order.
        title: Of the progress bar.

    Yields:
        The image's name, its result, and where to write its files.
    """

    def of(name: str) -> list[str]:
        return [file.format(name) for file in files]

    left = [name for name in names if not work.done(*of(name))]
    with tqdm(
        compute(left),
        total=len(names),
        initial=len(names) - len(left),
        unit="image",
        desc=title,
        mininterval=2,
    ) as bar:
        for name, result in zip(left, bar, strict=True):
            yield name, result, work.begin(*of(name))
            work.add(*of(name))


@contextmanager
def at_stage(
    stage: str, parameters: Parameters, variant: str | None = None, seed: int | None = None
) -> Iterator[None]:
    """Be the only process at a stage, or at one run of it.

    Deletes the finished work of the stages whose outputs this one reads.

    Args:
        stage: Name of the stage's script; one that dvc.yaml does not declare is left alone.
        parameters: Fill in what dvc.yaml declares.
        variant: Of the run, for a stage that has runs.
        seed: Of the run.
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
