"""A training under PyTorch's launcher, through `machine.launcher`: real processes on the CPU."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

RUN = Path("runs/bpg/0")
TRAIN = (sys.executable, "-m", "stages.train", "bpg", "0")
LONG = {"training.epochs": 2000, "machine.checkpoint_seconds": 1}


@pytest.fixture
def start(workspace, tools, environment):
    """Return a function that starts the stage in so many processes; 0: without a launcher."""

    begun = []

    def started(count: int, **changes) -> subprocess.Popen:
        launcher = f"torchrun --standalone --nproc-per-node={count}" if count else ""
        recipe = workspace / "params/recipe/tiny.yaml"
        tools.edit(recipe, {"machine.launcher": launcher} | changes)
        shutil.rmtree(workspace / RUN, ignore_errors=True)
        with (workspace / "said").open("wb") as said:
            process = subprocess.Popen(
                TRAIN,
                cwd=workspace,
                env={**environment, "PYTHONPATH": str(tools.ROOT), "PYTHONUNBUFFERED": "1"},
                stdout=said,
                stderr=subprocess.STDOUT,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
            )
        begun.append(process)
        return process

    yield started
    for process in begun:  # after a failure
        process.kill()
        process.wait()


def said(workspace: Path) -> str:
    return (workspace / "said").read_text()


def wait_for(workspace: Path, word: str, process: subprocess.Popen) -> None:
    while word not in said(workspace):
        assert process.poll() is None, said(workspace)
        time.sleep(0.1)


def ranks(process: subprocess.Popen) -> list[psutil.Process]:
    """The launcher's processes in the order of their numbers."""
    children = psutil.Process(process.pid).children()
    return sorted(children, key=lambda one: int(one.environ()["RANK"]))


def test_one_process_gives_the_same_bytes_and_two_the_same_numbers(start, workspace, tools):
    results = {}
    for count in (0, 1, 2):
        process = start(count)
        assert process.wait(timeout=300) == 0, said(workspace)
        assert said(workspace).count("train: done in") == 1
        shutil.copytree(workspace / RUN, workspace / f"ended-{count}")
        results[count] = load_file(workspace / RUN / "model.safetensors")
    kept = [tools.snapshot(workspace / f"ended-{count}") for count in (0, 1, 2)]
    assert kept[0].keys() == kept[2].keys()
    for name in ("model.safetensors", "curves/plots/metrics/train/boundary.tsv"):
        assert kept[0][name] == kept[1][name]
    # Eight steps of AdamW, each of which moves a weight by up to 0.01.
    pairs = [(one.float(), results[2][name].float()) for name, one in results[0].items()]
    difference = [(one - other).abs().mean() for one, other in pairs]
    assert torch.stack(difference).max() < 2e-3, max(difference)


def test_interrupted_it_stops_with_a_checkpoint_and_resumes_in_another_number(start, workspace):
    process = start(2, **LONG)
    wait_for(workspace, "loss=", process)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) != 0
    assert "the next start resumes there" in said(workspace)
    assert not (workspace / RUN).exists()

    process = start(0)
    wait_for(workspace, "loss=", process)
    assert "resumes after step" in said(workspace)
    process.terminate()
    process.wait(timeout=120)


@pytest.mark.parametrize("lost", [0, 1])
def test_a_killed_process_ends_the_job_and_costs_little(lost, start, workspace):
    process = start(2, **LONG)
    checkpoint = workspace / "unfinished/train-bpg-0/checkpoint"
    while not checkpoint.exists():
        assert process.poll() is None, said(workspace)
        time.sleep(0.1)
    both = ranks(process)
    both[lost].kill()
    assert process.wait(timeout=120) != 0
    psutil.wait_procs(both, timeout=300)
    assert not any(one.is_running() for one in both)
    assert "another process of this training ended" in said(workspace)
    assert not (workspace / RUN).exists()

    process = start(1)
    wait_for(workspace, "loss=", process)
    assert "resumes after step" in said(workspace)
    process.terminate()
    process.wait(timeout=120)


def test_where_the_launcher_is_killed_its_processes_end(start, workspace):
    process = start(2, **LONG)
    wait_for(workspace, "loss=", process)
    both = ranks(process)
    process.kill()
    process.wait()
    psutil.wait_procs(both, timeout=300)
    assert not any(one.is_running() for one in both)
    assert "train: its launcher has ended; stopping" in said(workspace)


@pytest.mark.parametrize(
    ("launcher", "message"),
    [
        ("no_such_launcher --fast", "no_such_launcher: No such file"),
        ("torchrun 'open", "No closing quotation"),
    ],
)
def test_a_launcher_that_cannot_be_started_is_named(launcher, message, workspace, tools, run):
    tools.edit(workspace / "params/recipe/tiny.yaml", {"machine.launcher": launcher})
    environment = {"PYTHONPATH": str(tools.ROOT)}
    with pytest.raises(AssertionError) as error:
        run(workspace, *TRAIN, **environment)
    assert f"train: error: machine.launcher: {message}" in str(error.value)
    assert "Traceback" not in str(error.value)
