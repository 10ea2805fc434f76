"""The parameter files: those that are shipped, and what is said of wrong ones."""

import itertools
import re
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from bpg.errors import BPGError
from bpg.strict_yaml import first_error
from bpg.variants import epochs
from pipeline.params import RENAMED, Dataset, Recipe, Switches, read_parameters
from tests.workspaces import DELETE, change

ROOT = Path(__file__).parents[2]
PARAMS, SHAPES, VOC = "params.yaml", "params/dataset/shapes.yaml", "params/dataset/voc.yaml"
TINY, PAPER = "params/recipe/tiny.yaml", "params/recipe/paper.yaml"
DATASETS = sorted(path.stem for path in (ROOT / "params/dataset").glob("*.yaml"))
RECIPES = sorted(path.stem for path in (ROOT / "params/recipe").glob("*.yaml"))
KINDS = {PARAMS: Switches, SHAPES: Dataset, VOC: Dataset, TINY: Recipe}


def shipped(file: str) -> dict:
    return yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))


def refusal(folder: Path) -> str:
    with pytest.raises(BPGError) as caught:
        read_parameters(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


# The shipped files


@pytest.mark.parametrize(("dataset", "recipe"), [*itertools.product(DATASETS, RECIPES)])
def test_every_data_set_goes_with_every_recipe(dataset, recipe):
    parameters = read_parameters(ROOT, dataset=dataset, recipe=recipe)
    file = shipped(f"params/recipe/{recipe}.yaml")
    assert vars(parameters.recipe.crf) == file["crf"]
    assert parameters.recipe.training.lr == float(file["training"]["lr"])
    assert parameters.dataset.classes == shipped(f"params/dataset/{dataset}.yaml")["classes"]


def test_the_switches_are_what_is_promised():
    parameters = read_parameters(ROOT)
    switches = parameters.switches
    assert (switches.dataset, switches.recipe, switches.seeds) == ("shapes", "tiny", [0])
    assert switches.boundary_weight == 1  # of the paper
    assert switches.mirror == ""
    # All but those that others are fine-tuned from, the paper's rows first.
    starts = {variant.init_from for variant in parameters.variants.values()}
    assert set(switches.variants.all) == parameters.variants.keys() - starts
    paper = ["mask", "scribble", "prn", "brn", "bpg", "bpg_all_channels"]
    assert switches.variants.all[: len(paper)] == paper


@pytest.mark.parametrize("recipe", RECIPES)
def test_all_rows_have_the_same_epochs_in_all(recipe):
    parameters = read_parameters(ROOT, recipe=recipe)
    total = parameters.recipe.training.epochs
    for name in parameters.switches.variants.all:
        assert sum(epochs(name, parameters.variants, total)) == total


def test_the_paper_recipe_is_the_published_setting():
    recipe = shipped(PAPER)
    training = recipe["training"]
    assert (training["epochs"], training["batch_size"], training["optimizer"]) == (25, 10, "sgd")
    assert float(training["lr"]) == 2.5e-4
    assert (training["momentum"], float(training["weight_decay"])) == (0.9, 5e-4)
    assert (training["head_lr_mult"], training["max_grad_norm"]) == (10, None)
    assert training["augmentation"] == {"crop": 321, "low": 0.5, "high": 1.5, "flip": True}
    assert recipe["inference"] == {"scales": [0.5, 0.75, 1, 1.25], "flip": True}
    assert (recipe["model"]["backbone"], recipe["model"]["frozen_norm"]) == ("resnet101", True)
    assert recipe["crf"] == {
        "iterations": 10,
        "gaussian_weight": 3,
        "gaussian_xy": 1,
        "bilateral_weight": 4,
        "bilateral_xy": 67,
        "bilateral_rgb": 3,
    }


# Wrong keys and values: the key is named


def keys(file: str) -> list[str]:
    """All keys of a parameter file, dotted; below free dictionaries and lists none."""

    def walk(values: dict, prefix: str):
        for key, value in values.items():
            yield f"{prefix}{key}"
            if isinstance(value, dict) and key != "options":
                yield from walk(value, f"{prefix}{key}.")

    return list(walk(shipped(file), ""))


ALL_KEYS = [(file, key) for file in KINDS for key in keys(file)]


def problem(file: str, changes: dict) -> str:
    """What is said of a file with {dotted key: value or DELETE} changed."""
    values = shipped(file)
    change(values, changes)
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(KINDS[file]).validate_python(values)
    return first_error(caught.value, RENAMED, KINDS[file])


@pytest.mark.parametrize(("file", "key"), ALL_KEYS)
def test_a_key_that_is_missing_misspelt_or_of_a_wrong_type_is_named(file, key):
    assert problem(file, {key: DELETE}) == f"{key}: missing key"
    # A misspelt key is missing, too: what was written is named, and what was meant.
    value = shipped(file)
    for name in key.split("."):
        value = value[name]
    last = key.rpartition(".")[2]
    meant = problem(file, {key: DELETE, f"{key}s": value})
    assert meant == f"{key}s: unknown key; did you mean {last}?"
    assert problem(file, {f"{key}s_": 1}).startswith(f"{key}s_: unknown key")
    # Nothing here is a list of a list.
    assert problem(file, {key: [["wrong"]]}).startswith(key)


NAN, INF = float("nan"), float("inf")
WRONG_VALUES = {
    PARAMS: {
        "lambda": [-0.5, NAN, INF, "much", True, None],
        "seeds": [[], [3, 1, 3], [-1], [0.5], 0, [10**20]],
        "mirror": [None, 3],
        "device": ["gpu"],
        "dataset": ["../voc", None],
        "recipe": ["", 3],
    },
    SHAPES: {
        "kind": ["cityscapes"],
        "classes": [["background"]],
        "source.size": [31, "large", True],
        "source.train": [0],
        "scribbles.line_width": [0],
        "scribbles.length": [0, 1.1],
        "train_share": [0, 2],
        "edges.upscale": [0],
        "edges.source": ["sobel"],
    },
    VOC: {"source.voc.checksum": ["crc:12"]},
    TINY: {
        "model.prn.steps": [0, 4],
        "model.prn.mixing": ["grouped-ish"],
        "model.brn.source": ["scores"],
        "model.aspp_rates": [[], [0], [65]],
        "training.epochs": [0, 1.5, True],
        "training.batch_size": [0],
        "training.optimizer": ["adam"],
        "training.lr": [0, NAN, "fast", True],
        "training.momentum": [1, NAN],
        "training.weight_decay": [-1, NAN],
        "training.max_grad_norm": [0],
        "training.augmentation.flip": ["perhaps"],
        "training.augmentation.crop": [0, 10**6],
        "inference.scales": [[], [1.0, 0], [NAN], [1e9]],
        "regularisers.normalized_cut.weight": [-0.1],
        "regularisers.dense_crf.reduction": [3],
        "regularisers.dense_crf.rgb": [0],
        "regularisers.dense_crf.xy": [NAN],
        "regularisers.gated_crf.radius": [33, 0],
        "regularisers.tree_energy.low": [0],
        "regularisers.tree_energy.weight": [INF],
        "propagation.scale": [0],
        "propagation.sigma": [-0.1],
        "propagation.min_size": [0],
        "propagation.smoothness": [NAN],
        "propagation.texture": [0],
        "crf.iterations": [-1, 10**9],
        "crf.bilateral_rgb": [0, 1e-9],
        "crf.gaussian_weight": [NAN],
        "machine.threads": [-1, 100_000],
        "machine.bf16": ["maybe"],
    },
}


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [(f, k, v) for f, wrong in WRONG_VALUES.items() for k, values in wrong.items() for v in values],
)
def test_a_wrong_value_is_named(file, key, value):
    assert problem(file, {key: value}).startswith(key)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model.weights": "imagenet"}, r"model: weights: .*efficientnet_lite0"),
        ({"model.frozen_norm": True}, "model: frozen_norm needs weights"),
        ({"training.augmentation.crop": 96}, "training: augmentation.crop .* 89 or 97"),
        ({"training.augmentation.crop": 9}, "training: augmentation.crop .* 17 or 25"),
        ({"training.augmentation.low": 1.5}, "training.augmentation: low must not exceed high"),
    ],
)
def test_values_that_do_not_go_together_are_named(changes, named):
    message = problem(TINY, changes)
    assert re.match(named, message), message


@pytest.mark.parametrize("old", [old for old in RENAMED if "*" not in old])
def test_a_former_name_is_refused_with_the_new_one(old):
    file = PARAMS if old.startswith("variants") else TINY
    assert problem(file, {old: 1}) == f"{old}: {RENAMED[old]}"
    new = RENAMED[old].rpartition(" ")[2]
    if RENAMED[old].startswith("is now called"):
        assert f"{old.rpartition('.')[0]}.{new}" in keys(TINY)


def test_a_misspelt_optional_key_is_suggested_and_another_gets_the_list():
    assert problem(TINY, {"training.augmentation.flips": True}).endswith("; did you mean flip?")
    assert problem(TINY, {"machine.gpu": 1}).endswith(
        "deterministic, compile, capture, checkpoint_seconds, launcher, dask"
    )


# The door as a whole: the file is named


@pytest.mark.parametrize("file", [PARAMS, SHAPES, TINY])
def test_the_file_is_named(parameter_files, tools, file):
    tools.edit(parameter_files / file, {"more": 1})
    assert refusal(parameter_files).startswith(f"{parameter_files / file}: more: unknown key")


@pytest.mark.parametrize(("key", "names"), [("dataset", DATASETS), ("recipe", RECIPES)])
def test_a_file_that_is_not_there_lists_those_that_are(parameter_files, tools, key, names):
    tools.edit(parameter_files / PARAMS, {key: "tinny"})
    message = refusal(parameter_files)
    assert message.startswith(f"{parameter_files}/params/{key}/tinny.yaml: ")
    assert message.endswith(f": {', '.join(names)}")


def test_missing_switches_are_named(parameter_files):
    (parameter_files / PARAMS).unlink()
    assert refusal(parameter_files).startswith(f"{parameter_files / PARAMS}: no such")


def test_too_few_epochs_for_the_parts_of_a_row_are_named(parameter_files, tools):
    tools.edit(parameter_files / TINY, {"training.epochs": 1})
    message = refusal(parameter_files)
    assert message.startswith(f"{parameter_files / TINY}: ") and "training.epochs" in message


def test_variants_and_lists_are_checked(parameter_files, tools):
    tools.edit(parameter_files / PARAMS, {"variants.train": ["mask"]})
    assert refusal(parameter_files).startswith(f"{parameter_files / PARAMS}: variants: ")
    tools.edit(parameter_files / "params/variants.yaml", {"bpg.supervision": "boxes"})
    path = parameter_files / "params/variants.yaml"
    assert refusal(parameter_files).startswith(f"{path}: bpg.supervision: ")


def test_the_mirrors_home_folder_is_meant_everywhere(parameter_files, tools, monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    tools.edit(parameter_files / PARAMS, {"mirror": "~/archives"})
    assert read_parameters(parameter_files).switches.mirror == "/home/someone/archives"


@pytest.mark.parametrize("rate", ["1e-3", "1.0e-3", "0.001"])
def test_every_way_to_write_a_rate_is_read(parameter_files, rate):
    # YAML 1.1 takes 1e-3 for a word.
    path = parameter_files / TINY
    text = re.sub(r"\n  lr: \S+", f"\n  lr: {rate}", path.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")
    assert read_parameters(parameter_files).recipe.training.lr == 0.001


@pytest.mark.parametrize("word", ["on", "off", "auto"])
def test_yamls_old_words_for_truth_are_words(parameter_files, word):
    path = parameter_files / TINY
    text = re.sub(r"bf16: \w+", f"bf16: {word}", path.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")
    assert read_parameters(parameter_files).recipe.machine.bf16 == word
