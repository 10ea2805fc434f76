"""What unfinished work belongs to: all that dvc.yaml declares, as DVC itself reads it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]

ROWS = ("scribble", "bpg", "kernelcut", "bpg_kernelcut", "scribblesup")
ROUNDS = [
    {"name": "scribblesup_1", "start": "warm"},
    {"name": "scribblesup", "start": "scribblesup_1"},
]


@pytest.fixture(scope="module")
def repository(checkout, tools, run, tmp_path_factory):
    folder = checkout(tmp_path_factory.mktemp("declared") / "repository")
    lists = tools.lists(
        ROWS,
        train=["scribble"],
        train_boundary=["bpg"],
        warm_up=["warm"],
        fine_tune=["kernelcut"],
        fine_tune_boundary=["bpg_kernelcut"],
        rounds=ROUNDS,
    )
    tools.edit(folder / "params.yaml", {"variants": lists, "seeds": [3, 4]})
    run(folder, "git", "init", "--quiet")
    return folder


# What every stage imports, and what decides none of its bytes: another version reruns nothing.
PLUMBING = {
    *("bpg/atomic.py", "bpg/errors.py", "bpg/resumable.py", "bpg/strict_yaml.py"),
    *("bpg/variants.py", "bpg/losses/options.py", "bpg/data/ids.py"),
    *(f"pipeline/{name}.py" for name in ("early", "run_stage", "params", "paths", "resume")),
    *(f"pipeline/{name}.py" for name in ("dvc_yaml", "provenance", "versions")),
}
# Who reads what these have brought.
FETCHING = {f"bpg/download/{name}.py" for name in ("archives", "weights", "wheels")}


def imports(path: Path) -> Iterator[str]:
    """The files of this repository that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from (
            file for name in names if (ROOT / (file := name.replace(".", "/") + ".py")).is_file()
        )


def code_of(script: str) -> set[str]:
    """All files that running a script imports."""
    found, waiting = set(), [f"stages/{script}.py"]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += imports(ROOT / file)
    return found


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_the_code_that_its_bytes_follow_from(name):
    entry = STAGES[name]
    script = words_of(entry["cmd"].replace("${item.seed}", "0"))[0]
    code = code_of(script)
    named = [path for path in entry["deps"] if path.startswith(("bpg", "pipeline", "stages"))]

    def declared(file: str) -> bool:
        return any(file == path or file.startswith(f"{path}/") for path in named)

    missing = {file for file in code if not declared(file)} - PLUMBING
    if name != "fetch":
        missing -= FETCHING
    if script == "train" and "bpg/losses" not in named:
        # Other variants' losses: these have no regulariser and, but for one stage, no boundary.
        own = {"bpg/losses/partial_cross_entropy.py"}
        own |= {"bpg/losses/boundary.py"} if name.endswith("boundary") else set()
        missing = {file for file in missing if file in own or not file.startswith("bpg/losses/")}
    if name == "tables":  # names and counts, no image
        missing -= {"bpg/data/masks.py", "bpg/opencv.py", "bpg/constants.py"}
    assert not missing
    unused = [p for p in named if not any(f == p or f.startswith(f"{p}/") for f in code)]
    assert all(path.endswith((".cpp", ".yaml")) for path in unused), unused


def words_of(command: str) -> tuple[str, list]:
    """`python -m stages.NAME VARIANT SEED`"""
    _, _, module, *rest = command.split()
    return module.removeprefix("stages."), [rest[0], int(rest[1])] if rest else []


def test_it_is_what_dvc_reads(repository):
    from dvc.dependency import ParamsDependency  # noqa: PLC0415 slow to import
    from dvc.repo import Repo  # noqa: PLC0415

    from pipeline.dvc_yaml import declared  # noqa: PLC0415
    from pipeline.params import read_parameters  # noqa: PLC0415

    parameters = read_parameters(repository)
    seen = set()
    with Repo(str(repository)) as dvc:
        for stage in dvc.index.stages:
            name, arguments = words_of(stage.cmd)
            found = declared(name, parameters, *arguments)
            files = [d for d in stage.deps if not isinstance(d, ParamsDependency)]
            keys = {
                d.def_path: set(d.params) for d in stage.deps if isinstance(d, ParamsDependency)
            }
            assert set(found.inputs) == {dependency.def_path for dependency in files}
            assert {file: set(listed) for file, listed in found.parameters.items()} == keys
            assert set(found.outputs) == {output.def_path for output in stage.outs}
            seen.add(stage.name.partition("@")[0])
    declared_there = yaml.safe_load((repository / "dvc.yaml").read_text(encoding="utf-8"))
    assert seen == set(declared_there["stages"])


def test_every_input_and_parameter_of_a_training_counts(workspace, tools, monkeypatch):
    from pipeline.dvc_yaml import declared, fingerprint  # noqa: PLC0415
    from pipeline.params import read_parameters  # noqa: PLC0415

    monkeypatch.chdir(workspace)

    def origin():
        parameters = read_parameters(workspace)
        return fingerprint(declared("train_boundary", parameters, "bpg", 0))

    before = origin()
    assert all(value is not None for key, value in before.items() if key.startswith("bpg/"))
    assert before["params.yaml: lambda"] == 1.0
    changes = {
        "params.yaml: lambda": lambda: tools.edit(workspace / "params.yaml", {"lambda": 0.5}),
        "params/recipe/tiny.yaml: training": lambda: tools.edit(
            workspace / "params/recipe/tiny.yaml", {"training.lr": 0.5}
        ),
        "data/shapes/edges": lambda: min((workspace / "data/shapes/edges").iterdir()).write_bytes(
            b"x"
        ),
        "data/shapes/train.txt": lambda: (workspace / "data/shapes/train.txt").write_text("x\n"),
    }
    for name, change in changes.items():
        change()
        after = origin()
        assert {key for key in before if before[key] != after[key]} == {name}
        before = after


def test_a_stage_that_is_started_with_other_inputs_starts_over_and_says_so(workspace, tools):
    tools.edit(workspace / "params/recipe/tiny.yaml", {"machine.checkpoint_seconds": 0})
    assert tools.call(workspace, "train", "scribble", "0").code == 0
    again = tools.call(workspace, "train", "scribble", "0")
    assert "starts over" not in again.out
    tools.edit(workspace / "params/recipe/tiny.yaml", {"training.lr": 0.003})
    changed = tools.call(workspace, "train", "scribble", "0")
    place = "params/recipe/tiny.yaml: training"
    assert f"train: starts over: changed since this work was begun: {place}\n" in changed.out
    tools.edit(workspace / "params/recipe/tiny.yaml", {"machine.threads": 2})
    assert "since this work was begun: machine.threads\n" in (
        tools.call(workspace, "train", "scribble", "0").out
    )
    tools.edit(workspace / "params/recipe/tiny.yaml", {"machine.num_workers": 1})
    assert "starts over" not in tools.call(workspace, "train", "scribble", "0").out
