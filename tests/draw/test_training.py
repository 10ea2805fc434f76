import sys
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


@pytest.mark.parametrize("other", ["own", "another"])
def test_a_training_and_an_export_wait_for_each_other(tmp_path, other):
    (tmp_path / "params.yaml").write_text("seeds: [0]\n")
    begun, later = (
        Training(tmp_path, tmp_path / name, tmp_path / "log") for name in ("own", other)
    )
    sleep = [["sleep", "600"]]
    for job in (begun.training, begun.export):
        job.start(sleep)
        with pytest.raises(BPGError, match=f"an? {job.name} is under way for {begun.root}"):
            later.start(epochs=7)
        with pytest.raises(BPGError, match=f"an? {job.name} is under way for {begun.root}"):
            later.export.start(sleep)
        assert begun.running() == job.name
        assert later.running() == (job.name if other == "own" else None)
        job.stop()
        assert ended(job).status != 0


def test_a_training_outdates_the_export_before(tmp_path):
    (tmp_path / "params.yaml").write_text("seeds: [0]\n")
    training = Training(tmp_path, tmp_path / "own", tmp_path / "log")
    training.export.start([[sys.executable, "-c", "open('model.onnx', 'w').write('1')"]])
    ended(training.export)
    assert training.export.is_done()
    training.start(epochs=1)
    assert not training.export.is_done()
    assert training.export.progress().status is None
    ended(training.training)


@pytest.mark.parametrize("text", ["seeds: [1, 2]", "[]", ""])
def test_a_training_that_would_leave_another_network_in_place_is_refused(tmp_path, text):
    (tmp_path / "params.yaml").write_text(text)
    training = Training(tmp_path, tmp_path / "own", tmp_path / "log")
    with pytest.raises(
        BPGError, match=r"params\.yaml: seeds: the page shows the network of seed 0"
    ):
        training.start(epochs=1)
    assert training.training.progress().status is None
