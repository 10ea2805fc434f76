"""Commands of a page that outlive it: real processes."""

import json
import os
import signal
import sys
import time

import psutil
import pytest

from bpg.draw.job import LOST, STOPPED, Job
from bpg.errors import BPGError

MAKE = [sys.executable, "-c", "print('making'); open('made', 'w').write('1')"]
FAIL = [sys.executable, "-c", "print('fails'); raise SystemExit(3)"]
WAIT = ["sleep", "600"]


@pytest.fixture
def page(tmp_path):
    """Return a function that gives the job as a new page sees it."""
    jobs = []

    def open_page(folder="own", name="training"):
        product = tmp_path / "made"
        jobs.append(Job(tmp_path, tmp_path / folder, tmp_path / "log", name, product))
        return jobs[-1]

    yield open_page
    for job in jobs:
        job.stop()


def ended(job):
    until = time.monotonic() + 120
    while (progress := job.progress()).running:
        assert time.monotonic() < until, progress.said
        time.sleep(0.05)
    return progress


def under_way(job, text):
    until = time.monotonic() + 120
    while text not in job.progress().said:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_commands_run_one_after_the_other_and_their_product_is_known(page, tmp_path):
    job = page()
    assert not job.is_done()
    job.start([MAKE, ["true"]])
    assert ended(job).status == 0
    assert "making" in job.progress().said and "$ true" in job.progress().said
    assert job.is_done() and page().is_done()
    assert not page("other").is_done()
    (tmp_path / "made").write_text("another's")
    assert not job.is_done()


def test_harmless_warnings_of_dvc_are_not_shown(page):
    lines = [
        "WARNING: No file hash info found for '/x/results/gains.csv'. It won't be created.",
        "WARNING: 'data/folder/grabcut' is empty.",
        "WARNING: something else",
    ]
    job = page()
    job.start([["printf", "%s\\n", *lines]])
    ended(job)
    said = job.progress().said.split("\n")
    assert lines[2] in said and not {*lines[:2]} & {*said}


def test_after_a_failure_none_is_run_and_nothing_is_done(page, tmp_path):
    (tmp_path / "made").write_text("of before")
    job = page()
    job.start([FAIL, MAKE])
    progress = ended(job)
    assert progress.status == 3
    assert "making" not in progress.said
    assert not job.is_done()


def test_the_next_page_shows_it_and_stops_it(page):
    job = page()
    job.start([WAIT])
    under_way(job, "sleep")
    later = page()
    assert later.progress().running and "sleep 600" in later.progress().said
    assert page("other").progress().status is None
    with pytest.raises(BPGError, match=r"a training is under way for .*own"):
        page("other").start([MAKE])
    page("other").stop()  # not its own
    assert later.progress().running
    later.stop()
    assert ended(later).status not in (0, LOST)
    assert job.progress().status == later.progress().status
    page("other").start([MAKE])  # and now it may
    ended(page("other"))
    assert job.progress().status is None


def session_of(tmp_path):
    return json.loads((tmp_path / "log/training.json").read_text())["session"]


def test_what_was_killed_is_not_under_way(page, tmp_path):
    job = page()
    job.start([WAIT])
    under_way(job, "sleep")
    os.killpg(session_of(tmp_path), signal.SIGKILL)
    assert ended(job).status == LOST
    job.start([MAKE])
    assert ended(job).status == 0


def test_what_outlives_who_began_it_is_under_way_and_can_be_stopped(page, tmp_path):
    job = page()
    job.start([WAIT])
    under_way(job, "sleep")
    runner = psutil.Process(session_of(tmp_path))
    until = time.monotonic() + 120
    while not (children := runner.children()):  # it names a command before it starts it
        assert time.monotonic() < until
        time.sleep(0.05)
    (child,) = children
    os.kill(session_of(tmp_path), signal.SIGKILL)
    assert page().progress().running
    with pytest.raises(BPGError, match="a training is under way"):
        page("other").start([MAKE])
    job.progress()  # collects it
    job.stop()
    assert ended(job).status == LOST
    psutil.wait_procs([child], timeout=120)
    assert not child.is_running()


def test_a_stop_between_two_commands_counts(page, tmp_path):
    """The first one ends well, whatever it is asked."""
    stubborn = (
        "import signal, time\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "print('deaf', flush=True)\n"
        "import pathlib\n"
        "while not pathlib.Path('log/training.stop').exists(): time.sleep(0.05)\n"
        "time.sleep(1)\n"
    )
    job = page()
    job.start([[sys.executable, "-c", stubborn], MAKE])
    under_way(job, "deaf")
    job.stop()
    assert ended(job).status == STOPPED
    assert not (tmp_path / "made").exists()


def test_what_a_command_begins_after_it_was_asked_to_end_is_asked_too(page):
    """DVC ignores an interrupt while a stage runs, and begins the next one."""
    begins = (
        "import signal, subprocess, sys\n"
        # What it starts can be interrupted from its first moment: a blocked signal waits there.
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})\n"
        "def heed():\n"
        "    signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
        "    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})\n"
        "wait = ['sh', '-c', 'echo 1; exec sleep 600']\n"
        "codes = [subprocess.call(wait, preexec_fn=heed) for _ in range(2)]\n"
        "sys.exit(7 if codes == [-2, -2] else 8)\n"
    )
    job = page()
    job.start([[sys.executable, "-c", begins]])
    under_way(job, "\n1")
    job.stop()
    assert ended(job).status == 7


def test_what_could_not_be_recorded_does_not_begin(page, tmp_path, monkeypatch):
    written = []

    def write_once(path, text):
        if written:
            raise OSError(28, "No space left on device")
        written.append(text)
        path.write_text(text)

    job = page()
    with monkeypatch.context() as patch:
        patch.setattr("bpg.draw.job.write_text", write_once)
        with pytest.raises(OSError, match="No space"):
            job.start([MAKE])
    assert ended(job).status == LOST
    assert not (tmp_path / "made").exists()
    page("other").start([["true"]])  # the lock is free
    ended(page("other"))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"folder": "x"}'])
def test_a_record_that_was_cut_off_is_none(page, tmp_path, text):
    (tmp_path / "log").mkdir()
    (tmp_path / "log/training.json").write_text(text)
    job = page()
    assert job.progress().status is None
    job.start([MAKE])
    assert ended(job).status == 0
