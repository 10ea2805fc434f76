"""The command line: help, exit statuses and one-line errors, as a user gets them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from bpg import cli
from bpg.errors import BPGError

ROOT = Path(__file__).parents[1]


def bpg(*words, **options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "bpg", *map(str, words)]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, **options
    )


def test_help_names_every_command_and_loads_nothing():
    done = bpg("--help")
    assert done.returncode == 0
    for registered in cli.app.registered_commands:
        assert f"  {registered.name} " in done.stdout
    program = (
        "import sys\nfrom bpg import cli\n"
        "heavy = {'torch', 'numpy', 'cv2', 'PIL', 'dvc', 'onnxruntime', 'rich'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env={"PYTHONPATH": str(ROOT)})


def test_a_wrong_command_line_is_status_2():
    done = bpg("pedict")
    assert done.returncode == 2
    assert "No such command 'pedict'" in done.stderr


@pytest.fixture
def raising(monkeypatch):
    """Return a function that runs a command which raises an error."""
    app = typer.Typer()
    monkeypatch.setattr(cli, "app", app)
    app.callback()(lambda: None)

    def run(error):
        def fails() -> None:
            """Fail."""
            raise error

        cli.command(fails)
        return CliRunner().invoke(app, ["fails"])

    return run


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (BPGError("a.png: broken"), 1, "bpg fails: error: a.png: broken"),
        (FileNotFoundError(2, "No such file", "b.png"), 1, "bpg fails: error: b.png: No such file"),
        (MemoryError(), 1, "bpg fails: error: the memory is full; close other programs"),
        (KeyboardInterrupt(), 130, "bpg fails: interrupted"),
    ],
)
def test_what_goes_wrong_is_said_in_one_line(raising, error, status, line):
    done = raising(error)
    assert done.exit_code == status
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1


def test_a_fault_of_ours_is_not_hidden(raising):
    assert isinstance(raising(ZeroDivisionError()).exception, ZeroDivisionError)
