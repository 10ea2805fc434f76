"""Killed again and again, the pipeline ends with the bytes of one that never was.

`make chaos` does the same with 200 kills and shows each; `make chaos JOBS=1` with a plain
`dvc repro`, one stage at a time.
"""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median

import psutil
import pytest

from pipeline import repair

ASKED = int(os.environ.get("CHAOS_KILLS", "0"))
KILLS = ASKED or 8
JOBS = os.environ.get("CHAOS_JOBS", "2")  # runs side by side, as `make repro` does; 1: one by one
# What `make repro` does, in one process.
REPRO = (
    "import os, sys; from pipeline import jobs, repair; repair.main(); "
    "jobs.main(); os.execvp('dvc', ['dvc', 'repro'])"
)
SEED = int(os.environ.get("CHAOS_SEED", "0"))
PATIENCE = 600  # seconds in which anything here must end

ROWS = ("kernelcut", "bpg_kernelcut", "scribblesup")
LISTS = {
    "train": ["warm"],
    "train_boundary": ["bpg_warm"],
    "fine_tune": ["kernelcut"],
    "fine_tune_boundary": ["bpg_kernelcut"],
    "rounds": [{"name": "scribblesup", "init_from": "warm"}],
}
TRAINED = [["train", "warm", "0"], ["train_boundary", "bpg_warm", "0"]]
TRAINED += [["fine_tune", "kernelcut", "0"], ["fine_tune_boundary", "bpg_kernelcut", "0"]]
TRAINED += [["propagate", "scribblesup", "0"], ["train_propagated", "scribblesup", "0"]]
TESTED = [[stage, v, "0"] for v in ROWS for stage in ("predict", "crf", "evaluate")]
# In an order that DVC may take; it takes its own.
STAGES = [["fetch"], ["prepare"], ["scribbles"], ["edges"], ["grabcut"], *TRAINED, *TESTED]
STAGES += [["cost"], ["samples"], ["draw_next"], ["tables"], ["report"]]
KINDS = {words[0] for words in STAGES}
# One of each sort of work, unless more kills are asked for: an archive, images, a training from
# each of its starts, labels, a test, a table.
SOME = {"fetch", "edges", "train", "train_boundary", "fine_tune_boundary", "propagate"}
SOME |= {"train_propagated", "predict", "crf", "tables"}
KILLED = KINDS if ASKED else SOME
QUOTA = 4 if ASKED else 1  # kills in a kind of stage, before it may pass
# They hold times, commits or process numbers.
NOT_NUMBERS = r"^results/(provenance\.json|cost\.(csv|md)|report/(index\.html|cost\.png))$"
# What a killed DVC leaves: empty, and ignored by it and by us.
NOT_NUMBERS += r"|/\.[^/]+\.tmp$"


@pytest.fixture(scope="module")
def make(wheels, checkout, tools, run):
    """Return a function that makes a repository with a run of every stage, small but slow."""

    def make(folder: Path) -> Path:
        checkout(folder)
        lists = tools.lists(ROWS, **LISTS)
        tools.edit(folder / "params.yaml", {"mirror": str(wheels), "variants": lists})
        tools.edit(folder / "params/variants.yaml", {"scribblesup.init_from": "warm"})
        changes = {
            "training.epochs": 12,
            "machine.checkpoint_seconds": 0.2,
            "inference.scales": [0.75, 1.0, 1.25],
        }
        tools.edit(folder / "params/recipe/tiny.yaml", changes)
        source = {"size": 64, "train": 16, "val": 8, "seed": 0}
        tools.edit(folder / "params/dataset/shapes.yaml", {"source": source})
        run(folder, "git", "init", "--quiet")
        run(folder, "git", "add", "--all")
        run(folder, "git", "commit", "--quiet", "--message", "The program")
        return folder

    return make


@dataclass
class Chaos:
    """Runs `dvc repro` in `folder` and kills it; counts what happens."""

    folder: Path
    environment: dict[str, str]
    chance: random.Random
    said: list[str] = field(default_factory=list)
    counts: Counter = field(default_factory=Counter)
    durations: list[float] = field(default_factory=lambda: [3.0])  # of whole stages, in seconds

    def start(self) -> tuple[subprocess.Popen, Path]:
        log = self.folder.parent / f"log-{len(self.said)}"
        with log.open("wb") as file:
            process = subprocess.Popen(
                ["dvc", "repro"] if JOBS == "1" else [sys.executable, "-c", REPRO, JOBS],
                cwd=self.folder,
                env={**self.environment, "PYTHONUNBUFFERED": "1"},
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                # Where the tests run in a shell's background, SIGINT is ignored.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
            )
        return process, log

    def run_and_kill(self) -> bool:
        """Start, and kill some time after a stage has begun that has not been killed enough.

        Returns whether there is still something to do.
        """
        process, log = self.start()
        try:
            begun = self.wait_for_a_stage(process, log)
            trains = begun == "train" and not self.counts["in train"]
            if trains:
                self.wait_for_a_checkpoint(process)
            elif begun:
                time.sleep(self.chance.uniform(0, 1.2 * median(self.durations)))
            alive = process.poll() is None
            if alive:
                way = self.chance.choice(("all", "all", "dvc", "stage", "interrupt", "terminate"))
                # Beside a training that was waited for, another stage may have begun since.
                place = begun if trains else ["DVC", *started(log)][-1].split("@")[0]
                for count in ("kills", f"by {way}", f"in {place}"):
                    self.counts[count] += 1
                self.kill(process, way)
        finally:
            # The process of a stage that outlives its DVC is left alone, as it would be.
            process.kill()
            process.wait()
        self.read(log, process)
        return alive or process.returncode != 0

    def wait_for_a_checkpoint(self, process: subprocess.Popen) -> None:
        """Wait until a training has one, so that there is something to resume."""
        while process.poll() is None:
            if any(self.folder.glob("unfinished/train-*/checkpoint")):
                return
            time.sleep(0.02)

    def wait_for_a_stage(self, process: subprocess.Popen, log: Path) -> str | None:
        """Wait until one begins that may be killed, and return its kind; measure those that pass.

        None: all have passed.
        """
        began: dict[str, float] = {}
        while process.poll() is None:
            now = time.monotonic()
            for name in started(log):
                began.setdefault(name, now)
            times = list(began.values())
            kind = list(began)[-1].split("@")[0] if began else None
            if kind in KILLED and self.counts[f"in {kind}"] < QUOTA:
                self.durations += [b - a for a, b in pairwise(times)]
                return kind
            time.sleep(0.02)
        return None

    def kill(self, process: subprocess.Popen, way: str) -> None:
        family = [psutil.Process(process.pid)]
        try:
            family += family[0].children(recursive=True)
        except psutil.NoSuchProcess:
            return
        stages = [p for p in family if is_stage(p)]
        if way == "dvc":
            process.kill()
        elif way == "stage" and stages:
            with contextlib.suppress(psutil.NoSuchProcess):
                stages[0].kill()
        elif way in ("interrupt", "terminate"):
            os.killpg(process.pid, signal.SIGINT if way == "interrupt" else signal.SIGTERM)
        else:
            for one in family:
                with contextlib.suppress(psutil.NoSuchProcess):  # it died with another
                    one.kill()
            return
        if way != "dvc":
            began = time.monotonic()
            process.wait(timeout=PATIENCE)
            self.counts["slowest end, ms"] = max(
                self.counts["slowest end, ms"], int(1000 * (time.monotonic() - began))
            )

    def read(self, log: Path, process: subprocess.Popen) -> None:
        text = log.read_text(encoding="utf-8", errors="replace")
        self.said.append(text)
        self.counts["resumed"] += len(re.findall(r"resum(?:ing: \d|es after step)", text))
        if (
            "dvc.lock was cut off" in text
            or "dvc.lock' is invalid" in text
            or "dvc.lock' validation failed" in text
            or ("RWLock-file" in text and "had been killed" not in text)
        ):
            self.counts["DVC's own files cut off"] += 1
            self.repair()
        if ASKED:
            print(len(self.said), process.returncode, dict(self.counts), flush=True)

    def repair(self) -> None:
        """Delete what was cut off; an orphaned DVC may still be at work, as is said then."""
        program = "from pipeline.repair import main; main()"
        command = [sys.executable, "-c", program]
        for _ in range(PATIENCE // repair.PATIENCE):
            done = subprocess.run(
                command,
                cwd=self.folder,
                env=self.environment,
                capture_output=True,
                encoding="utf-8",
                check=False,
            )
            if "another DVC is at work here" not in done.stderr:
                break
        assert done.returncode == 0, done.stderr

    def finish(self) -> None:
        """Start until it ends by itself."""
        for _ in range(3):
            process, log = self.start()
            process.wait(timeout=10 * PATIENCE)
            self.read(log, process)
            if process.returncode == 0:
                return
        pytest.fail(self.said[-1][-2000:])


def is_stage(process: psutil.Process) -> bool:
    try:
        words = process.cmdline()
        return "-m" in words and any(word.startswith("stages.") for word in words)
    except psutil.Error:
        return False


def started(log: Path) -> list[str]:
    text = log.read_text(encoding="utf-8", errors="replace")
    return re.findall(r"Running stage '(.*)'", text)


def outputs(folder: Path, tools) -> dict[str, str]:
    found = {}
    for place in ("data", "runs", "results"):
        for name, digest in tools.snapshot(folder / place).items():
            if not re.search(NOT_NUMBERS, f"{place}/{name}"):
                found[f"{place}/{name}"] = digest
    return found


def test_killed_at_random_moments_it_ends_with_the_same_bytes(
    make, run, tools, environment, tmp_path
):
    """One kill of each sort of work is one run through the pipeline; more take several runs."""
    calm = make(tmp_path / "calm")
    tools.in_one_process(run, calm, STAGES)
    chance, total = random.Random(SEED), Counter()

    def enough() -> bool:
        kinds = sum(total[f"in {kind}"] > 0 for kind in KINDS)
        # Without one resumed it would not show that anything was.
        return total["kills"] >= KILLS and total["resumed"] >= 1 and kinds >= min(KILLS, 12)

    while not enough():
        assert total["runs"] < 3 + KILLS // 4, json.dumps(total, indent=1)
        folder = tmp_path / f"chaos-{total['runs']}"
        chaos = Chaos(make(folder / "repository"), environment, chance)
        while chaos.counts["kills"] < max(KILLS - total["kills"], 36) and chaos.run_and_kill():
            assert len(chaos.said) < 200, chaos.said[-1]
        chaos.finish()
        report = json.dumps(chaos.counts, indent=1)
        assert outputs(chaos.folder, tools) == outputs(calm, tools), report
        assert "up to date" in run(chaos.folder, "dvc", "repro")
        over = [line for text in chaos.said for line in text.splitlines() if "starts over" in line]
        assert over == [], report
        for text in chaos.said:  # DVC itself may be hit where it is not prepared for it
            ours = re.escape(str(chaos.folder)) + r"/(stages/(?!__init__)|bpg/)"
            assert not re.search(rf'File "{ours}', text), text
        left = [p.name for p in chaos.folder.glob("unfinished/*") if not p.name.startswith(".")]
        assert left == []
        total.update(chaos.counts)
        total["runs"] += 1
        if ASKED:
            print(f"{total['runs']} runs, {total['kills']} kills: the same bytes", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(total, indent=1))
