"""`dvc repro` from nothing to the page on a few tiny images, and what a change makes it redo."""

import csv
import json
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors import safe_open

VARIANTS = ("scribble", "bpg", "kernelcut")
LISTS = {
    "train": ["scribble", "warm"],
    "train_boundary": ["bpg"],
    "fine_tune": ["kernelcut"],
}
EPOCHS = {"scribble": 10, "bpg": 10, "warm": 5, "kernelcut": 5}
SIDE, TRAIN, VAL = 64, 8, 4
SHAPES, TINY = "params/dataset/shapes.yaml", "params/recipe/tiny.yaml"


@pytest.fixture(scope="module")
def pipeline(wheels, checkout, tools, run, tmp_path_factory) -> tuple[Path, str]:
    """A repository after what `make repro` does, two runs at a time; what that printed."""
    folder = checkout(tmp_path_factory.mktemp("pipeline") / "repository")
    lists = tools.lists(VARIANTS, **LISTS)
    tools.edit(folder / "params.yaml", {"mirror": str(wheels), "variants": lists})
    run(folder, "git", "init", "--quiet")
    commit(run, folder, "The program")
    said = run(folder, sys.executable, "-c", "from pipeline.jobs import main; main()", "2")
    said += run(folder, "dvc", "repro")
    commit(run, folder, "All runs")
    return folder, said


def commit(run, folder: Path, message: str) -> None:
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "--message", message)


@pytest.fixture(scope="module")
def repository(pipeline) -> Path:
    return pipeline[0]


# What a run leaves


def test_every_stage_ran_once_and_none_complained(pipeline):
    _, said = pipeline
    alone = re.findall(r"^Running stage '(.*)'", said, re.MULTILINE)
    assert alone == ["cost", "samples", "draw_next", "tables", "report"]
    assert re.findall(r"^(\w+): done in [\d.]+ s$", said, re.MULTILINE) == alone
    before = re.findall(r"^data: (\w+): done in [\d.]+ s$", said, re.MULTILINE)
    assert before == ["fetch", "prepare", "scribbles", "edges", "grabcut"]
    each = ["predict", "crf", "evaluate"]
    for variant in ("scribble", "bpg", "kernelcut"):
        done = re.findall(rf"^{variant} 0: (\w+): done in [\d.]+ s$", said, re.MULTILINE)
        assert done == ["train", *each]
    assert len(re.findall(r"^warm 0: train: done in", said, re.MULTILINE)) == 1


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
            with Image.open(path) as image:
                assert (image.format, image.mode, image.size) == ("PNG", mode, (SIDE, SIDE))
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
            with Image.open(path) as image:
                assert (image.mode, image.size) == ("P", (SIDE, SIDE))
                assert np.asarray(image).max() <= 6
    assert names(run / "probabilities", VAL) == [f"{name}.zst" for name in val]
    # The prediction is the class of the highest stored probability, but for rounding: where it
    # is another one, the two lie within one of the 255 steps of the root.
    from bpg.inference.probabilities import read_probabilities  # noqa: PLC0415 needs torch's start

    for name in val:
        classes, stored = read_probabilities(run / f"probabilities/{name}.zst")
        mask = np.asarray(Image.open(run / f"masks/{name}.png"))
        predicted = np.take_along_axis(stored, np.searchsorted(classes, mask)[None], axis=0)[0]
        assert (np.sqrt(stored.max(0)) - np.sqrt(predicted)).max() < 1.01 / 255
        assert (np.asarray(classes)[stored.argmax(0)] == mask).mean() > 0.9

    summary = json.loads((run / "training.json").read_text(encoding="utf-8"))
    epochs = EPOCHS[variant]
    assert (summary["epochs"], summary["steps"]) == (epochs, epochs * TRAIN // 4)
    assert (summary["edge_loss"] is not None) == (variant == "bpg")
    assert ("dense_crf" in summary) == (variant == "kernelcut")
    curve = (run / "curves/plots/metrics/train/loss.tsv").read_text(encoding="utf-8").split("\n")
    assert len(curve) - 2 == epochs  # a heading, a line an epoch, an end of line


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


@pytest.mark.parametrize(("number", "column"), [(1, "iou_mean"), (2, "miou"), (3, "miou")])
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
        if row["variant"] in VARIANTS:
            key = "miou_crf" if row["crf"] == "1" else "miou"
            assert float(row["iou_mean"]) == summary[row["variant"]][key]
    bpg = {row["variant"]: row for row in rows(repository, 3)}["bpg"]
    assert float(bpg["miou"]) == summary["bpg"]["miou"]
    assert float(bpg["miou_crf"]) == summary["bpg"]["miou_crf"]
    assert (bpg["paper_miou"], bpg["paper_miou_crf"]) == ("73.2", "76.0")
    edge = {row["variant"]: row["edge_loss"] for row in rows(repository, 2)}["bpg"]
    assert float(edge) == summary["bpg"]["edge_loss"]
    epochs = {row["variant"]: row["epochs"] for row in rows(repository, 3)}
    assert (epochs["bpg"], epochs["kernelcut"]) == ("10", "5 + 5")


def test_the_ranking_has_every_row_in_order(repository):
    summary = json.loads((repository / "results/metrics.json").read_text(encoding="utf-8"))
    with (repository / "results/ranking.csv").open(encoding="utf-8", newline="") as file:
        ranking = list(csv.DictReader(file))
    assert {row["variant"]: float(row["miou"]) for row in ranking} == {
        variant: summary[variant]["miou"] for variant in VARIANTS
    }
    mious = [float(row["miou"]) for row in ranking]
    assert mious == sorted(mious, reverse=True)
    assert {row["reference"] for row in ranking} == {"bpg"}
    for row in ranking:
        if row["variant"] == "bpg":
            assert row["raw_excludes_0"] == ""
        else:
            gain = float(row["miou"]) - summary["bpg"]["miou"]
            assert float(row["raw_difference"]) == pytest.approx(gain, abs=0.011)
            assert row["raw_excludes_0"] in ("yes, higher", "yes, lower", "no")


def test_the_page_shows_the_tables_and_pictures_that_are_there(repository):
    page = repository / "results/report/index.html"
    text = page.read_text(encoding="utf-8")
    assert text.lstrip().lower().startswith("<!doctype html>")
    assert text.count("<table") == 9
    assert "not run" in text
    charts = ("miou", "classes", "claims", "ranking", "trimap", "cost", "curves")
    for name in charts:
        assert f'id="{name}-figure_1"' in text
    figures = {*(f"figure{number}" for number in (1, 4, 5, 6)), "draw_next"}
    shown = re.findall(r'<img src="([^"]+)"', text)
    assert len(shown) == len(figures)
    assert all(source.startswith("data:image/png;base64,") for source in shown)
    assert {path.stem for path in page.parent.glob("*.png")} == {*charts, *figures}
    for path in page.parent.glob("*.png"):
        with Image.open(path) as image:
            assert image.format == "PNG"


def test_the_viewer_has_images_by_rule_and_those_with_strokes(repository):
    text = (repository / "results/report/index.html").read_text(encoding="utf-8")
    found = re.search(r'id="shots">(.*?)</script>', text, re.DOTALL)
    shots = json.loads(found[1])
    groups = [shot["why"].partition(",")[0] for shot in shots]
    assert groups == sorted(groups, key=["best", "typical", "worst", "trained on"].index)
    assert groups[0] == "best" and groups[-1] == "trained on"
    for shot in shots:
        layers = [name for name, _, _ in shot["layers"]]
        assert layers[0] == "image"
        assert {"truth", "BPG"} <= set(layers)
        assert ("strokes" in layers) == (shot["why"] == "trained on")


def test_only_small_text_is_given_to_git(repository, run):
    tracked = run(repository, "git", "ls-files").splitlines()
    assert not [p for p in tracked if p.startswith(("data/", "runs/", "provenance/"))]
    results = {p for p in tracked if p.startswith("results/")}
    kept = ("summary.md", "metrics.json", "provenance.json", "studies/README.md")
    assert results == {f"results/{p}" for p in kept}
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


def test_stages_that_are_no_more_are_forgotten(repository, run):
    lock = repository / "dvc.lock"
    before = lock.read_text(encoding="utf-8")
    content = yaml.safe_load(before)
    content["stages"]["predict@scribble-7"] = content["stages"]["predict@scribble-0"]
    lock.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    try:
        said = run(repository, sys.executable, "-c", "from pipeline.repair import main; main()")
        assert said.startswith("repair: deleted 1 entries of dvc.lock")
        assert yaml.safe_load(lock.read_text(encoding="utf-8")) == yaml.safe_load(before)
        assert "Data and pipelines are up to date." in run(repository, "dvc", "repro")
    finally:
        lock.write_text(before, encoding="utf-8")


@contextmanager
def changed(repository: Path, tools, file: str, changes: dict) -> Iterator[None]:
    path = repository / file
    before = path.read_bytes()
    tools.edit(path, changes)
    try:
        yield
    finally:
        path.write_bytes(before)


AFTER = {"samples", "draw_next", "tables", "report"}
BOTH = {f"@{variant}-0" for variant in VARIANTS}
TRAINED = {"train@scribble-0", "train_boundary@bpg-0", "train@warm-0", "fine_tune@kernelcut-0"}
CHANGES = {
    # what is changed: (file, keys, the stages that read it)
    "lambda": ("params.yaml", {"lambda": 0.5}, {"train_boundary@bpg-0", "tables", "report"}),
    "BRN": (TINY, {"model.brn.width": 4}, {"train_boundary@bpg-0", "cost"}),
    "PRN": (TINY, {"model.prn.width": 4}, {*TRAINED, "cost"}),
    "epochs": (TINY, {"training.epochs": 6}, {*TRAINED, "cost", "tables", "report"}),
    "crop": (TINY, {"training.augmentation.crop": 57}, {*TRAINED, "cost"}),
    "scales": (
        TINY,
        {"inference.scales": [1.0, 1.25]},
        {f"{stage}{run}" for stage in ("predict", "evaluate") for run in BOTH}
        | {"samples", "draw_next"},
    ),
    "crf": (
        TINY,
        {"crf.bilateral_rgb": 9},
        {f"{stage}{run}" for stage in ("crf", "evaluate") for run in BOTH},
    ),
    "edges": (SHAPES, {"edges.upscale": 1}, {"edges", "tables", "report"}),
    "true edges": (SHAPES, {"edges.source": "truth"}, {"edges", "tables", "report"}),
    "grabcut": (TINY, {"grabcut.iterations": 2}, {"grabcut"}),
    "forest": (TINY, {"forest.trees": 5}, set()),  # none is a row here
    "strokes": (SHAPES, {"scribbles.line_width": 2}, {"prepare", "scribbles"}),
    "another draw": (SHAPES, {"source.seed": 1}, {"fetch", "prepare"}),
    "threads": (TINY, {"machine.threads": 2}, set()),
    "num_workers": (TINY, {"machine.num_workers": 1, "machine.cache": False}, set()),
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
        "draw_next",
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
        ({"seeds": [0, 1]}, {"scribble-1", "bpg-1", "warm-1", "kernelcut-1"}),
        ({"train": ["scribble", "warm", "prn"]}, {"prn-0"}),
        ({"fine_tune": ["kernelcut", "gatedcrf"]}, {"gatedcrf-0"}),
        (
            {"train_boundary": ["bpg", "bpg_warm"], "fine_tune_boundary": ["bpg_kernelcut"]},
            {"bpg_kernelcut-0", "bpg_warm-0"},
        ),
    ],
    ids=["seed", "variant", "peer", "peer with boundary loss"],
)
def test_one_more_run_leaves_the_others_alone(repository, tools, monkeypatch, changes, new):
    from dvc.repo import Repo  # noqa: PLC0415

    monkeypatch.chdir(repository)
    if "seeds" not in changes:
        row = min(new).removesuffix("-0")
        changes = {"variants": tools.lists([*VARIANTS, row], **LISTS | changes)}
    with changed(repository, tools, "params.yaml", changes), Repo() as dvc:
        concerned = set(dvc.status())
    assert concerned >= AFTER
    runs = {name.split("@")[1] for name in concerned - AFTER - {"cost"}}
    assert runs == new


# The other peers: what DVC runs for `kernelcut` is run for these in one process, and committed.

PEERS = ("bpg_kernelcut", "scribblesup")
ROUNDS = [
    {"name": "scribblesup_1", "init_from": "warm"},
    {"name": "scribblesup", "init_from": "scribblesup_1"},
]
ON = {"bpg_kernelcut": "bpg_warm", "scribblesup_1": "warm", "scribblesup": "scribblesup_1"}


@pytest.fixture(scope="module")
def peers(repository, run, tools, tmp_path_factory) -> Path:
    """A copy of the repository with ScribbleSup and a peer that has the boundary loss, too."""
    folder = tmp_path_factory.mktemp("peers") / "repository"
    shutil.copytree(repository, folder, symlinks=True)
    more = {"fine_tune_boundary": ["bpg_kernelcut"], "rounds": ROUNDS}
    more |= {"train_boundary": ["bpg", "bpg_warm"]}
    lists = tools.lists([*VARIANTS, *PEERS], **LISTS | more)
    tools.edit(folder / "params.yaml", {"variants": lists})
    stages = [["train_boundary", "bpg_warm", "0"], ["fine_tune_boundary", "bpg_kernelcut", "0"]]
    for name in ("scribblesup_1", "scribblesup"):
        stages += [["propagate", name, "0"], ["train_propagated", name, "0"]]
    stages += [[stage, v, "0"] for v in PEERS for stage in ("predict", "crf", "evaluate")]
    stages += [["cost"], ["samples"], ["draw_next"], ["tables"], ["report"]]
    tools.in_one_process(run, folder, stages)
    run(folder, "dvc", "commit", "--force", "--quiet")
    return folder


def weights(folder: Path, variant: str) -> dict[str, np.ndarray]:
    with safe_open(folder / f"runs/{variant}/0/model.safetensors", framework="np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


@pytest.mark.parametrize("variant", ON)
def test_a_peer_has_its_starts_network_and_its_own_parts(peers, variant):
    own, start = weights(peers, variant), weights(peers, ON[variant])
    parts = {name.split(".")[0] for name in own}
    assert parts == {"backbone", "head"} | ({"prn", "brn"} if variant == "bpg_kernelcut" else set())
    assert start.keys() <= own.keys()
    assert any((own[name] != start[name]).any() for name in start)


def test_each_training_has_its_share_of_the_epochs_and_its_losses(peers):
    def summary(variant):
        path = peers / f"runs/{variant}/0/training.json"
        return json.loads(path.read_text(encoding="utf-8"))

    found = {variant: summary(variant) for variant in ON}
    epochs = {variant: one["epochs"] for variant, one in found.items()}
    assert epochs == {"bpg_kernelcut": 5, "scribblesup_1": 3, "scribblesup": 2}
    both = found["bpg_kernelcut"]
    assert {"normalized_cut", "dense_crf"} <= both.keys()
    recipe = yaml.safe_load((peers / TINY).read_text(encoding="utf-8"))
    weighted = both["semantic"] + both["boundary"]
    for term in ("normalized_cut", "dense_crf"):
        weighted += recipe["regularisers"][term]["weight"] * both[term]
    assert both["loss"] == pytest.approx(weighted, rel=1e-4)
    # On propagated labels, cross-entropy is all there is.
    assert found["scribblesup"]["loss"] == found["scribblesup"]["semantic"]


def test_every_pixel_of_the_training_pictures_is_labelled_and_strokes_stay(peers):
    ids = (peers / "data/shapes/train.txt").read_text(encoding="utf-8").split()
    rounds = []
    for name in ("scribblesup_1", "scribblesup"):
        folder = peers / f"runs/{name}/0/propagated"
        assert names(folder, TRAIN) == sorted(f"{i}.png" for i in ids)
        rounds.append([np.asarray(Image.open(folder / f"{i}.png")) for i in ids])
        for i, labels in zip(ids, rounds[-1], strict=True):
            scribble = np.asarray(Image.open(peers / f"data/shapes/scribbles/{i}.png"))
            drawn = scribble != 255
            assert labels.shape == (SIDE, SIDE)
            assert (labels[drawn] == scribble[drawn]).all()
            assert set(np.unique(labels)) <= set(np.unique(scribble[drawn]))
    # The second round asks another network.
    assert any((a != b).any() for a, b in zip(*rounds, strict=True))


def test_the_peers_stand_in_the_tables_and_on_the_page(peers):
    table3 = {row["variant"]: row for row in rows(peers, 3)}
    assert table3["scribblesup"]["epochs"] == "5 + 3 + 2"
    assert table3["bpg_kernelcut"]["epochs"] == "5 + 5"
    assert all(float(table3[variant]["miou"]) > 0 for variant in PEERS)
    with (peers / "results/ranking.csv").open(encoding="utf-8", newline="") as file:
        assert {row["variant"] for row in csv.DictReader(file)} == {*VARIANTS, *PEERS}
    with (peers / "results/cost.csv").open(encoding="utf-8", newline="") as file:
        assert [row["variant"] for row in csv.DictReader(file)] == [*VARIANTS, *PEERS]
    text = (peers / "results/report/index.html").read_text(encoding="utf-8")
    assert 'alt="Strokes propagated to all pixels"' in text


ENTRIES, LABELS = "params/variants.yaml", "params/labels.yaml"
SHOWN = {"cost", "tables", "report"}  # they show every variant
PROPAGATING = {f"{stage}@round{n}-0" for stage in ("propagate", "train_propagated") for n in (0, 1)}
TRAINED_ON = {"train_propagated@round0-0", "train_propagated@round1-0"}
BOUNDARY = {f"train_boundary@{name}-0" for name in ("bpg", "bpg_warm")}
BOUNDARY.add("fine_tune_boundary@bpg_kernelcut-0")
FINE_TUNED = {"fine_tune@kernelcut-0", "fine_tune_boundary@bpg_kernelcut-0"}
PEERS_CHANGES = {
    "nothing": ("params.yaml", {}, set()),
    "a weight": (TINY, {"regularisers.dense_crf.weight": 0.1}, {*FINE_TUNED, "cost"}),
    "a regulariser": (TINY, {"regularisers.tree_energy.low": 0.1}, {*FINE_TUNED, "cost"}),
    "lambda": (
        "params.yaml",
        {"lambda": 0.5},
        {*BOUNDARY, "tables", "report"},
    ),
    "BRN": (
        TINY,
        {"model.brn.width": 4},
        {*BOUNDARY, "cost"},
    ),
    "propagation": (
        TINY,
        {"propagation.smoothness": 1},
        {"propagate@round0-0", "propagate@round1-0"},
    ),
    "epochs of the warm start": (
        ENTRIES,
        {"warm.until": 0.25},
        {"train@warm-0", *SHOWN},  # a new network, from which the others follow
    ),
    "crop": (
        TINY,
        {"training.augmentation.crop": 57},
        {*TRAINED, *BOUNDARY, *FINE_TUNED, *TRAINED_ON, "cost"},
    ),
    "entry of a baseline": (ENTRIES, {"scribble.prn": True}, {"train@scribble-0", *SHOWN}),
    "entry of BPG": (ENTRIES, {"bpg.prn": False}, {"train_boundary@bpg-0", *SHOWN}),
    "entry of the warm start": (ENTRIES, {"warm.prn": True}, {"train@warm-0", *SHOWN}),
    "entry of a peer": (
        ENTRIES,
        {"kernelcut.regularisers": ["dense_crf"]},
        {"fine_tune@kernelcut-0", *SHOWN},
    ),
    "entry of a peer with boundary loss": (
        ENTRIES,
        {"bpg_kernelcut.brn": "all_channels"},
        {"fine_tune_boundary@bpg_kernelcut-0", *SHOWN},
    ),
    "entry of a round": (
        ENTRIES,
        {"scribblesup.prn": True},
        {"propagate@round1-0", "train_propagated@round1-0", *SHOWN},
    ),
    "entry that is not run": (ENTRIES, {"gatedcrf.prn": True}, SHOWN),
    "a label": (LABELS, {"bpg": "Ours"}, {"tables", "report"}),
    "a new entry": (ENTRIES, {"new": {"supervision": "masks"}}, SHOWN),
}


@pytest.mark.parametrize(("file", "changes", "stages"), PEERS_CHANGES.values(), ids=PEERS_CHANGES)
def test_a_change_concerns_the_peers_that_it_is_about(
    peers, tools, monkeypatch, file, changes, stages
):
    from dvc.repo import Repo  # noqa: PLC0415

    monkeypatch.chdir(peers)
    with changed(peers, tools, file, changes), Repo() as dvc:
        assert set(dvc.status()) == stages


def test_a_regularisers_weight_redoes_its_peers_and_what_follows(peers, run, tools):
    with changed(peers, tools, TINY, {"regularisers.dense_crf.weight": 0.1}):
        said = run(peers, "dvc", "repro", "--dry", "--force-downstream")
    follow = ("predict", "crf", "evaluate")
    expected = {f"{stage}@{v}-0" for stage in follow for v in ("kernelcut", "bpg_kernelcut")}
    assert set(re.findall(r"Running stage '(.*)'", said)) == {
        *FINE_TUNED,
        *expected,
        *AFTER,
        "cost",
    }


def test_other_propagated_labels_redo_scribblesup_alone(peers, run, tools):
    with changed(peers, tools, TINY, {"propagation.smoothness": 1}):
        said = run(peers, "dvc", "repro", "--dry", "--force-downstream")
    follow = {f"{stage}@scribblesup-0" for stage in ("predict", "crf", "evaluate")}
    assert set(re.findall(r"Running stage '(.*)'", said)) == {*PROPAGATING, *follow, *AFTER}


def test_the_peers_repeat_to_the_byte(peers, run, tools, tmp_path):
    folder = tmp_path / "again"
    ignored = shutil.ignore_patterns(*ON, "results", "cache", ".git")
    shutil.copytree(peers, folder, symlinks=True, ignore=ignored)
    stages = []
    for name in ("scribblesup_1", "scribblesup"):
        stages += [["propagate", name, "0"], ["train_propagated", name, "0"]]
    tools.in_one_process(run, folder, [*stages, ["fine_tune_boundary", "bpg_kernelcut", "0"]])
    for variant in ON:
        before, after = (tools.snapshot(where / f"runs/{variant}/0") for where in (peers, folder))
        assert {"model.safetensors", "training.json"} <= after.keys()
        assert after == {k: before[k] for k in after}


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
    assert not [stage for stage in redone if "@" in stage and "bpg" not in stage]
    for variant in ("scribble", "warm", "kernelcut"):
        runs = [tools.snapshot(where / "runs" / variant) for where in (folder, repository)]
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


@pytest.mark.parametrize("own_lock_in_git", [False, True])
def test_every_way_back_from_an_experiment_leaves_nothing_to_do(
    experiment, run, tmp_path, own_lock_in_git
):
    """Whether one's first run was committed, or HEAD is the program with its author's results."""
    folder = tmp_path / "repository"
    shutil.copytree(experiment[0], folder, symlinks=True)
    back = [["git", "checkout", "--quiet", "HEAD", "--", "."], ["dvc", "checkout", "--quiet"]]
    if not own_lock_in_git:
        run(folder, "git", "rm", "--cached", "--quiet", "dvc.lock")
        own = (folder / "results/summary.md").read_text(encoding="utf-8")
        (folder / "results/summary.md").write_text(own + "Elsewhere it rounds differently.\n")
        run(folder, "git", "add", "results/summary.md")
        run(folder, "git", "commit", "--quiet", "--message", "The program")
        (folder / "results/summary.md").write_text(own, encoding="utf-8")
        ours = ["git", "checkout", "--quiet", "HEAD", "--", "params.yaml", "params"]
        back = [ours, ["dvc", "repro"]]
        # What redoes least: the experiment before has retrained and tested.
        name = "params/labels.yaml:bpg=Mine"
        said = run(folder, "dvc", "exp", "run", "--set-param", name)
        assert set(re.findall(r"Running stage '(.*)'", said)) == {"tables", "report"}
    nothing = "Data and pipelines are up to date."
    assert nothing in run(folder, "dvc", "repro")
    said = "".join(run(folder, *words) for words in back)
    assert not re.findall(r"Running stage '(?!tables)(.*)'", said)
    assert nothing in run(folder, "dvc", "repro")
    assert yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))["lambda"] == 1
    assert "Running stage" not in run(folder, "dvc", "exp", "run", "prepare")
    assert nothing in run(folder, "dvc", "repro")


def test_a_study_writes_a_table_and_leaves_the_checkout_as_it_was(repository, run, tmp_path):
    folder = tmp_path / "repository"
    shutil.copytree(repository, folder, symlinks=True)
    said = run(folder, sys.executable, "-m", "studies", "brn_input")
    # One setting is what params.yaml has, so only the other is trained; data come from the cache.
    assert re.findall(r"Running stage '(train\w*@\S+)'", said) == ["train_boundary@bpg-0"]
    assert not re.findall(r"Running stage '(prepare|edges)'", said)
    changed = run(folder, "git", "status", "--porcelain").splitlines()
    ends = (".csv", ".json", ".md", ".png", "_differences.csv")
    assert changed == [f"?? results/studies/brn_input{end}" for end in ends]
    with (folder / "results/studies/brn_input.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    settings = ["probabilities", "logits"]
    assert [(row["setting"], row["variant"]) for row in table] == [(s, "bpg") for s in settings]
    assert len({row["edge_loss"] for row in table}) == 2
    # The interval is that of the experiments' own counts.
    file = folder / "results/studies/brn_input_differences.csv"
    (compared,) = csv.DictReader(file.open(encoding="utf-8", newline=""))
    assert compared["second_setting"] == "logits" and compared["miou_low"]
    gain = float(table[1]["miou"]) - float(table[0]["miou"])
    assert abs(float(compared["miou_difference"]) - gain) < 0.011
    assert (folder / "results/studies/brn_input.md").read_text(encoding="utf-8") in said


# Once more


def test_another_run_from_nothing_gives_the_same_bytes(repository, checkout, tools, run, tmp_path):
    folder = checkout(tmp_path / "again")
    (folder / "data").mkdir()
    (folder / "data/weights").symlink_to(repository / "data/weights")
    once = [["prepare"], ["scribbles"], ["edges"], ["grabcut"]]
    # In another order than DVC's, to show that no run leans on one before it.
    each = [["train", "warm", "0"], ["fine_tune", "kernelcut", "0"]]
    each += [["train_boundary", "bpg", "0"], ["train", "scribble", "0"]]
    each += [[stage, v, "0"] for v in VARIANTS for stage in ("predict", "crf", "evaluate")]
    tools.in_one_process(run, folder, [*once, *each])
    for place in ("data/shapes", "runs"):
        before, after = (tools.snapshot(where / place) for where in (repository, folder))
        # Written by fetch, which does not run again here.
        before = {k: v for k, v in before.items() if not k.startswith("archives")}
        assert len(before) > 20
        assert after == before
