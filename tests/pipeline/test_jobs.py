"""Runs side by side: who waits for whom, and what a failure, an interrupt and a kill do."""

import contextlib
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from bpg.errors import BPGError
from bpg.variants import lineage
from pipeline.run_stage import is_dvc

PATIENCE = 300  # seconds in which anything here must end


@pytest.fixture(scope="module")
def jobs():
    from pipeline import jobs  # noqa: PLC0415 conftest makes it importable

    return jobs


@pytest.fixture(scope="module")
def parameters(tools):
    from pipeline.params import read_parameters  # noqa: PLC0415

    return read_parameters(tools.ROOT)


def test_every_run_of_dvc_yaml_is_in_one_job(jobs, parameters, tools):
    from dvc.repo import Repo  # noqa: PLC0415 slow to import

    with Repo(str(tools.ROOT)) as dvc:
        stages = [stage.addressing for stage in dvc.index.stages]
    assert jobs.stage_names(parameters) == set(stages)
    runs = [stage for stage in stages if "@" in stage]
    planned = [stage for job in jobs.plan(parameters) for stage in job.stages]
    assert sorted(planned) == sorted(runs)


def test_each_seed_is_planned(jobs, parameters):
    switches = parameters.switches.model_copy(update={"seeds": [3, 5]})
    planned = jobs.plan(replace(parameters, switches=switches))
    assert {job.name for job in planned} >= {"bpg 3", "bpg 5", "warm 3", "warm 5"}
    assert next(job for job in planned if job.name == "kernelcut 5").needs == "warm 5"


def test_who_is_needed_comes_first_and_then_the_longest(jobs, parameters):
    planned = jobs.plan(parameters)
    names = [job.name for job in planned]
    assert set(names[:3]) == {"warm 0", "bpg_warm 0", "scribblesup_1 0"}
    rest = [job.work for job in planned[3:]]
    assert rest == sorted(rest, reverse=True)
    assert names.index("bpg 0") < names.index("scribble 0")


def test_a_run_tests_in_order_and_what_is_no_row_is_not_tested(jobs, parameters):
    planned = {job.name: job for job in jobs.plan(parameters)}
    tests = ("predict@bpg-0", "crf@bpg-0", "evaluate@bpg-0")
    assert planned["bpg 0"].stages == ("train_boundary@bpg-0", *tests)
    assert planned["warm 0"].stages == ("train@warm-0",)
    assert planned["scribblesup_1 0"].stages == ("propagate@round0-0", "train_propagated@round0-0")
    assert planned["scribblesup 0"].needs == "scribblesup_1 0"


def test_what_needs_a_changed_run_is_done_again_and_no_more(jobs, parameters):
    planned = jobs.plan(parameters)
    assert jobs.to_do(planned, set()) == []
    assert [job.name for job in jobs.to_do(planned, {"crf@bpg-0", "report"})] == ["bpg 0"]
    after_warm = {job.name for job in jobs.to_do(planned, {"train@warm-0"})}
    variants = parameters.variants
    start = {name for name in variants if "warm" in lineage(name, variants)}
    assert after_warm == {f"{name} 0" for name in start}


@pytest.mark.parametrize(
    ("cores", "threads", "number"), [(8, 1, 8), (8, 4, 2), (8, 0, 1), (1, 4, 1)]
)
def test_as_many_as_the_cores_have_room_for(jobs, parameters, monkeypatch, cores, threads, number):
    monkeypatch.setattr(jobs.joblib, "cpu_count", lambda: cores)
    machine = parameters.recipe.machine.model_copy(update={"threads": threads})
    recipe = parameters.recipe.model_copy(update={"machine": machine})
    switches = parameters.switches.model_copy(update={"device": "cpu"})
    changed = replace(parameters, recipe=recipe, switches=switches)
    assert jobs.default_number(changed, []) == number
    assert jobs.default_number(changed, ["0", "1", "2"]) == 3


@pytest.mark.parametrize(
    ("setting", "count", "names"),
    [(None, 2, ["0", "1"]), ("1,0", 2, ["1", "0"]), ("5", 1, ["5"]), ("", 0, []), ("-1", 0, [])],
)
def test_the_gpus_are_those_that_cuda_visible_devices_leaves(
    jobs, parameters, monkeypatch, setting, count, names
):
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if setting is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", setting)
    for device, expected in (("auto", names), ("cuda", names), ("cpu", [])):
        switches = parameters.switches.model_copy(update={"device": device})
        changed = replace(parameters, switches=switches)
        assert jobs.visible_gpus(changed) == expected


def test_each_gpu_has_its_job(jobs, monkeypatch):
    monkeypatch.setattr(jobs.joblib, "cpu_count", lambda: 8)
    shares = [jobs._share(slot, 3, ["2", "5"]) for slot in range(3)]
    assert [share["CUDA_VISIBLE_DEVICES"] for share in shares] == ["2", "5", "2"]
    assert {share["LOKY_MAX_CPU_COUNT"] for share in shares} == {"2"}


@pytest.mark.parametrize("word", ["0", "-1", "two", "1.5", "99999"])
def test_a_wrong_number_of_jobs_is_named(jobs, word):
    with pytest.raises(BPGError, match=r"JOBS must be a whole number from 1"):
        jobs._number([word])


# With real DVCs, on a pipeline of shell commands

PIPELINE = """
stages:
  a: { cmd: "touch a-began; while [ ! -e b-began ]; do sleep 0.1; done; echo > a", outs: [a] }
  b: { cmd: "touch b-began; while [ ! -e a-began ]; do sleep 0.1; done; echo > b", outs: [b] }
  c: { cmd: "cp a c", deps: [a], outs: [c] }
  launched:
    cmd: echo $LAUNCHED $SLURM_JOB_ID $CUDA_VISIBLE_DEVICES > launched
    outs: [launched]
  fails: { cmd: "sh fails.sh", outs: [nothing] }
  leaves: { cmd: "sleep 300 & echo $! > left; echo > leaves", outs: [leaves] }
  long: { cmd: "touch long-began; sleep 600", outs: [long] }
"""


@pytest.fixture
def folder(run, tmp_path):
    run(tmp_path, "git", "init", "--quiet")
    run(tmp_path, "dvc", "init", "--quiet")
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    said = r"half: 50%%|##| 1/2 [00:01<00:01, 1.00image/s]\rüber a reason"
    (tmp_path / "fails.sh").write_text(f"printf '{said}' >&2; exit 3", encoding="utf-8")
    return tmp_path


@pytest.fixture
def start(folder, environment, tools):
    """Start `run` with jobs {name: what it needs}, a stage each, two at a time."""
    processes = []

    def command(launch: str = "", **needs: str | None) -> subprocess.Popen:
        program = (
            "import sys; from bpg.errors import BPGError; from pipeline.jobs import Job, run\n"
            f"jobs = [Job(n, (n,), needs, 1) for n, needs in {needs!r}.items()]\n"
            "try:\n    run(jobs, 2, ['5'])\n"
            "except BPGError as error:\n    sys.exit(f'error: {error}')\n"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=folder,
            env={**environment, "PYTHONPATH": str(tools.ROOT), "LAUNCH": launch},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Where the tests run in a shell's background, SIGINT is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )
        processes.append(process)
        return process

    yield command
    for process in processes:
        process.kill()
        process.communicate()


def test_two_work_at_once_and_a_third_waits_for_what_it_needs(start, folder, run):
    process = start(c="a", a=None, b=None)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    assert said.index("a: done in") < said.index("c: started")
    assert "(3 of 3)" in said
    assert "didn't change" in run(folder, "dvc", "repro", "a", "b", "c")


def test_after_a_failure_none_is_started_and_the_reason_stands_there(start, folder):
    process = start(fails=None, c="fails")
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "fails: über a reason" in said
    assert "half" not in said
    assert "error: failed: fails" in said
    assert not (folder / "c").exists()


def test_a_launcher_starts_each_job_and_gives_it_its_gpu(start, folder):
    for launch, found in (("env LAUNCHED='far away'", "far away\n"), ("", "5\n")):
        (folder / "launched").unlink(missing_ok=True)
        process = start(launch, launched=None)
        said, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, said
        assert (folder / "launched").read_text() == found


def test_a_launcher_needs_to_be_told_how_many(jobs, monkeypatch):
    monkeypatch.setattr(jobs, "LAUNCH", ("srun",))
    monkeypatch.setattr(jobs, "stale", lambda: {"train@scribble-0", "train@prn-0"})
    monkeypatch.setattr(jobs, "visible_gpus", lambda parameters: [])
    monkeypatch.setattr(sys, "argv", ["jobs"])
    with pytest.raises(SystemExit, match="LAUNCH needs JOBS=N"):
        jobs.main()


SINFO = shutil.which("sinfo")
needs_slurm = pytest.mark.skipif(
    SINFO is None or subprocess.run([SINFO], capture_output=True, check=False).returncode != 0,
    reason="no Slurm here",
)


@needs_slurm
def test_slurm_runs_two_at_once(start, folder):
    process = start(
        "srun --disable-status --exact --ntasks=1 --cpus-per-task=1", a=None, b=None, launched=None
    )
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    assert (folder / "launched").read_text().strip().isdecimal()


@needs_slurm
def test_interrupted_slurms_jobs_end_too(start, folder):
    process = start("srun --disable-status --exact --ntasks=1 --cpus-per-task=1", long=None)
    wait_for(folder / "long-began")
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode != 0, said
    assert subprocess.check_output([shutil.which("squeue"), "--noheader"]) == b""


def test_what_a_stage_leaves_behind_is_not_waited_for(start, folder):
    """As the processes of joblib, when their stage is killed: they keep its output open."""
    process = start(leaves=None)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    left = psutil.Process(int((folder / "left").read_text()))
    assert left.is_running()
    left.kill()


def wait_for(path: Path) -> None:
    for _ in range(10 * PATIENCE):
        if path.exists():
            return
        time.sleep(0.1)
    pytest.fail(f"{path} did not appear")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_all_of_them(start, folder, number):
    process = start(long=None, c="long")
    wait_for(folder / "long-began")
    family = psutil.Process(process.pid).children(recursive=True)
    assert family
    process.send_signal(number)
    process.communicate(timeout=PATIENCE)
    assert process.returncode not in (0, None)
    _, alive = psutil.wait_procs(family, timeout=PATIENCE)
    assert not alive
    assert not (folder / "c").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="a Linux facility")
def test_its_dvcs_end_when_it_is_killed(start, folder):
    process = start(long=None)
    wait_for(folder / "long-began")
    family = psutil.Process(process.pid).children(recursive=True)
    dvcs = [one for one in family if is_dvc(one)]
    assert dvcs
    process.kill()
    _, alive = psutil.wait_procs(dvcs, timeout=PATIENCE)
    for one in family:  # `sleep` watches nobody; a stage of ours does
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    assert not alive
