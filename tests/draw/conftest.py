import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.data.folders import draw

ROOT = Path(__file__).parents[2]
NAMES = ("a.jpg", "b.jpg", "sub/c ü.jpg")


def make_photographs(root):
    """A folder of images without strokes, 160 x 120 pixels."""
    for name in NAMES:
        draw(root / "own", name, strokes=(), size=(160, 120))
    return root / "own"


@contextmanager
def serving(root):
    """Give a function that starts `bpg draw` on the folder `own` in root, and returns its link."""
    started = []

    def start(*arguments, cwd=root, **environment):
        said = root / f"said{len(started)}"
        command = [sys.executable, "-m", "bpg", "draw", str(root / "own"), "--no-browser"]
        with said.open("wb") as file:
            process = subprocess.Popen(
                [*command, *arguments],
                cwd=cwd,
                env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
            )
        started.append(process)
        until = time.monotonic() + 300
        while not (found := re.search(r"http://\S+", said.read_text())):
            assert process.poll() is None and time.monotonic() < until, said.read_text()
            time.sleep(0.05)
        return found[0]

    start.processes = started
    try:
        yield start
    finally:
        for process in started:
            process.kill()
            process.wait()


@pytest.fixture
def photographs(tmp_path):
    return make_photographs(tmp_path)


@pytest.fixture
def served(photographs, tmp_path):
    with serving(tmp_path) as start:
        yield start
