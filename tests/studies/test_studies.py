"""Studies: their files, the commands that they turn into, and one run for real."""

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from bpg.errors import BPGError
from bpg.report.studies import StudyResult, measure_differences, read_studies
from bpg.strict_yaml import read_as
from pipeline.params import Switches
from pipeline.variants import make_lists
from studies import run
from studies.results import write_study
from studies.run import (
    Found,
    Study,
    overrides,
    read_study,
    refuse_overlap,
    with_changes,
)

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in (ROOT / "studies").glob("*.yaml"))


@pytest.fixture
def switches():
    return read_as(ROOT / "params.yaml", Switches)


def get(file, key):
    values = yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))
    for name in key.split("."):
        values = values[name]
    return values


@pytest.mark.parametrize("name", NAMES)
def test_every_study_changes_parameters_that_exist(name, switches, shipped):
    study = read_study(ROOT / f"studies/{name}.yaml", shipped)
    files = {
        "recipe": [f"params/recipe/{recipe}.yaml" for recipe in ("tiny", "small", "paper")],
        "dataset": [f"params/dataset/{dataset}.yaml" for dataset in ("shapes", "voc")],
        "": ["params.yaml"],
    }
    for setting in study.settings.values():
        for key in setting:
            file, _, inside = key.rpartition(":")
            for path in files[file]:
                get(path, inside)
    assert len({str(setting) for setting in study.settings.values()}) == len(study.settings)


def test_the_issues_lambdas_and_steps_are_studied(shipped):
    weights = read_study(ROOT / "studies/lambda.yaml", shipped).settings.values()
    assert [setting["lambda"] for setting in weights] == [0, 0.1, 0.5, 1, 2, 5]
    steps = read_study(ROOT / "studies/prn_steps.yaml", shipped).settings.values()
    assert [setting["recipe:model.prn.steps"] for setting in steps] == [1, 2, 3]


def test_a_setting_becomes_arguments_of_dvc(tmp_path, switches, shipped):
    path = tmp_path / "study.yaml"
    path.write_text(
        "title: T\nreference: a\nvariants: [prn, bpg]\n"
        "settings: {a: {lambda: 0.5, 'recipe:model.prn.steps': 1}, "
        "b: {'dataset:edges.source': truth}}\n"
    )
    study = read_study(path, shipped)
    assert run._changes(
        Study(
            title="T",
            reference="a",
            variants=["prn"],
            settings={"a": {"recipe:x": [0.5, 1.0, 2], "y": True, "z": 1e-3}, "b": {}},
        ),
        "a",
        switches,
    ) == ["params/recipe/tiny.yaml:x=[0.5,1.0,2]", "y=true", "z=0.001"]
    lists = [
        "variants.train=[prn]",
        "variants.train_boundary=[bpg]",
        *(
            f"variants.{key}=[]"
            for key in (
                *("fine_tune", "fine_tune_edges", "fine_tune_boundary", "rounds"),
                *("train_grabcut", "forest"),
            )
        ),
        "variants.all=[prn,bpg]",
    ]
    assert overrides(study, "a", switches, shipped) == [
        *lists,
        "lambda=0.5",
        "params/recipe/tiny.yaml:model.prn.steps=1",
    ]
    changed = with_changes(switches, ["dataset=voc", "seeds=[3,4]"])
    assert (changed.dataset, changed.seeds, changed.recipe) == ("voc", [3, 4], "tiny")
    assert overrides(study, "b", changed, shipped) == [
        *lists,
        'params/dataset/voc.yaml:edges.source="truth"',
    ]


def switches_with(changes, folder):
    """params.yaml as `dvc exp run -S ...` makes it in its copy, read by the stages' door."""
    path = folder / "params.yaml"
    shutil.copyfile(ROOT / "params.yaml", path)
    apply_overrides(path, changes)
    return read_as(path, Switches)


@pytest.mark.parametrize("number", [*range(16), None])
def test_dvc_reads_the_lists_and_the_stages_accept_them(number, shipped, tmp_path):
    rows = list(shipped) if number is None else list(shipped)[number : number + 1]
    study = Study(title="T", reference="a", variants=rows, settings={"a": {}, "b": {}})
    changes = overrides(study, "a", switches_with([], tmp_path), shipped)
    read = switches_with(changes, tmp_path)
    assert read.variants.model_dump() == make_lists(rows, shipped)


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_of_every_study_leaves_lists_that_the_stages_accept(
    name, switches, tmp_path, shipped
):
    study = read_study(ROOT / f"studies/{name}.yaml", shipped)
    for setting in study.settings:
        changes = [
            c for c in overrides(study, setting, switches, shipped) if not c.startswith("params/")
        ]
        assert switches_with(changes, tmp_path).variants.all == study.variants


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("variants: [nobody]\nsettings: {a: {}, b: {}}\n", "unknown variant 'nobody'"),
        ("variants: [prn]\nsettings: {a: {}}\n", "settings"),
        ("settings: {a: {}, b: {}}\n", "variants: missing key"),
        ("variants: [prn]\nsettings: {b: {}, c: {}}\n", "reference: unknown setting 'a'.*b, c"),
        ("variants: [prn]\nsettings: {a: {}, b: {seeds: [1]}}\n", "b: seeds: the same for all"),
        ("variants: [prn]\nsettings: {a: {}, b: {variants.all: x}}\n", "the same for all"),
        ("variants: [prn]\nsettings: {a: {}, b: {x: [true]}}\n", "b"),
    ],
)
def test_a_study_that_is_wrong_is_named(tmp_path, text, message, shipped):
    path = tmp_path / "study.yaml"
    path.write_text("title: T\nreference: a\n" + text)
    with pytest.raises(BPGError, match=f"study.yaml.*{message}"):
        read_study(path, shipped)


def test_what_params_yaml_would_refuse_is_refused_before_anything_runs(switches):
    with pytest.raises(BPGError, match="lambda=-1"):
        with_changes(switches, ["lambda=-1"])
    with pytest.raises(BPGError, match="not YAML"):
        with_changes(switches, ["seeds=[0"])


@pytest.mark.parametrize(
    "extra", ["lambda=2", "variants.all=[bpg]", "variants.rounds=[]", "variants={}"]
)
def test_what_the_study_sets_cannot_be_set_beside_it(switches, extra, shipped):
    study = read_study(ROOT / "studies/lambda.yaml", shipped)
    refuse_overlap(study, switches, ["seeds=[0,1]", "device=cpu"])
    with pytest.raises(BPGError, match="the study itself sets"):
        refuse_overlap(study, switches, ["seeds=[0]", extra])


FAKE_DVC = """
import subprocess, sys
from pathlib import Path
said = Path("said")
words = sys.argv[1:]
with said.open("a") as file:
    print(*words[:2], file=file)
looks = said.read_text().count("queue status") if said.exists() else 0
if words[:2] == ["queue", "start"]:
    subprocess.Popen(["sleep", "60"])  # a worker, which keeps the output open
if words[:2] == ["queue", "status"]:
    states = {1: ("Queued", "Queued"), 2: ("Running", "Queued"), 3: ("Success", "Running")}
    last = "Failed" if Path("fails").exists() else "Success"
    one, two = states.get(looks, ("Success", last))
    print("Task     Name          Created    Status")
    print(f"1a2b3c4  study-x-1     06:29 AM   {one}")
    print(f"5d6e7f8  study-x-2     06:29 AM   {two}")
    print(f"Worker status: {int(looks > 1)} active, 0 idle")
"""


@pytest.mark.parametrize("ending", ["well", "badly"])
def test_the_queue_is_filled_started_once_and_waited_for(
    ending, switches, shipped, tmp_path, monkeypatch, capsys
):
    asked = []

    def read_experiment(*words):
        asked.append(words)
        return Found({"name": words[0]}, {}, [])

    (tmp_path / "dvc.py").write_text(FAKE_DVC)
    if ending == "badly":
        (tmp_path / "fails").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "DVC", (sys.executable, str(tmp_path / "dvc.py")))
    monkeypatch.setattr(run, "POLL", 0)
    monkeypatch.setattr(run, "SHARE", 0)
    monkeypatch.setattr(run, "read_experiment", read_experiment)
    settings = {"a": {"lambda": 0}, "b": {"lambda": 1}}
    study = Study(title="T", reference="b", variants=["prn"], settings=settings)

    def queued():
        return run.run_queued(study, {"a": "x_1", "b": "x_2"}, 2, switches, shipped, [])

    if ending == "well":
        found = queued()
        assert {name: one.metrics["name"] for name, one in found.items()} == {
            "a": "study-x-1",
            "b": "study-x-2",
        }
        seeds = switches.seeds
        assert asked == [("study-x-1", ["prn"], seeds), ("study-x-2", ["prn"], seeds)]
    else:
        with pytest.raises(BPGError, match="study-x-2 failed; `dvc queue logs study-x-2`"):
            queued()
    commands = (tmp_path / "said").read_text().splitlines()
    assert commands.count("exp run") == 2
    assert commands.count("queue start") == 1
    assert ("queue kill" in commands) == (ending == "badly")
    assert "a: queued\nb: queued\na: running\na: success\nb: running\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lambda", "--jobs", "none"], "--jobs 'none' is not a whole number"),
        ([], "usage: python -m studies NAME"),
        (["nothing"], "unknown study 'nothing'"),
        (["lambda", "--seeds", "3"], "only -S KEY=VALUE"),
        (["lambda", "-S"], "only -S KEY=VALUE"),
    ],
)
def test_a_wrong_command_line_ends_in_one_line(words, message):
    command = [sys.executable, "-m", "studies", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("studies: error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def counts_of(found, seeds=2):
    """Counts of ten images of two classes: of 100 pixels of each class, 50 + `found` are found."""
    counts = np.zeros((10, 2, 2, 3, 2), np.int32)
    counts[..., 0, :] = 50 + found
    counts[..., 1:, :] = 100
    return [counts] * seeds


def test_settings_are_compared_with_the_reference_and_variants_with_the_first():
    counts = {
        setting: {"scribble": counts_of(first), "bpg": counts_of(second)}
        for setting, first, second in (("0.5", 0, 10), ("1", 20, 25), ("2", 20, 5))
    }
    found = measure_differences(counts, "1")
    assert [(one.first, one.second) for one in found] == [
        (("1", "scribble"), ("0.5", "scribble")),
        (("1", "bpg"), ("0.5", "bpg")),
        (("1", "scribble"), ("2", "scribble")),
        (("1", "bpg"), ("2", "bpg")),
        (("0.5", "scribble"), ("0.5", "bpg")),
        (("1", "scribble"), ("1", "bpg")),
        (("2", "scribble"), ("2", "bpg")),
    ]
    # Of 100 true and 100 predicted pixels n are both: IoU n / (200 - n).
    values = [round(one.differences["miou"].value, 2) for one in found]
    iou = {n: 100 * n / (200 - n) for n in (50, 55, 60, 70, 75)}
    pairs = [(70, 50), (75, 60), (70, 70), (75, 55), (50, 60), (70, 75), (70, 55)]
    assert values == [round(iou[second] - iou[first], 2) for first, second in pairs]
    assert list(found[0].differences) == ["miou", "miou_crf", "boundary_iou"]
    labels = {"bpg": "BPG", "scribble": "strokes"}
    assert found[1].label(labels) == "BPG: 1 → 0.5"
    assert found[5].label(labels) == "1: strokes → BPG"


def test_settings_that_were_tested_on_other_images_are_not_compared():
    counts = {"a": {"prn": counts_of(0), "bpg": counts_of(5)}}
    counts["b"] = {name: [one[:5] for one in seeds] for name, seeds in counts["a"].items()}
    found = measure_differences(counts, "a")
    assert [(one.first[0], one.second[0]) for one in found] == [("a", "a"), ("b", "b")]
    row = {"metrics": {"miou": 1.0}}
    study = StudyResult(
        **{"name": "n", "title": "T", "command": "c", "dataset": "d", "recipe": "r"},
        seeds=[0],
        rows=[{"setting": s, "variant": v, **row} for s in "ab" for v in ("prn", "bpg")],
        reference="a",
        differences=found,
        trained_with={},
    )
    notes = study.differences_table({}).notes
    assert "one seed says nothing of that" in notes[0]
    assert notes[-1] == "Scored on other images than a, so not compared: b."


def test_without_masks_there_are_no_boundaries_to_compare(tmp_path, switches, shipped_labels):
    counts = counts_of(0, seeds=1)[0]
    counts[:, :, 1] = 0
    study = Study(title="T", reference="a", variants=["bpg"], settings={"a": {}, "b": {}})
    counts = {setting: {"bpg": [counts]} for setting in study.settings}
    (one,) = measure_differences(counts, "a")
    assert list(one.differences) == ["miou", "miou_crf"]
    metrics = {"bpg": {"miou": 1.0}}
    found = {setting: Found(metrics, counts[setting], []) for setting in study.settings}
    text = write_study(tmp_path, "x", study, found, switches, [], shipped_labels).read_text()
    assert re.search(r"BPG: a → b +\| +\+0.00 \| +\+0.00 to \+0.00 \| +no \|", text)


def test_the_table_has_a_row_for_each_setting_and_variant(
    tmp_path, switches, shipped, shipped_labels
):
    study = read_study(ROOT / "studies/edges.yaml", shipped)
    found = {
        setting: Found(
            {
                variant: {
                    "miou": 50.0 + number,
                    "miou_std": 0.5,
                    "miou_crf": 60.0,
                    "boundary_iou": 30.0,
                    "boundary_iou_crf": 40.0,
                    "edge_loss": 0.0712,
                    "pixel_accuracy": 90.5,
                }
                for variant in study.variants
            },
            {variant: counts_of(number) for variant in study.variants},
            ["commit abc"],
        )
        for number, setting in enumerate(study.settings)
    }
    changed = with_changes(switches, ["seeds=[0,1]"])
    path = write_study(tmp_path, "edges", study, found, changed, ["seeds=[0,1]"], shipped_labels)
    text = re.sub(" +", " ", path.read_text(encoding="utf-8"))
    assert "python -m studies edges -S 'seeds=[0,1]'" in text
    assert "seeds 0, 1 (mean ± sample standard deviation)" in text
    assert "| true boundaries | +BRN | 51.0 ± 0.5 | 60.0 | 30.0 | 40.0 | 0.071 |" in text
    assert "Trained with (HED, true boundaries, shuffled): commit abc." in text
    with (tmp_path / "edges.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["setting"], row["variant"]) for row in rows] == [
        (setting, variant) for setting in study.settings for variant in study.variants
    ]
    assert rows[0]["miou_std"] == "0.50" and rows[0]["pixel_accuracy"] == "90.5"
    assert "90.5" not in text
    assert (tmp_path / "edges.png").stat().st_size > 1000
    # 51 of 149 pixels instead of 50 of 150, the same in each image and seed.
    assert "| +BRN: HED → true boundaries | +0.89 ± 0.00 | +0.89 to +0.89 | yes, higher |" in text
    assert "| HED: +BRN → BPG | +0.00 ± 0.00 | +0.00 to +0.00 | no |" in text
    with (tmp_path / "edges_differences.csv").open(newline="") as file:
        (first, *others) = csv.DictReader(file)
    assert (first["first_setting"], first["second_setting"]) == ("HED", "true boundaries")
    assert (first["miou_difference"], first["miou_excludes_0"]) == ("0.89", "yes, higher")
    assert len(others) == 6
    (read,) = read_studies(tmp_path, "shapes", "tiny")
    assert read.command == "python -m studies edges -S 'seeds=[0,1]'"
    assert [row.metrics["miou"] for row in read.rows] == [50.0, 50.0, 51.0, 51.0, 52.0, 52.0]
    assert read_studies(tmp_path, "shapes", "small") == []
    assert read_studies(tmp_path, "voc", "tiny") == []


def study_of(rows, name="edges"):
    """The text of a file of a study: {(setting, variant): metrics}."""
    values = {"name": name, "title": "T", "command": "c", "dataset": "shapes", "recipe": "tiny"}
    found = [{"setting": s, "variant": v, "metrics": metrics} for (s, v), metrics in rows.items()]
    listed = {"seeds": [0], "rows": found, "trained_with": {}}
    return json.dumps({**values, **listed})


WELL = {("a", "bpg"): {"miou": 1.0}, ("b", "bpg"): {"miou": 2.0}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Invalid JSON"),
        ("[]", "should be an object"),
        ('{"name": "edges"}', "title"),
        (study_of(WELL, name="lambda"), "it is the study lambda"),
        (study_of({**WELL, ("b", "prn"): {"miou": 3.0}}), "not one for each setting and variant"),
        (study_of({**WELL, ("b", "bpg"): {}}), "no miou"),
        (study_of({**WELL, ("b", "bpg"): {"miou": "much"}}), "miou"),
    ],
)
def test_a_file_that_is_no_study_is_named(tmp_path, text, message):
    (tmp_path / "edges.json").write_text(text)
    with pytest.raises(BPGError, match=message) as caught:
        read_studies(tmp_path, "shapes", "tiny")
    assert "edges.json: " in str(caught.value)
    made_with = "c" if '"command": "c"' in text else "python -m studies edges"
    assert f"run {made_with}, or delete the file" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_of_a_study_is_read(tmp_path):
    (tmp_path / "edges.json").write_text(study_of(WELL))
    (study,) = read_studies(tmp_path, "shapes", "tiny")
    assert [row.setting for row in study.rows] == ["a", "b"]
    assert study.differences == []  # of a version that did not measure any


def test_the_committed_studies_are_read():
    folder = ROOT / "results/studies"
    studies = read_studies(folder, "shapes", "tiny")
    assert len(studies) == len(list(folder.glob("*.json"))) > 0
