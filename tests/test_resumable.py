"""Kept work: what is done is done, whatever happened to the rest."""

import errno
import os
import shutil
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bpg.errors import BPGError
from bpg.resumable import discard_served, exclusive, file_digest, open_work, tree_digest

ORIGIN = {"recipe: training": {"rate": 0.1}, "data/images": "abc"}


@pytest.fixture
def said():
    return []


@pytest.fixture
def start(tmp_path, said):
    """Open the work, as a stage does at each start."""

    def start(origin=ORIGIN, outputs=()):
        return open_work(tmp_path / "works/stage", origin, outputs, said.append)

    return start


def put(work, name, text="content"):
    work.begin(name)[0].write_text(text)
    work.add(name)


class Killed(BaseException):
    pass


def stop_after(start, **files):
    with pytest.raises(Killed), start() as work:
        for name, text in files.items():
            put(work, f"a/{name}", text)
        raise Killed


def test_what_is_done_is_kept_over_a_stop(start, said):
    stop_after(start, one="1", two="2")
    with start() as work:
        assert len(work) == 2
        assert work.done("a/one", "a/two")
        assert not work.done("a/one", "a/three")
        assert work.path("a/one").read_text() == "1"
    assert said == []


def test_a_file_that_was_not_added_is_not_done_and_gone(start, tmp_path):
    with pytest.raises(Killed), start() as work:
        work.begin("a/half")[0].write_text("hal")
        raise Killed
    with start() as work:
        assert not work.done("a/half")
        assert not (tmp_path / "works/stage/a/half").exists()


@pytest.mark.parametrize("content", ["", "2", "22", None])
def test_a_file_that_lost_its_content_is_not_done(content, start, tmp_path):
    """As after a power cut: the name is there, the data are not."""
    stop_after(start, one="1", two="two")
    path = tmp_path / "works/stage/a/two"
    path.unlink() if content is None else path.write_text(content)
    with start() as work:
        assert work.done("a/one")
        assert not work.done("a/two")
        assert not path.exists()
        put(work, "a/two", "anew")
    with start() as work:
        assert work.done("a/one", "a/two")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 400))
def test_a_journal_cut_off_anywhere_is_half_believed(start, tmp_path, kept):
    shutil.rmtree(tmp_path / "works", ignore_errors=True)
    names = ["one", "two", "three"]
    stop_after(start, **{name: name for name in names})
    journal = tmp_path / "works/stage/journal"
    whole = journal.read_text()
    journal.write_text(whole[:kept])
    with pytest.raises(Killed), start() as work:
        done = [name for name in names if work.done(f"a/{name}")]
        assert done == names[: whole[:kept].count("\n")]
        put(work, "a/four")  # nor does half a line run into this one
        raise Killed
    with start() as work:
        assert work.done("a/four", *(f"a/{name}" for name in done))


@pytest.mark.parametrize(
    ("origin", "names"),
    [
        (ORIGIN | {"data/images": "abd"}, "data/images"),
        (ORIGIN | {"new": None, "data/images": "x"}, "data/images"),
        ({"data/images": "abc"}, "recipe: training"),
        (ORIGIN | {"recipe: training": {"rate": 0.2}}, "recipe: training"),
        ({f"k{n}": n for n in range(9)}, "recipe: training, data/images, k0 and 8 more"),
    ],
)
def test_with_another_origin_it_starts_over_and_says_why(origin, names, start, said):
    stop_after(start, one="1")
    with start(origin) as work:
        assert len(work) == 0
        assert not work.done("a/one")
    assert said == [f"starts over: changed since this work was begun: {names}"]


def test_an_unreadable_origin_starts_over(start, said, tmp_path):
    stop_after(start, one="1")
    (tmp_path / "works/stage/fingerprint.json").write_text('{"rec')
    with start() as work:
        assert not work.done("a/one")
    assert said == ["starts over: what the kept work belongs to cannot be read"]


def test_nothing_is_said_of_work_killed_before_its_first_file(start, said, tmp_path):
    """Flushing the fingerprint to a busy disk can take long, and a kill may come in between."""
    folder = tmp_path / "works/stage"
    folder.mkdir(parents=True)
    (folder / ".partial-1-fingerprint.json").write_text('{"rec')
    with start() as work:
        put(work, "a/one")
    with start() as work:
        assert work.done("a/one")
    assert said == []
    assert not list(folder.glob(".partial-*"))


def test_folders_are_delivered_whole_with_nothing_else(start, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "stale").touch()
    with start() as work:
        put(work, "a/one", "1")
        put(work, "a/deep/two", "2")
        put(work, "b/other", "3")
        work.begin("a/half")[0].write_text("not added")
        work.publish({"a": out, "none": tmp_path / "empty"})
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()) == [
        "deep/two",
        "one",
    ]
    assert (out / "deep/two").read_text() == "2"
    assert list((tmp_path / "empty").iterdir()) == []


def test_delivered_files_stay_until_somebody_reads_them(start, tmp_path):
    """DVC may still be stopped before it has stored them; it then deletes them."""
    out = tmp_path / "out"
    with start(outputs=[out]) as work:
        put(work, "a/one", "1")
        work.publish({"a": out})
    shutil.rmtree(out)
    with start(outputs=[out]) as work:
        assert work.done("a/one")
        work.publish({"a": out})
    assert (out / "one").read_text() == "1"


def test_a_delivered_file_that_is_then_changed_does_not_count(start, tmp_path):
    """It may be the same one on the disk."""
    out = tmp_path / "out"
    with start() as work:
        put(work, "a/one", "1")
        work.publish({"a": out})
    (out / "one").write_text("spoilt")
    with start() as work:
        assert not work.done("a/one")
        put(work, "a/one", "1")
    assert (out / "one").read_text() == "spoilt"  # nor is it written over


def test_without_hard_links_files_are_copied(start, tmp_path, monkeypatch):
    def refuse(source, target):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    with start() as work:
        put(work, "a/one", "1")
        work.publish({"a": tmp_path / "out"})
    assert (tmp_path / "out/one").read_text() == "1"


@pytest.mark.parametrize(
    ("read", "goes"),
    [
        ("runs/bpg/0/masks", True),
        ("runs/bpg/0", True),
        ("runs", True),
        ("runs/bpg/0/model", False),
        ("runs/bpg/01", False),
        ("data", False),
    ],
)
def test_finished_work_goes_when_its_outputs_are_read(read, goes, start, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with start(outputs=["runs/bpg/0/masks"]) as work:
        put(work, "a/one")
    discard_served(tmp_path / "works", map(type(tmp_path), [read]))
    assert (tmp_path / "works/stage").exists() != goes


def test_unfinished_work_never_goes(start, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(Killed), start(outputs=[out]) as work:
        put(work, "a/one")
        raise Killed
    discard_served(tmp_path / "works", [out])
    with start() as work:
        assert work.done("a/one")


def test_work_that_somebody_is_at_does_not_go(start, tmp_path):
    out = tmp_path / "out"
    with start(outputs=[out]) as work:
        put(work, "a/one")
    with exclusive(tmp_path / "works/stage", print), start(outputs=[out]) as work:
        discard_served(tmp_path / "works", [out])
        assert work.path("a/one").read_text() == "content"


def test_two_may_delete_the_same_finished_work(start, tmp_path, monkeypatch):
    """Stages of other runs begin at the same time, and clear away what they find deleted."""
    out, delete = tmp_path / "out", shutil.rmtree

    def after_another(path, **options):
        delete(path, ignore_errors=True)
        delete(path, **options)

    with start(outputs=[out]) as work:
        put(work, "a/one")
    monkeypatch.setattr("bpg.resumable.shutil.rmtree", after_another)
    discard_served(tmp_path / "works", [out])
    assert not (tmp_path / "works/stage").exists()


def test_a_second_process_waits_and_says_so(start, said, tmp_path):
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from bpg.resumable import exclusive\n"
        "with exclusive(Path(sys.argv[1]), print):\n"
        "    print('at it', flush=True)\n"
        "    sys.stdin.readline()\n"
    )
    folder = tmp_path / "works/stage"
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout.readline() == "at it\n"

    def say(line: str) -> None:
        said.append(line)
        other.kill()  # the lock goes with the process

    with exclusive(folder, say):
        assert other.wait() != 0
    assert len(said) == 1
    assert said[0].startswith("another process is at this stage; waiting for it to end")
    other.communicate()


def test_a_full_disk_is_named(start, monkeypatch):
    with pytest.raises(OSError, match="No space left") as caught, start():
        raise OSError(28, "No space left on device")
    assert caught.value.filename.endswith("works/stage")


def test_digests_of_folders(tmp_path):
    (tmp_path / "x/deep").mkdir(parents=True)
    (tmp_path / "x/a").write_text("1")
    (tmp_path / "x/deep/b").write_text("2")
    before = tree_digest(tmp_path / "x")
    assert tree_digest(tmp_path / "x/a") == file_digest(tmp_path / "x/a")
    (tmp_path / "x/__pycache__").mkdir()
    (tmp_path / "x/__pycache__/a.pyc").write_text("3")
    (tmp_path / "x/.partial-1-c").write_text("4")
    (tmp_path / "x/.G7uiZyIg.tmp").write_text("DVC's")
    assert tree_digest(tmp_path / "x") == before
    (tmp_path / "x/deep/b").rename(tmp_path / "x/deep/c")
    renamed = tree_digest(tmp_path / "x")
    assert renamed != before
    (tmp_path / "x/deep/c").write_text("3")
    assert len({before, renamed, tree_digest(tmp_path / "x")}) == 3


def test_what_was_half_deleted_goes_too(start, tmp_path):
    (tmp_path / "works/.discarded-1-stage").mkdir(parents=True)
    (tmp_path / "works/.discarded-1-stage/file").touch()
    discard_served(tmp_path / "works", [])
    assert list((tmp_path / "works").iterdir()) == []


@pytest.mark.parametrize("name", ["x" * 5000, "../stage/a/one", "/etc/hostname", "a/../a/one", ""])
def test_strange_names_in_a_journal_are_not_done(name, start, tmp_path):
    stop_after(start, one="1")
    journal = tmp_path / "works/stage/journal"
    digest = journal.read_text().split()[0]
    with journal.open("a") as file:
        file.write(f"{digest}  {name}\n")
    with start() as work:
        assert len(work) == 1
        assert not work.done(name)


def test_a_file_is_begun_anew_and_its_link_stays_as_it_was(start, tmp_path):
    with start() as work:
        put(work, "a/one", "1")
        work.publish({"a": tmp_path / "out"})
        put(work, "a/one", "2")
    assert (tmp_path / "out/one").read_text() == "1"


def test_an_old_lock_where_locks_do_not_end_with_their_process_is_named(
    said, tmp_path, monkeypatch
):
    """Some network file systems have no flock: there a lock is a file, which a crash leaves."""

    def missing(*arguments):
        raise OSError(errno.ENOSYS, "Function not implemented")

    folder = tmp_path / "works/stage"
    folder.parent.mkdir()
    lock = folder.parent / ".stage.lock"
    lock.write_text("of a machine that crashed")
    monkeypatch.setattr("fcntl.flock", missing)
    monkeypatch.setattr("bpg.resumable.UNSURE_WAIT", 0.2)
    refusal = pytest.raises(BPGError, match=r"\.stage\.lock: .*delete this file")
    with refusal, exclusive(folder, said.append):
        pass
    lock.unlink()
    with exclusive(folder, said.append):
        pass
