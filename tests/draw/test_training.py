import time
from pathlib import Path

import pytest

from bpg.draw.training import Training
from bpg.errors import BPGError

ROOT = Path(__file__).parents[2]


def ended(training):
    until = time.monotonic() + 120
    while (progress := training.progress(100)).running:
        assert time.monotonic() < until, progress.said
        time.sleep(0.1)
    return progress


def test_the_commands_are_those_of_the_documentation():
    text = (ROOT / "docs/own_images.md").read_text(encoding="utf-8")
    training = Training(ROOT, Path("~/photos"), Path("/nowhere"))
    for command in training.commands(epochs=100):
        assert " ".join(command) + "\n" in text


def test_what_a_command_says_is_shown_and_nothing_follows_a_failure(tmp_path):
    """With the real commands, on a folder that is not there: nothing is changed."""
    training = Training(ROOT, tmp_path / "missing", tmp_path / "log")
    assert training.progress(7).status is None
    training.start(epochs=7)
    progress = ended(training)
    assert progress.status == 1
    assert progress.said.startswith("$ python -m pipeline.choose --folder")
    assert "no such folder" in progress.said
    assert "$ dvc" not in progress.said
    training.stop()  # of what has ended: nothing


def test_one_at_a_time(tmp_path):
    training = Training(ROOT, tmp_path / "missing", tmp_path)
    training.start(epochs=1)
    with pytest.raises(BPGError, match="a training is under way"):
        training.start(epochs=1)
    ended(training)
    training.start(epochs=1)
    ended(training)
