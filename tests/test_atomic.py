"""Outputs that appear whole or not at all; what killed processes leave is cleared away."""

import os
import subprocess
import sys

import pytest

from bpg.atomic import whole_directory, whole_file, write_text


@pytest.fixture(scope="module")
def dead():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    write_text(tmp_path / "deep/file", "old")
    with pytest.raises(KeyboardInterrupt), whole_file(tmp_path / "deep/file") as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert (tmp_path / "deep/file").read_text() == "old"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["file"]


def test_a_file_is_flushed_before_it_appears(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, type(tmp_path).replace
    monkeypatch.setattr(os, "fsync", lambda number: (done.append("fsync"), fsync(number)))
    monkeypatch.setattr(
        type(tmp_path), "replace", lambda a, b: (done.append("rename"), replace(a, b))
    )
    write_text(tmp_path / "file", "text")
    assert done == ["fsync", "rename"]


def test_a_folder_is_flushed_before_it_appears(tmp_path, monkeypatch):
    done = []
    rename = type(tmp_path).rename
    monkeypatch.setattr(os, "sync", lambda: done.append("sync"))
    monkeypatch.setattr(
        type(tmp_path), "rename", lambda a, b: (done.append("rename"), rename(a, b))
    )
    with whole_directory(tmp_path / "folder") as folder:
        (folder / "file").write_text("text")
    assert done == ["sync", "rename"]


def test_what_a_killed_process_left_goes_and_what_a_living_one_has_stays(tmp_path, dead):
    alive = os.getppid()
    for number in (dead, alive):
        (tmp_path / f".partial-{number}-file").write_text("half")
        (tmp_path / f".partial-{number}-folder").mkdir()
    (tmp_path / f".partial-{dead}-other").write_text("of another output")
    write_text(tmp_path / "file", "text")
    with whole_directory(tmp_path / "folder"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {
        "file",
        "folder",
        f".partial-{alive}-file",
        f".partial-{alive}-folder",
        f".partial-{dead}-other",
    }
