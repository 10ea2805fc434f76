"""Per-image work on a Dask cluster: a scheduler and two workers, all real processes."""

import contextlib
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from distributed import Client

STAGES = {
    "scribbles": ("data/shapes/scribbles", ()),
    "grabcut": ("data/shapes/grabcut", ()),
    "propagate": ("runs/scribblesup_1/0/propagated", ("scribblesup_1", "0")),
    "crf": ("runs/bpg/0/masks_crf", ("bpg", "0")),
    "evaluate": ("runs/bpg/0/metrics.json", ("bpg", "0")),
}


class Cluster:
    def __init__(self, folder: Path, environment: dict[str, str]):
        self.folder, self.environment = folder, environment
        self.processes: list[subprocess.Popen] = []
        contact = folder / "scheduler.json"
        options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
        self._start("scheduler", *options, "--scheduler-file", str(contact))
        while not contact.exists() or '"address"' not in contact.read_text():
            assert self.processes[0].poll() is None, (folder / "scheduler.log").read_text()
            time.sleep(0.1)
        self.address = contact.read_text().split('"address": "')[1].split('"')[0]
        options = ["--nthreads", "1", "--no-dashboard", "--no-nanny", "--name"]
        for name in ("first", "second"):
            self._start("worker", self.address, *options, name)
        with Client(self.address, timeout=300) as client:
            client.wait_for_workers(2, timeout=300)

    def _start(self, *words: str) -> None:
        with (self.folder / f"{words[0]}.log").open("ab") as said:
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "dask", *words],
                    cwd=self.folder,
                    env=self.environment,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                )
            )

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def cluster(workspace, environment, tools):
    found = Cluster(workspace, {**environment, "PYTHONPATH": str(tools.ROOT)})
    yield found
    found.end()


@pytest.fixture
def stage(workspace, environment, tools):
    """Return a function that starts a stage; its output goes to the file `said`."""

    def start(name: str) -> subprocess.Popen:
        with (workspace / "said").open("wb") as said:
            return subprocess.Popen(
                [sys.executable, "-m", f"stages.{name}", *STAGES[name][1]],
                cwd=workspace,
                env={**environment, "PYTHONPATH": str(tools.ROOT), "PYTHONUNBUFFERED": "1"},
                stdout=said,
                stderr=subprocess.STDOUT,
            )

    return start


def kept(workspace: Path, tools, name: str) -> dict[str, str] | str:
    path = workspace / STAGES[name][0]
    return tools.snapshot(path) if path.is_dir() else path.read_text()


def remove(workspace: Path, name: str) -> None:
    path = workspace / STAGES[name][0]
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(workspace / "unfinished", ignore_errors=True)


def test_a_cluster_gives_the_same_bytes(cluster, workspace, stage, tools):
    tools.call(workspace, "grabcut")
    here = {name: kept(workspace, tools, name) for name in STAGES}
    tools.edit(workspace / "params/recipe/tiny.yaml", {"machine.dask": cluster.address})
    for name in STAGES:
        remove(workspace, name)
        process = stage(name)
        assert process.wait(timeout=300) == 0, (workspace / "said").read_text()
        assert kept(workspace, tools, name) == here[name]
    # And it was the workers that did it.
    with Client(cluster.address, timeout=300) as client:
        assert any(client.run(lambda: "cv2" in sys.modules).values())


def test_a_worker_that_is_killed_costs_its_images_only(cluster, workspace, stage, tools):
    here = kept(workspace, tools, "crf")
    tools.edit(workspace / "params/recipe/tiny.yaml", {"machine.dask": cluster.address})
    remove(workspace, "crf")
    worker = cluster.processes[1]
    worker.send_signal(signal.SIGSTOP)  # it is given images and does none
    process = stage("crf")
    with Client(cluster.address, timeout=300) as client:
        addresses = client.scheduler_info()["workers"].items()
        stopped = next(address for address, one in addresses if one["name"] == "first")
        until = time.monotonic() + 300
        while not client.processing([stopped])[stopped]:
            assert process.poll() is None and time.monotonic() < until, (
                workspace / "said"
            ).read_text()
            time.sleep(0.05)
    worker.kill()
    assert process.wait(timeout=300) == 0, (workspace / "said").read_text()
    assert kept(workspace, tools, "crf") == here


def test_a_single_thread_is_said_to_do_nothing(cluster, workspace, tools):
    for worker in cluster.processes[2:]:
        worker.kill()
        worker.wait()
    with Client(cluster.address, timeout=300) as client:
        until = time.monotonic() + 300
        while len(client.nthreads()) > 1:
            assert time.monotonic() < until
            time.sleep(0.05)
    tools.edit(workspace / "params/recipe/tiny.yaml", {"machine.dask": cluster.address})
    remove(workspace, "crf")
    outcome = tools.call(workspace, "crf", "bpg", "0")
    assert outcome.code == 0, outcome.error
    assert "the cluster has one thread so far" in outcome.out


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("tcp://127.0.0.1:9", "no Dask scheduler answers at tcp://127.0.0.1:9"),
        ("nonsense", "no Dask scheduler answers at nonsense"),
    ],
)
def test_a_scheduler_that_does_not_answer_is_named(address, message, workspace, tools, monkeypatch):
    monkeypatch.setattr("pipeline.cluster.PATIENCE", 1)
    tools.edit(workspace / "params/recipe/tiny.yaml", {"machine.dask": address})
    outcome = tools.call(workspace, "crf", "bpg", "0")
    assert outcome.code == 1
    assert message in outcome.error


def test_a_cluster_without_workers_is_named(cluster, workspace, tools, monkeypatch):
    for worker in cluster.processes[1:]:
        worker.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.wait(timeout=30)
        worker.kill()
        worker.wait()
    monkeypatch.setattr("pipeline.cluster.WORKER_PATIENCE", 10)
    tools.edit(workspace / "params/recipe/tiny.yaml", {"machine.dask": cluster.address})
    outcome = tools.call(workspace, "crf", "bpg", "0")
    assert outcome.code == 1
    assert "has no worker" in outcome.error
