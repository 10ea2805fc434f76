"""Commands of a page that outlive it: real processes."""

import os
import signal
import sys
import time

import psutil
import pytest

from bpg.draw.job import LOST, Job
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


def test_what_was_killed_is_not_under_way(page, tmp_path):
    job = page()
    job.start([WAIT])
    under_way(job, "sleep")
    process = psutil.Process(job._read().pid)
    family = process.children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    for one in family:
        one.kill()
    assert ended(job).status == LOST
    # A later process of the same number is another one.
    record = tmp_path / "log/training.json"
    record.write_text(record.read_text().replace(str(process.pid), str(os.getpid())))
    assert not page().progress().running


@pytest.mark.parametrize("text", ["", "{", "[]", '{"folder": "x"}'])
def test_a_record_that_was_cut_off_is_none(page, tmp_path, text):
    (tmp_path / "log").mkdir()
    (tmp_path / "log/training.json").write_text(text)
    job = page()
    assert job.progress().status is None
    job.start([MAKE])
    assert ended(job).status == 0
