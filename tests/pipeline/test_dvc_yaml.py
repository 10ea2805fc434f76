"""dvc.yaml against the code, the files and the parameters that the stages read."""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import yaml
from pydantic import BaseModel

import pipeline.run_stage
from pipeline.params import Parameters, read_parameters
from pipeline.paths import (
    HED_WEIGHTS,
    DataLayout,
    RunLayout,
    backbone_folder,
    data_layout,
    run_layout,
)
from pipeline.variants import Stage

ROOT = Path(__file__).parents[2]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]

ROWS = (
    *("scribble", "bpg", "kernelcut", "softlabel", "bpg_kernelcut", "scribblesup"),
    *("grabcut", "forest"),
)
ROUNDS = [
    {"name": "scribblesup_1", "init_from": "warm"},
    {"name": "scribblesup", "init_from": "scribblesup_1"},
]


@pytest.fixture(scope="module")
def repository(checkout, tools, run, tmp_path_factory):
    folder = checkout(tmp_path_factory.mktemp("declared") / "repository")
    lists = tools.lists(
        ROWS,
        train=["scribble", "warm"],
        train_boundary=["bpg", "bpg_warm"],
        fine_tune=["kernelcut"],
        fine_tune_edges=["softlabel"],
        fine_tune_boundary=["bpg_kernelcut"],
        rounds=ROUNDS,
        train_grabcut=["grabcut"],
        forest=["forest"],
    )
    tools.edit(folder / "params.yaml", {"variants": lists, "seeds": [3, 4]})
    run(folder, "git", "init", "--quiet")
    return folder


# What every stage imports, and what decides none of its bytes: another version reruns nothing.
PLUMBING = {
    *("bpg/atomic.py", "bpg/errors.py", "bpg/files.py", "bpg/ranks.py", "bpg/resumable.py"),
    *("bpg/strict_yaml.py", "bpg/options.py", "bpg/variants.py", "bpg/data/ids.py"),
    *("bpg/data/description.py", "pipeline/dataset.py"),  # what they read is an input
    *(f"bpg/{room}/options.py" for room in ("data", "forest", "inference", "losses", "models")),
    *(f"bpg/{room}/options.py" for room in ("propagation", "training")),
    *(f"pipeline/{name}.py" for name in ("early", "run_stage", "params", "paths", "resume")),
    *(
        f"pipeline/{name}.py"
        for name in ("check", "cluster", "dvc_yaml", "provenance", "variants", "versions")
    ),
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


# What dvc.yaml says, by itself

TRAINING = get_args(Stage)
FOREST = "forest"  # the one that trains no network
OF_A_ROUND = ("propagate", "train_propagated")
OF_ONE_RUN = {*TRAINING, "propagate", "predict", "crf", "evaluate"}
VARIANTS, LABELS = "params/variants.yaml", "params/labels.yaml"
DATASETS = sorted(path.stem for path in (ROOT / "params/dataset").glob("*.yaml"))
RECIPES = sorted(path.stem for path in (ROOT / "params/recipe").glob("*.yaml"))


def script(name: str) -> str:
    """The script of a stage; the stages that train networks have one."""
    return "train" if name in TRAINING and name != FOREST else name


def entries(name: str, kind: str) -> list[str]:
    """What the stage lists, with one name for the variant that it is about."""
    listed = [next(iter(e)) if isinstance(e, dict) else e for e in STAGES[name].get(kind, [])]
    return [entry.replace("${item.round.name}", "${item.variant}") for entry in listed]


def parameters_of(name: str) -> set[str]:
    """What a stage declares, as "switches.x", "dataset.x.y", "recipe.x", "variants"."""
    files = {
        "params/dataset/${dataset}.yaml": "dataset.",
        "params/recipe/${recipe}.yaml": "recipe.",
    }
    result = set()
    for entry in STAGES[name].get("params", []):
        if isinstance(entry, str):
            result.add(f"switches.{entry}")
            continue
        ((file, below),) = entry.items()
        if file in files:
            result |= {files[file] + key for key in below}
        else:
            result.add({VARIANTS: "variants", LABELS: "labels"}[file])
    return result


def covered(key: str, by: set[str]) -> bool:
    parts = key.split(".")
    return any(".".join(parts[: n + 1]) in by for n in range(len(parts)))


def test_every_script_is_a_stage_and_every_stage_a_script():
    assert {p.stem for p in (ROOT / "stages").glob("*.py")} == {*map(script, STAGES), "__init__"}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_runs_its_script_and_depends_on_it(name):
    stage = STAGES[name]
    variant = "${item.round.name}" if name in OF_A_ROUND else "${item.variant}"
    arguments = f" {variant} ${{item.seed}}" if name in OF_ONE_RUN else ""
    assert stage["cmd"] == f"python -m stages.{script(name)}{arguments}"
    assert f"stages/{script(name)}.py" in stage["deps"]
    if name in OF_A_ROUND:
        assert stage["matrix"] == {"round": "${variants.rounds}", "seed": "${seeds}"}
    elif name in OF_ONE_RUN:
        lists = "${variants.%s}" % (name if name in TRAINING else "all")
        assert stage["matrix"] == {"variant": lists, "seed": "${seeds}"}
    else:
        assert "matrix" not in stage


def leaves(file: str) -> list[str]:
    def walk(values: dict, prefix: str):
        for key, value in values.items():
            if isinstance(value, dict) and key != "options":
                yield from walk(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}"

    return list(walk(yaml.safe_load((ROOT / file).read_text(encoding="utf-8")), ""))


def test_every_parameter_is_tracked_by_some_stage_but_for_how_the_work_is_done():
    everywhere = set().union(*map(parameters_of, STAGES))
    files = {f"params/dataset/{name}.yaml": "dataset" for name in DATASETS}
    files |= {f"params/recipe/{name}.yaml": "recipe" for name in RECIPES}
    for file, kind in {"params.yaml": "switches", **files}.items():
        untracked = {k for k in leaves(file) if not covered(f"{kind}.{k}", everywhere)}
        if "${root}" in STAGES["prepare"]["deps"]:  # the folder itself
            untracked -= {"root"}
        assert {key.split(".")[0] for key in untracked} <= {"device", "machine"}, file


def test_only_the_boundary_stages_know_lambda_and_few_others_the_edge_maps():
    boundary = {"train_boundary", "fine_tune_boundary"}
    # The last two state it.
    users = boundary | {"tables", "report"}
    assert {n for n in STAGES if "switches.lambda" in parameters_of(n)} == users
    readers = {n for n in STAGES if "data/${dataset}/edges" in entries(n, "deps")}
    assert readers == boundary | {"fine_tune_edges", "report"}  # Figure 5 shows them


def test_full_masks_are_for_the_stage_of_the_upper_bound_alone():
    readers = {name for name in STAGES if "data/${dataset}/masks" in entries(name, "deps")}
    # No `propagate`, no `grabcut`, no `forest`.
    assert readers == {"train", "edges", "evaluate", "samples", "report"}


def test_a_new_label_retrains_nothing():
    assert {n for n in STAGES if "labels" in parameters_of(n)} == {"tables", "report"}


@pytest.mark.parametrize("name", TRAINING)
def test_a_training_tracks_the_entry_of_its_variant_alone(name):
    item = "${item.round.name}" if name in OF_A_ROUND else "${item.variant}"
    assert {VARIANTS: [item]} in STAGES[name]["params"]
    # Which share of the epochs that is.
    assert "bpg/variants.py" in entries(name, "deps")


def test_every_place_of_the_layout_is_written_by_one_stage():
    written = [path for name in STAGES for path in entries(name, "outs")]
    # The training stages write the same files, of other variants; a forest has no curves.
    twice = {path for path in written if written.count(path) > 1}
    curves = run_layout("${item.variant}", "${item.seed}").curves.as_posix()
    for name in TRAINING:
        assert set(entries(name, "outs")) == twice - ({curves} if name == FOREST else set())
    known = {HED_WEIGHTS.as_posix(), backbone_folder("${recipe}").as_posix()}
    layouts = (
        (data_layout("${dataset}"), DataLayout),
        (
            run_layout("${item.variant}", "${item.seed}"),
            RunLayout,
        ),
    )
    for layout, kind in layouts:
        places = (name for name, value in vars(kind).items() if isinstance(value, property))
        known |= {getattr(layout, name).as_posix() for name in places}
    assert {path for path in written if not path.startswith("results/")} == known


def test_whatever_is_read_is_written_before():
    written = {p for name in STAGES for k in ("outs", "metrics") for p in entries(name, k)}
    written.add("results/studies")  # by python -m studies; there from the start
    assert (ROOT / "results/studies/README.md").is_file()
    for name in STAGES:
        for path in entries(name, "deps"):
            if path.startswith(("data/", "results/", "runs/")):
                # Of the variant that it starts from: another run of the stage that writes it.
                own = re.sub(
                    r"^runs/((bpg_)?warm|\$\{item.round.init_from\})/",
                    "runs/${item.variant}/",
                    path,
                )
                assert own in written, (name, path)


def test_the_results_are_those_of_the_design_and_git_has_the_metrics_and_the_summary():
    names = ("table1", "table2", "table3", "ranking", "gains", "claims")
    tables = {f"results/{name}.{kind}" for name in names for kind in ("csv", "md")}
    assert tables <= set(entries("tables", "outs"))
    outputs = [
        o for stage in STAGES.values() for k in ("outs", "metrics") for o in stage.get(k, [])
    ]
    uncached = [entry for entry in outputs if isinstance(entry, dict) and "cache" in str(entry)]
    kept = ("results/summary.md", "results/metrics.json")
    assert uncached == [{path: {"cache": False}} for path in kept]
    assert entries("report", "outs") == ["results/report"]
    if (ROOT / ".git").exists():
        paths = [o for n in STAGES for k in ("outs", "metrics") for o in entries(n, k)]
        paths = [path for path in paths if path.startswith("results/")]
        command = [
            "git",
            "-c",
            f"safe.directory={ROOT}",
            "check-ignore",
            "--no-index",
            *paths,
            "results/provenance.json",
        ]
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert set(found.stdout.split()) == set(paths) - set(kept)


# What the stages read, while they run

RUNS = {
    # In the state of the fixture `finished_run`: (stage, its arguments)
    "prepare": (),
    "scribbles": (),
    "grabcut": (),
    "train": ("scribble", "0"),
    "train_boundary": ("bpg", "0"),
    "propagate": ("scribblesup_1", "0"),
    "train_propagated": ("scribblesup_1", "0"),
    "train_grabcut": ("grabcut", "0"),
    "forest": ("forest", "0"),
    "fine_tune": ("kernelcut", "0"),
    "fine_tune_edges": ("softlabel", "0"),
    "fine_tune_boundary": ("bpg_kernelcut", "0"),
    "predict": ("bpg", "0"),
    "crf": ("bpg", "0"),
    "evaluate": ("bpg", "0"),
    "cost": (),
    "samples": (),
    "draw_next": (),
    "tables": (),
    "report": (),
}
# `edges` and `fetch` need HED's weights, or the network.
assert {*RUNS, "edges", "fetch"} == set(STAGES)


class Recorder:
    """Records which parameters and files are read and written."""

    def __init__(self):
        self.parameters: set[str] = set()
        self.files: set[str] = set()
        self.folder: str | None = None

    def watch(self, section: object, path: str) -> None:
        """Let a section, and those in it, record what is asked of them."""
        kind = type(section)
        names = getattr(kind, "model_fields", None) or getattr(kind, "__dataclass_fields__", {})
        note = self.parameters.add

        def get(instance: object, name: str):
            if name in names:
                note(f"{path}.{name}")
            return kind.__getattribute__(instance, name)

        for name in names:
            value = getattr(section, name)
            if isinstance(value, BaseModel) or hasattr(type(value), "__dataclass_fields__"):
                self.watch(value, f"{path}.{name}".lstrip("."))

        def equal(one: object, other: object) -> bool:
            # A dataclass equals only those of its own class.
            plain = kind.__getattribute__
            same = (plain(one, name) == plain(other, name) for name in names)
            return isinstance(other, kind) and all(same)

        methods = {"__getattribute__": get, "__eq__": equal, "__hash__": kind.__hash__}
        recording = type(kind.__name__, (kind,), methods)
        object.__setattr__(section, "__class__", recording)

    def opened(self, event: str, arguments: tuple) -> None:
        if self.folder and event == "open" and isinstance(arguments[0], str):
            path = Path(arguments[0]).absolute()
            if path.is_relative_to(self.folder):
                self.files.add(path.relative_to(self.folder).as_posix())


RECORDER = Recorder()
sys.addaudithook(RECORDER.opened)


@pytest.mark.parametrize("name", RUNS)
def test_a_stage_declares_what_it_reads_and_writes(
    name, finished_run, tmp_path, tools, monkeypatch
):
    folder = shutil.copytree(finished_run, tmp_path / "workspace")
    shutil.rmtree(folder / "unfinished", ignore_errors=True)
    if name == "train_propagated":
        assert tools.call(folder, "propagate", *RUNS[name]).code == 0
    if name in ("grabcut", "train_grabcut"):
        rows = ["scribble", "bpg", "grabcut"]
        lists = {"train": ["scribble"], "train_boundary": ["bpg"], "train_grabcut": ["grabcut"]}
        tools.edit(folder / "params.yaml", {"variants": tools.lists(rows, **lists)})
    if name == "train_grabcut":
        assert tools.call(folder, "grabcut").code == 0
    tools.edit(folder / "params/recipe/tiny.yaml", {"machine.cache": False})
    plain = read_parameters

    def recorded(root: Path) -> Parameters:
        parameters = plain(root)
        for part in ("switches", "dataset", "recipe"):
            RECORDER.watch(getattr(parameters, part), part)
        return parameters

    monkeypatch.setattr(pipeline.run_stage, "read_parameters", recorded)
    RECORDER.parameters.clear()
    RECORDER.files.clear()
    RECORDER.folder = str(folder)
    try:
        outcome = tools.call(folder, name, *RUNS[name])
    finally:
        RECORDER.folder = None
    assert outcome.code == 0, outcome.error

    # A section is read where one of its keys is.
    read = {
        p
        for p in RECORDER.parameters
        if not any(o.startswith(f"{p}.") for o in RECORDER.parameters)
    }
    read = {key.replace("boundary_weight", "lambda") for key in read}
    # How, not what; and the names of the two files are in the paths that dvc.yaml spells out.
    free = {"switches.device", "recipe.machine", "switches.dataset", "switches.recipe"}
    if name in TRAINING:
        free |= OF_OTHER_VARIANTS[name]
    assert read  # else this test looks at nothing
    assert {key for key in read if not covered(key, free | parameters_of(name))} == set()

    variant, seed = RUNS[name] or ("", "")
    filled = {"${dataset}": "shapes", "${recipe}": "tiny", "${item.seed}": seed}
    filled |= {"${item.variant}": variant, "${item.round.init_from}": "warm"}

    def fill(path: str) -> str:
        for word, value in filled.items():
            path = path.replace(word, value)
        return path

    named = [fill(p) for k in ("deps", "outs", "metrics") for p in entries(name, k)]
    data = {f for f in RECORDER.files if f.startswith(("data/", "runs/", "results/"))}
    data -= {f for f in data if "/.partial-" in f or Path(f).name.startswith(".")}
    data -= {"results/provenance.json"}  # for git, not for DVC: it never repeats
    assert data or name == "cost"
    assert {f for f in data if not any(f == n or f.startswith(f"{n}/") for n in named)} == set()


# One script trains them all, and looks at what only others have before it leaves it alone.
OF_OTHER_VARIANTS = {
    "train": {"switches.lambda", "recipe.regularisers"},
    "train_boundary": {"recipe.regularisers"},
    "fine_tune": {"switches.lambda", "recipe.model.weights"},
    "fine_tune_edges": {"switches.lambda", "recipe.model.weights"},
    "fine_tune_boundary": {"recipe.model.weights"},
    "train_propagated": {"switches.lambda", "recipe.regularisers", "recipe.model.weights"},
    "train_grabcut": {"switches.lambda", "recipe.regularisers"},
    "forest": set(),
}
