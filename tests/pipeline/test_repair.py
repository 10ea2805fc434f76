"""What a killed DVC leaves behind, and `make repair`, which lets `dvc repro` go on."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import zc.lockfile

# Two stages, of which DVC caches the second.
PIPELINE = """
stages:
  first: { cmd: "echo 1 > first", outs: [first] }
  second: { cmd: "cat first first > second", deps: [first], outs: [second] }
"""
TABLE = Path(".dvc/tmp/rwlock")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, run) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("repair")
    run(folder, "git", "init", "--quiet")
    run(folder, "dvc", "init", "--quiet")
    (folder / "dvc.yaml").write_text(PIPELINE)
    run(folder, "dvc", "repro")
    return folder, (folder / "dvc.lock").read_text()


@pytest.fixture
def repair(finished, tools, environment):
    """Run it in that folder; give the status and what it says."""

    def command(patience: float = 5) -> tuple[int, str]:
        program = f"from pipeline import repair; repair.PATIENCE = {patience}; repair.main()"
        result = subprocess.run(
            [sys.executable, "-c", program],
            cwd=finished[0],
            env={**environment, "PYTHONPATH": str(tools.ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return result.returncode, result.stdout

    return command


def test_a_sound_folder_is_left_as_it_is(finished, repair, tools):
    own = {".dvc/tmp/lock": None}  # it holds the number of the process that had it last
    before = tools.snapshot(finished[0]) | own
    assert repair() == (0, "")
    assert tools.snapshot(finished[0]) | own == before


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.45, 0.95])
def test_dvc_goes_on_with_a_lock_that_was_cut_off(kept, finished, repair, run):
    folder, lock = finished
    (folder / "dvc.lock").write_text(lock[: int(kept * len(lock))])
    code, _ = repair()
    assert code == 0
    said = run(folder, "dvc", "repro")
    assert "Running stage 'second'" not in said  # it comes out of the cache
    assert (folder / "dvc.lock").read_text() == lock


def test_every_lock_that_dvc_refuses_is_deleted_and_no_other(finished, repair):
    from dvc.exceptions import DvcException  # noqa: PLC0415 slow to import
    from dvc.repo import Repo  # noqa: PLC0415

    folder, lock = finished
    refused = 0
    for kept in range(1, len(lock), len(lock) // 12):
        (folder / "dvc.lock").write_text(lock[:kept])
        try:
            with Repo(str(folder)) as dvc:
                dvc.index.stages  # noqa: B018
                list(dvc.index.stages[0].outs)
            readable = True
        except DvcException:
            readable = False
        assert repair()[0] == 0
        whole = readable and lock[kept - 1] == "\n"
        assert (folder / "dvc.lock").exists() == whole, lock[:kept]
        refused += not readable
    assert refused > 2
    (folder / "dvc.lock").write_text(lock)


def holder(number: int) -> dict:
    return {"write": {"/somewhere": {"pid": number, "cmd": "dvc repro"}}, "read": {}}


@pytest.mark.parametrize(
    "table",
    ["", '{"write"', "[]", '{"write": {"x": 5}}', json.dumps(holder(os.getpid()))],
    ids=["empty", "cut off", "a list", "of another kind", "this process"],
)
def test_a_table_that_no_dvc_holds_is_deleted(table, finished, repair, run):
    """The last one names a process that lives and is another program: numbers are reused."""
    folder, _ = finished
    (folder / TABLE).write_text(table)
    code, said = repair()
    assert code == 0
    assert said.startswith("repair: .dvc/tmp/rwlock was cut off, or of a process that has ended")
    assert not (folder / TABLE).exists()
    run(folder, "dvc", "repro")


def test_a_table_that_a_dvc_holds_is_left(finished, repair, tmp_path):
    folder, _ = finished
    program = tmp_path / "dvc"  # by its command line
    program.write_text("import time; print('ready', flush=True); time.sleep(600)")
    process = subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE)
    try:
        process.stdout.readline()
        (folder / TABLE).write_text(json.dumps(holder(process.pid)))
        assert repair() == (0, "")
        assert (folder / TABLE).exists()
    finally:
        process.kill()
        process.communicate()
    assert repair()[0] == 0
    assert not (folder / TABLE).exists()


def test_beside_a_dvc_at_work_nothing_is_touched(finished, repair):
    folder, lock = finished
    (folder / "dvc.lock").write_text(lock[:40])
    held = zc.lockfile.LockFile(str(folder / ".dvc/tmp/lock"))
    try:
        said = "repair: error: another DVC is at work here; wait for it to end\n"
        assert repair(patience=0.3) == (1, said)
        assert (folder / "dvc.lock").read_text() == lock[:40]
    finally:
        held.close()
        (folder / "dvc.lock").write_text(lock)


def test_it_waits_for_a_dvc_between_two_stages(finished, repair):
    folder, lock = finished
    (folder / "dvc.lock").write_text(lock[:40])
    held = zc.lockfile.LockFile(str(folder / ".dvc/tmp/lock"))
    soon = threading.Timer(2, held.close)  # starting the program takes less than that
    try:
        soon.start()
        code, said = repair(patience=60)
        assert code == 0
        assert said.startswith("repair: dvc.lock was cut off")
    finally:
        soon.join()
        (folder / "dvc.lock").write_text(lock)
