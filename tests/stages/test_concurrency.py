"""Two at once: in one checkout, in two that share a cache, at one stage. Nothing is spoilt."""

import contextlib
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

RUN = Path("runs/scribble/0")
# What comes after it shares files in no other way than what comes before.
LAST = "evaluate@scribble-0"


@pytest.fixture
def make(wheels, checkout, tools, run):
    """Return a function that makes a repository with one row of the tables."""

    def make(folder: Path) -> Path:
        checkout(folder)
        lists = tools.lists(["scribble"], train=["scribble"])
        tools.edit(folder / "params.yaml", {"mirror": str(wheels), "variants": lists})
        run(folder, "git", "init", "--quiet")
        run(folder, "git", "add", "--all")
        run(folder, "git", "commit", "--quiet", "--message", "The program")
        return folder

    return make


def repro(folder: Path, environment: dict[str, str]) -> subprocess.Popen:
    return subprocess.Popen(
        ["dvc", "repro", LAST],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def outputs(folder: Path, tools) -> dict[str, str]:
    return {
        f"{place}/{name}": digest
        for place in ("data", "runs")
        for name, digest in tools.snapshot(folder / place).items()
    }


def test_two_at_once_in_one_checkout_and_in_two_that_share_a_cache(
    make, run, tools, environment, tmp_path
):
    shared = [make(tmp_path / name) for name in ("a", "b")]
    for folder in shared:
        run(folder, "dvc", "cache", "dir", "--local", str(tmp_path / "cache"))
    together = [repro(folder, environment) for folder in shared]
    for process in together:
        said, _ = process.communicate(timeout=600)
        assert process.returncode == 0, said

    one = make(tmp_path / "one")
    rivals = []
    for _ in range(3):
        rivals.append(repro(one, environment))
        time.sleep(4)
    for process in rivals:
        said, _ = process.communicate(timeout=600)
        assert "Traceback" not in said
        # DVC lets one at a path at a time; who comes second is told so, or finds it done.
        if process.returncode:
            assert re.search(r"busy|acquire lock", said), said
    run(one, "dvc", "repro", LAST)

    results = [outputs(folder, tools) for folder in (*shared, one)]
    assert results[0] == results[1] == results[2]
    assert {f"{RUN}/{name}" for name in ("model.safetensors", "metrics.json")} <= results[0].keys()
    for folder in (*shared, one):
        assert "up to date" in run(folder, "dvc", "repro", LAST)
        assert not list(folder.rglob(".partial*"))


@pytest.mark.parametrize("reader", ["there", "gone"])
def test_a_stage_ends_with_its_dvc_and_delivers_nothing(
    workspace, tools, environment, tmp_path, reader
):
    """The next DVC may have brought other outputs into place meanwhile, out of its cache.

    Who reads what the stage says may have ended with it, as when `make repro` is killed.
    """
    tools.edit(workspace / "params/recipe/tiny.yaml", {"training.epochs": 100_000})
    shutil.rmtree(workspace / RUN)
    program = tmp_path / "dvc"  # by its command line
    program.write_text(
        "import os, subprocess, sys\n"
        "stage = [sys.executable, '-m', 'stages.train', 'scribble', '0']\n"
        f"here = {reader == 'there'}\n"
        "said = open('said', 'wb', buffering=0)\n"
        "process = subprocess.Popen(stage, stderr=said if here else subprocess.PIPE)\n"
        "print(process.pid, flush=True)\n"
        "while not here and (data := os.read(process.stderr.fileno(), 4096)):\n"
        "    said.write(data)\n"
        "process.wait()\n"
    )
    dvc = subprocess.Popen(
        [sys.executable, program],
        cwd=workspace,
        env={**environment, "PYTHONPATH": str(tools.ROOT), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    stage = psutil.Process(int(dvc.stdout.readline()))
    said = workspace / "said"
    while "loss=" not in said.read_text():
        assert stage.is_running()
        time.sleep(0.1)
    dvc.kill()
    dvc.communicate()
    with contextlib.suppress(psutil.NoSuchProcess):
        stage.wait(timeout=300)
    assert "Traceback" not in said.read_text()
    assert not (workspace / RUN).exists()
    if reader == "there":
        assert "train: its DVC process has ended; stopping" in said.read_text()
        assert "the next start resumes there" in said.read_text()
        assert (workspace / "unfinished/train-scribble-0/checkpoint").is_file()


def test_two_at_one_stage_take_turns(workspace, tools, environment):
    """As when a DVC is killed, its stage lives on, and the next DVC starts it again."""
    tools.edit(workspace / "params/recipe/tiny.yaml", {"training.epochs": 60})
    command = [sys.executable, "-m", "stages.train", "scribble", "0"]
    shutil.rmtree(workspace / RUN)
    environment = {**environment, "PYTHONPATH": str(tools.ROOT), "PYTHONUNBUFFERED": "1"}
    with FileLock(workspace / "unfinished/.train-scribble-0.lock"):
        both = [
            subprocess.Popen(
                command,
                cwd=workspace,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        for process in both:
            assert "another process is at this stage; waiting" in process.stdout.readline()
    said = [process.communicate(timeout=600) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    # It found all done, and trained nothing.
    assert sum("resumes after step 120" in error for _, error in said) == 1
    assert (workspace / RUN / "model.safetensors").is_file()
