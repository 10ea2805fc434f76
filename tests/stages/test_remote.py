"""Data and results in a bucket: push, and reproduce on a second machine. A real S3 server."""

import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.ports import free_ports

STAGES = [["fetch"], ["prepare"], ["scribbles"], ["edges"], ["grabcut"], ["train", "scribble", "0"]]
STAGES += [[name, "scribble", "0"] for name in ("predict", "crf", "evaluate")]
STAGES += [["cost"], ["samples"], ["draw_next"], ["tables"], ["report"]]
SECRET = "not-to-be-found-in-git"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of an S3 server that has the empty bucket `bpg`."""
    (port,) = free_ports(1)
    with (tmp_path_factory.mktemp("server") / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 300
        while True:
            try:
                urllib.request.urlopen(urllib.request.Request(f"{address}/bpg", method="PUT"))
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < until
                time.sleep(0.1)
        yield address
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def dvc(run):
    """Return a function: DVC in a folder."""

    def command(folder: Path, *words: str) -> str:
        return run(folder, "dvc", *words, AWS_DEFAULT_REGION="us-east-1")

    return command


@pytest.fixture(scope="module")
def first(checkout, tools, wheels, run, dvc, server, tmp_path_factory) -> Path:
    """A repository in which one row was run, committed and pushed."""
    folder = checkout(tmp_path_factory.mktemp("first") / "repository")
    lists = tools.lists(["scribble"], train=["scribble"])
    tools.edit(folder / "params.yaml", {"mirror": str(wheels), "variants": lists})
    run(folder, "git", "init", "--quiet")
    commit(run, folder, "The program")
    tools.in_one_process(run, folder, STAGES)
    dvc(folder, "commit", "--force", "--quiet")
    dvc(folder, "remote", "add", "--default", "storage", "s3://bpg/experiments")
    dvc(folder, "remote", "modify", "storage", "endpointurl", server)
    give_credentials(dvc, folder)
    commit(run, folder, "The first run")
    assert re.search(r"\d+ files pushed", dvc(folder, "push"))
    return folder


def give_credentials(dvc, folder: Path) -> None:
    for key, value in {"access_key_id": "someone", "secret_access_key": SECRET}.items():
        dvc(folder, "remote", "modify", "--local", "storage", key, value)


def commit(run, folder: Path, message: str) -> None:
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "--message", message)


@pytest.fixture
def second(first, run, dvc, tmp_path) -> Path:
    """Another machine: a clone, without a cache."""
    run(tmp_path, "git", "clone", "--quiet", str(first), "repository")
    give_credentials(dvc, tmp_path / "repository")
    return tmp_path / "repository"


def ran(said: str) -> set[str]:
    return set(re.findall(r"Running stage '(.*)'", said))


def test_no_credential_is_in_git(first, run):
    words = ["git", "-C", str(first), "grep", SECRET]
    assert subprocess.run(words, capture_output=True, check=False).returncode == 1
    assert "endpointurl" in (first / ".dvc/config").read_text(encoding="utf-8")
    assert SECRET in (first / ".dvc/config.local").read_text(encoding="utf-8")


def test_nothing_is_run_or_fetched_again_where_all_is_there(second, dvc):
    said = dvc(second, "repro", "--pull", "--allow-missing", "evaluate@scribble-0")
    assert ran(said) == set()
    assert not (second / "data/shapes/images").exists()


def test_one_table_is_pulled_alone(second, dvc):
    assert not (second / "results/table1.md").exists()
    dvc(second, "pull", "results/table1.md")
    assert "Table 1" in (second / "results/table1.md").read_text(encoding="utf-8")
    assert not (second / "data/shapes/images").exists()
    assert not (second / "runs").exists()


def test_a_what_if_question_is_answered_without_training(second, dvc):
    """The tables read all of `runs`, a folder of many outputs: DVC pulls none of them by itself."""
    dvc(second, "pull", "train", "evaluate")
    change = "params/recipe/tiny.yaml:crf.iterations=1"
    said = dvc(second, "exp", "run", "--pull", "--allow-missing", "-S", change, "tables")
    # `cost` and `provenance` measure this machine and look at no CRF.
    assert {"crf@scribble-0", "evaluate@scribble-0", "tables"} <= ran(said)
    assert not {name for name in ran(said) if name.startswith(("train", "predict", "edges"))}


def test_all_is_pulled_to_the_byte(first, second, dvc, tools):
    dvc(second, "pull")
    for place in ("data", "runs"):
        here = tools.snapshot(second / place)
        assert here
        assert here.items() <= tools.snapshot(first / place).items()
    assert "up to date" in dvc(second, "status")
