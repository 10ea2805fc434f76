from pathlib import Path

import pytest

from bpg.draw.training import Training
from bpg.errors import BPGError
from tests.draw.test_job import ended

ROOT = Path(__file__).parents[2]


def test_the_commands_are_those_of_the_documentation():
    text = (ROOT / "docs/own_images.md").read_text(encoding="utf-8")
    training = Training(ROOT, Path("~/photos"), Path("/nowhere"))
    for command in (*training.commands(epochs=100), *training.export_commands()):
        assert " ".join(command) + "\n" in text


def test_what_a_command_says_is_shown_and_nothing_follows_a_failure(tmp_path):
    """With the real commands, on a folder that is not there: nothing is changed."""
    training = Training(ROOT, tmp_path / "missing", tmp_path / "log")
    assert training.training.progress().status is None
    training.start(epochs=7)
    progress = ended(training.training)
    assert progress.status == 1
    assert progress.said.startswith("$ python -m pipeline.choose --folder")
    assert "no such folder" in progress.said
    assert "$ dvc" not in progress.said
    training.training.stop()  # of what has ended: nothing
    assert training.scores() is None
    with pytest.raises(BPGError, match="not trained on these strokes from here"):
        training.start_export()


def test_a_training_and_an_export_wait_for_each_other(tmp_path):
    training = Training(tmp_path, tmp_path / "own", tmp_path / "log")
    sleep = [["sleep", "600"]]
    for job, other in ((training.export, "start"), (training.training, "start_export")):
        job.start(sleep)
        with pytest.raises(BPGError, match=f"an? {job.name} is under way"):
            getattr(training, other)(*([7] if other == "start" else []))
        job.stop()
        assert ended(job).status != 0
