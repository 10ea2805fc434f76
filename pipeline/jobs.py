"""Train and test the runs side by side: what `make repro` does before `dvc repro`.

DVC runs one stage at a time. It holds its lock only between stages, though, so that several DVC
processes can work on different ones. A job here is one variant with one seed: a `dvc repro
--single-item` over its stages, which read what already exists and write where no other job does.
Whatever is left to do, or is not as it should be, is found by the plain `dvc repro` afterwards.

`LAUNCH`, a command such as Slurm's `srun` with its options, starts every job where it likes: on
other machines that see this folder. It also decides which GPUs and cores a job gets.
"""

import codecs
import ctypes
import json
import os
import re
import selectors
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import IO, cast

import joblib

from bpg.errors import BPGError
from bpg.variants import epochs
from pipeline.params import Parameters, read_parameters
from pipeline.paths import ROOT
from pipeline.variants import stage_of

DVC = (sys.executable, "-m", "dvc")
BEFORE = ("fetch", "prepare", "scribbles", "edges", "grabcut")
TEST = ("predict", "crf", "evaluate")
AFTER = ("cost", "samples", "draw_next", "tables", "report")
LAUNCH = tuple(shlex.split(os.environ.get("LAUNCH", "")))
SHOWN_EVERY = 20  # seconds between two looks at the progress bars

# What DVC prints that says nothing new here.
_CHATTER = re.compile(
    r"\s*$|> |(Updating|Generating) lock file|Use `dvc push`|To (track|enable)|\t"
)
# A progress bar of tqdm's.
_BAR = re.compile(r"\d%\|.*\| \S+/\S+ \[")


@dataclass(frozen=True)
class Job:
    """The stages of one variant and seed, in order, and the job whose network they need.

    `work` is a rough measure of how long it takes.
    """

    name: str
    stages: tuple[str, ...]
    needs: str | None
    work: int


def plan(parameters: Parameters) -> list[Job]:
    """Return one job per variant and seed.

    Returns:
        The jobs; those that others need come first, then the longest.
    """
    lists = parameters.switches.variants
    rounds = [one.name for one in lists.rounds]
    jobs = []
    for seed in parameters.switches.seeds:
        for name in lists.trained():
            variant = parameters.variants[name]
            if name in rounds:
                place = f"@round{rounds.index(name)}-{seed}"
                stages = [f"propagate{place}", f"train_propagated{place}"]
            else:
                stages = [f"{stage_of(variant)}@{name}-{seed}"]
            if name in lists.all:
                stages += [f"{stage}@{name}-{seed}" for stage in TEST]
            start = None if variant.init_from is None else f"{variant.init_from} {seed}"
            jobs.append(Job(f"{name} {seed}", tuple(stages), start, _work(parameters, name)))
    needed = {job.needs for job in jobs}
    return sorted(jobs, key=lambda job: (job.name not in needed, -job.work))


def stage_names(parameters: Parameters) -> set[str]:
    """Return the names of all stages, as DVC writes them."""
    return {*BEFORE, *AFTER, *(stage for job in plan(parameters) for stage in job.stages)}


def _work(parameters: Parameters, name: str) -> int:
    """Count epochs, times one for the baseline's step and one for each further part or loss."""
    variant = parameters.variants[name]
    if variant.classifier == "forest":
        return 1  # a minute or so, on all cores
    own = epochs(name, parameters.variants, parameters.recipe.training.epochs)[-1]
    return own * (1 + variant.prn + (variant.brn is not None) + len(variant.regularisers))


def stale() -> set[str]:
    """Return the stages that DVC would look at again, except those that merely follow them.

    Raises:
        BPGError: `dvc status` fails.
    """
    status = subprocess.run(
        (*DVC, "status", "--json"),
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if status.returncode:
        raise BPGError(f"dvc status: {status.stderr.strip() or status.stdout.strip()}")
    return set(json.loads(status.stdout))


def to_do(jobs: Sequence[Job], changed: set[str]) -> list[Job]:
    """Choose the jobs that have a changed stage, and those that need one of these.

    Args:
        jobs: What `plan` returns.
        changed: Names of the changed stages.
    """
    chosen: set[str] = set()
    while True:
        more = {
            job.name for job in jobs if job.needs in chosen or not changed.isdisjoint(job.stages)
        }
        if more == chosen:
            return [job for job in jobs if job.name in chosen]
        chosen = more


def default_number(parameters: Parameters, gpus: Sequence[str]) -> int:
    """Return how many jobs to run at a time: one per GPU, or as many as the cores have room for.

    Args:
        parameters: Their recipe's number of threads is what a job needs of the cores.
        gpus: What `visible_gpus` returns.
    """
    if parameters.recipe.machine.launcher:
        return 1  # each training takes all GPUs, or all cores
    if gpus:
        return len(gpus)
    cores = joblib.cpu_count()
    return max(1, cores // (parameters.recipe.machine.threads or cores))


def visible_gpus(parameters: Parameters) -> list[str]:
    """Name the GPUs that `device` lets a run use, as in CUDA_VISIBLE_DEVICES."""
    if parameters.switches.device == "cpu":
        return []
    from torch.cuda import device_count  # noqa: PLC0415 slow to import, and needed only here

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else list(map(str, range(device_count())))
    return names[: device_count()]


class Process:
    """A job at work, and its output so far.

    Args:
        job: The job; it starts at once.
        environment: Variables that are added to those of this process.
    """

    def __init__(self, job: Job, environment: dict[str, str]):
        self.job = job
        self.started = time.monotonic()
        self.bar = ""
        self._rest = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self.process = subprocess.Popen(
            (*LAUNCH, *DVC, "--wait-for-lock", "repro", "--single-item", *job.stages),
            env={**os.environ, **environment, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # A group of its own, so that an interrupt reaches DVC and its stage, and only once.
            start_new_session=True,
            preexec_fn=_end_with_parent,  # noqa: PLW1509 a system call, which takes no lock
        )
        self.output = cast(IO[bytes], self.process.stdout)  # never None: it is a pipe
        os.set_blocking(self.output.fileno(), False)

    def read(self) -> bool:
        """Print whole lines under the job's name, and keep the last progress bar.

        Returns:
            False at the end of the output.
        """
        while True:
            try:
                data = os.read(self.output.fileno(), 2**16)
            except BlockingIOError:
                return True
            self._show(self._decoder.decode(data, final=not data) or ("" if data else "\n"))
            if not data:
                return False

    def _show(self, text: str) -> None:
        *pieces, self._rest = re.split(r"([\r\n])", self._rest + text)
        for line, end in zip(pieces[::2], pieces[1::2], strict=True):
            if _BAR.search(line):
                self.bar = line
            elif end == "\n" and not _CHATTER.match(line):
                self.bar = ""
                say(f"{self.job.name}: {line}")
        if _BAR.search(self._rest):
            self.bar = self._rest

    def signal(self, number: int) -> None:
        """Send a signal to DVC and its stage."""
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return


_PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def _end_with_parent() -> None:
    """On Linux, let DVC end when this process is killed; its stage ends with it."""
    if _PRCTL is not None:
        _PRCTL(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def say(line: str) -> None:
    """Print a line at once: the reader is waiting."""
    print(line, flush=True)


def run(jobs: Sequence[Job], number: int, gpus: Sequence[str]) -> None:
    """Do jobs in parallel, each as soon as what it needs is done.

    After a failure, no further job is started. An interrupt is passed on to all jobs.

    Args:
        jobs: In the order in which to start them.
        number: How many to run at a time.
        gpus: What `visible_gpus` returns; jobs get one each, in turn.

    Raises:
        BPGError: Jobs failed; the message names them.
        KeyboardInterrupt: There was an interrupt, and all jobs have ended.
    """
    waiting = list(jobs)
    done: set[str] = set()
    failed: list[str] = []
    working: dict[int, Process] = {}
    here = {job.name for job in jobs}
    shown = time.monotonic()
    with selectors.DefaultSelector() as selector, _interrupts_passed_on(working) as interrupted:
        while working or (waiting and not failed and not interrupted()):
            for slot in sorted(set(range(number)) - set(working)):
                ready = [job for job in waiting if job.needs not in here - done]
                if not ready or failed or interrupted():
                    break
                waiting.remove(ready[0])
                working[slot] = Process(ready[0], _share(slot, number, gpus))
                if interrupted():  # while it was being started
                    working[slot].signal(signal.SIGINT)
                selector.register(working[slot].output, selectors.EVENT_READ)
                say(f"{ready[0].name}: started")
            selector.select(timeout=1)
            for slot, one in list(working.items()):
                # A process that a killed stage left behind may keep the other end open.
                over = one.process.poll() is not None
                if one.read() and not over:
                    continue
                selector.unregister(one.output)
                del working[slot]
                one.output.close()
                if one.process.wait():
                    failed.append(one.job.name)
                    continue
                done.add(one.job.name)
                took = time.monotonic() - one.started
                say(f"{one.job.name}: done in {took:.0f} s ({len(done)} of {len(jobs)})")
            if time.monotonic() - shown > SHOWN_EVERY:
                shown = time.monotonic()
                for bar in filter(None, (one.bar.strip() for one in working.values())):
                    say(f"    {bar}")
        if interrupted():
            raise KeyboardInterrupt
    if failed:
        raise BPGError(f"failed: {', '.join(failed)}; see the messages above")


def _share(slot: int, number: int, gpus: Sequence[str]) -> dict[str, str]:
    """Give a job its share of the cores for per-image work, and a GPU of its own."""
    if LAUNCH:
        return {}
    share = {"LOKY_MAX_CPU_COUNT": str(max(1, joblib.cpu_count() // number))}
    if gpus:
        share["CUDA_VISIBLE_DEVICES"] = gpus[slot % len(gpus)]
    return share


@contextmanager
def _interrupts_passed_on(working: dict[int, Process]) -> Iterator:
    asked = False

    def pass_on(signal_number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        for one in working.values():
            one.signal(signal.SIGINT)

    ways = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {way: signal.signal(way, pass_on) for way in ways}
    try:
        yield lambda: asked
    finally:
        for one in working.values():  # after an error of our own
            one.signal(signal.SIGTERM)
        for signal_number, handler in before.items():
            signal.signal(signal_number, handler)


def main() -> None:
    """Do the jobs that are not done, as `make repro` does; the only argument is their number."""
    try:
        parameters = read_parameters(ROOT)
        asked = _number(sys.argv[1:])
        if asked == 1 and not LAUNCH:
            return
        changed = stale()
        if not changed.isdisjoint(BEFORE):
            run([Job("data", BEFORE, None, 1)], 1, visible_gpus(parameters))
            changed = stale()
        jobs = to_do(plan(parameters), changed)
        if len(jobs) > 1 or (LAUNCH and jobs):
            # A launcher of trainings uses all GPUs for each.
            gpus = [] if parameters.recipe.machine.launcher else visible_gpus(parameters)
            if LAUNCH and asked is None:
                raise BPGError("LAUNCH needs JOBS=N, how many it may start at a time")
            number = min(asked or default_number(parameters, gpus), len(jobs))
            if number > 1 or LAUNCH:
                say(f"{len(jobs)} runs, {number} at a time (JOBS=1: one after another)")
                run(jobs, number, gpus)
    except BPGError as error:
        sys.exit(f"jobs: error: {error}")
    except KeyboardInterrupt:
        print("jobs: interrupted", file=sys.stderr)
        sys.exit(130)


def _number(words: Sequence[str]) -> int | None:
    match words:
        case []:
            return None
        case [word] if word.isdecimal() and 1 <= int(word) <= 1024:
            return int(word)
    raise BPGError(f"JOBS must be a whole number from 1 to 1024 (found {' '.join(words)!r})")
