"""What a stage makes of failures around its work."""

import os
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool

import pytest

from pipeline import run_stage as module


def leave(monkeypatch, parameter_files, error):
    """Run a stage whose work raises `error`; give what it exits with."""

    def work(parameters):
        raise error

    monkeypatch.chdir(parameter_files)
    monkeypatch.setattr(sys, "argv", ["x"])
    with pytest.raises(SystemExit) as caught:
        module.run_stage("no stage of dvc.yaml", work)
    assert "\n" not in caught.value.code
    return caught.value.code


def test_pytorchs_allocator_is_a_lack_of_memory(monkeypatch, parameter_files):
    error = RuntimeError(
        "[enforce fail at alloc_cpu.cpp:113] err == 0. DefaultCPUAllocator: can't allocate memory:"
        " you tried to allocate 4000000000000 bytes. Error code 12 (Cannot allocate memory)"
    )
    said = leave(monkeypatch, parameter_files, error)
    assert "memory is full (4,000,000,000,000 bytes" in said
    assert "batch_size" in said


def test_another_runtime_error_is_a_fault_of_the_program(monkeypatch, parameter_files):
    def work(parameters):
        raise RuntimeError("a fault")

    monkeypatch.chdir(parameter_files)
    monkeypatch.setattr(sys, "argv", ["x"])
    with pytest.raises(RuntimeError, match="a fault"):
        module.run_stage("no stage of dvc.yaml", work)


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        ("{SIGKILL(-9)}", "out of memory"),
        ("{EXIT(1)}", "out of memory"),
        ("{SIGSEGV(-11), SIGTERM(-15)}", "SIGSEGV"),
    ],
)
def test_only_a_kill_is_blamed_on_memory(monkeypatch, parameter_files, codes, said):
    error = BrokenProcessPool(f"A worker process was terminated. The exit codes are {codes}")
    found = leave(monkeypatch, parameter_files, error)
    assert said in found
    assert ("memory" in found) == ("memory" in said)


# A Python process, as a program that calls DVC's API is one; pytest's own name varies.
CALLER = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', sys.argv[1]]))"
ORPHANED = (
    "import os, sys; sys.path.insert(0, {root!r})\n"
    "import pipeline.early\n"
    "from pipeline.run_stage import _ending_with_dvc\n"
    "pipeline_parent = {parent}\n"
    "import pipeline.run_stage\n"
    "pipeline.run_stage.PARENT = pipeline_parent or pipeline.run_stage.PARENT\n"
    "with _ending_with_dvc('stage'): print('works')\n"
)


@pytest.mark.parametrize(("parent", "works"), [(None, True), (1_234_567, False)])
def test_a_stage_of_dvcs_python_api_works_and_an_orphan_does_not(tools, environment, parent, works):
    done = subprocess.run(
        [sys.executable, "-c", CALLER, ORPHANED.format(root=str(tools.ROOT), parent=parent)],
        env={**environment, "DVC_STAGE": "stage"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ("works" in done.stdout) == works, done.stderr
    if not works:
        assert done.returncode != 0
        assert done.stderr == "interrupted\n"


def test_a_seed_beyond_all_bounds_is_refused(workspace, tools):
    found = tools.call(workspace, "train", "scribble", "9" * 20)
    assert found.code == 1
    assert "seed" in found.error and "\n" not in found.error


def test_parents_are_noted_before_anything_large_is_imported():
    import pipeline.early  # noqa: PLC0415

    assert os.getppid() == pipeline.early.PARENT
