"""The parameter files, and dvc.yaml against the code and the files that it names."""

import ast
import itertools
import re
import subprocess
from pathlib import Path
from typing import get_args

import pytest
import yaml

from bpg.errors import BPGError
from bpg.variants import FILE, VARIANTS, Stage, Variant, budget

ROOT = Path(__file__).parents[2]
PARAMS, SHAPES, VOC = "params.yaml", "params/dataset/shapes.yaml", "params/dataset/voc.yaml"
TINY, PAPER = "params/recipe/tiny.yaml", "params/recipe/paper.yaml"
DATASETS = sorted(path.stem for path in (ROOT / "params/dataset").glob("*.yaml"))
RECIPES = sorted(path.stem for path in (ROOT / "params/recipe").glob("*.yaml"))


def read(folder):
    from pipeline.params import read_parameters  # noqa: PLC0415 conftest makes it importable

    return read_parameters(folder)


def refusal(folder: Path) -> str:
    with pytest.raises(BPGError) as caught:
        read(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


# The shipped files


@pytest.mark.parametrize(("dataset", "recipe"), [*itertools.product(DATASETS, RECIPES)])
def test_every_data_set_goes_with_every_recipe(parameter_files, tools, dataset, recipe):
    tools.edit(parameter_files / PARAMS, {"dataset": dataset, "recipe": recipe})
    parameters = read(parameter_files)
    assert parameters.switches.dataset == dataset
    assert parameters.switches.recipe == recipe
    shipped = yaml.safe_load((ROOT / f"params/recipe/{recipe}.yaml").read_text(encoding="utf-8"))
    assert parameters.recipe.crf.model_dump() == shipped["crf"]
    assert parameters.recipe.training.lr == float(shipped["training"]["lr"])
    shipped = yaml.safe_load((ROOT / f"params/dataset/{dataset}.yaml").read_text(encoding="utf-8"))
    assert parameters.dataset.classes == shipped["classes"]


def test_the_switches_are_what_is_promised():
    switches = read(ROOT).switches
    assert (switches.dataset, switches.recipe, switches.seeds) == ("shapes", "tiny", [0])
    assert switches.boundary_weight == 1  # of the paper
    assert switches.mirror == ""
    # All but those that are only gone on from, the paper's rows first.
    gone_on_from = {variant.start for variant in VARIANTS.values()}
    assert set(switches.variants.all) == VARIANTS.keys() - gone_on_from
    paper = ["mask", "scribble", "prn", "brn", "bpg", "bpg_all_channels"]
    assert switches.variants.all[: len(paper)] == paper


def test_the_peers_have_the_same_epochs_in_all_in_every_recipe(parameter_files, tools):
    for recipe in RECIPES:
        tools.edit(parameter_files / PARAMS, {"recipe": recipe})
        read_recipe = read(parameter_files).recipe
        total, warm_up = read_recipe.training.epochs, read_recipe.fine_tuning.warm_epochs
        for name in read(parameter_files).switches.variants.all:
            assert sum(budget(VARIANTS[name], total, warm_up)) == total


def test_the_paper_recipe_is_the_published_setting():
    recipe = yaml.safe_load((ROOT / PAPER).read_text(encoding="utf-8"))
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


# Wrong files


def keys(file: str) -> list[str]:
    """All keys of a parameter file, dotted; below free dictionaries and lists none."""

    def walk(values: dict, prefix: str):
        for key, value in values.items():
            yield f"{prefix}{key}"
            if isinstance(value, dict) and key != "options":
                yield from walk(value, f"{prefix}{key}.")

    return list(walk(yaml.safe_load((ROOT / file).read_text(encoding="utf-8")), ""))


ALL_KEYS = [(file, key) for file in (PARAMS, SHAPES, VOC, TINY) for key in keys(file)]


def choose(file: str, folder: Path, tools) -> None:
    if file == VOC:
        tools.edit(folder / PARAMS, {"dataset": "voc"})


@pytest.mark.parametrize(("file", "key"), ALL_KEYS)
def test_a_missing_key_is_named(parameter_files, tools, file, key):
    choose(file, parameter_files, tools)
    tools.edit(parameter_files / file, {key: tools.DELETE})
    assert refusal(parameter_files) == f"{parameter_files / file}: {key}: missing key"


@pytest.mark.parametrize(("file", "key"), ALL_KEYS)
def test_a_misspelt_key_is_named(parameter_files, tools, file, key):
    choose(file, parameter_files, tools)
    tools.edit(parameter_files / file, {f"{key}s_": 1})
    message = refusal(parameter_files)
    assert message == f"{parameter_files / file}: {key}s_: unknown key; check the spelling"


@pytest.mark.parametrize(("file", "key"), [k for k in ALL_KEYS if k[1] != "training.max_grad_norm"])
def test_an_empty_value_is_named(parameter_files, tools, file, key):
    choose(file, parameter_files, tools)
    tools.edit(parameter_files / file, {key: None})
    assert refusal(parameter_files).startswith(f"{parameter_files / file}: {key}: ")


@pytest.mark.parametrize(("file", "key"), ALL_KEYS)
def test_a_value_of_a_wrong_type_is_named(parameter_files, tools, file, key):
    choose(file, parameter_files, tools)
    # Nothing here is a list of a list.
    tools.edit(parameter_files / file, {key: [["wrong"]]})
    message = refusal(parameter_files)
    assert message.startswith(f"{parameter_files / file}: {key}")
    assert "wrong" in message or "valid" in message


NAN, INF = float("nan"), float("inf")
WRONG_VALUES = [
    (PARAMS, "lambda", -0.5, "greater than or equal to 0"),
    (PARAMS, "lambda", NAN, "finite"),
    (PARAMS, "lambda", INF, "finite"),
    (PARAMS, "lambda", "much", "number"),
    (PARAMS, "seeds", [], "at least 1"),
    (PARAMS, "seeds", [3, 1, 3], "lists a seed twice"),
    (PARAMS, "seeds", [-1], "greater than or equal to 0"),
    (PARAMS, "seeds", [0.5], "integer"),
    (PARAMS, "seeds", 0, "list"),
    (PARAMS, "device", "gpu", "'auto', 'cpu' or 'cuda'"),
    (PARAMS, "dataset", "../voc", "match pattern"),
    (PARAMS, "recipe", "", "match pattern"),
    (SHAPES, "kind", "cityscapes", "'shapes' or 'voc'"),
    (SHAPES, "classes", ["background"], "at least 2"),
    (SHAPES, "source.size", 31, "greater than or equal to 32"),
    (SHAPES, "source.train", 0, "greater than or equal to 1"),
    (SHAPES, "source.size", "large", "integer"),
    (SHAPES, "scribbles.line_width", 0, "greater than or equal to 1"),
    (SHAPES, "edges.upscale", 0, "greater than or equal to 1"),
    (VOC, "source.voc.checksum", "crc:12", "match pattern"),
    (TINY, "model.weights", "imagenet", "efficientnet_lite0"),
    (TINY, "model.prn.steps", 4, "less than or equal to 3"),
    (TINY, "model.prn.mixing", "grouped-ish", "'mixed', 'shared' or 'grouped'"),
    (TINY, "model.brn.source", "logits", "'probabilities' or 'scores'"),
    (TINY, "training.epochs", 0, "greater than or equal to 1"),
    (TINY, "training.epochs", 1.5, "integer"),
    (TINY, "training.batch_size", 0, "greater than or equal to 1"),
    (TINY, "training.optimizer", "adam", "'sgd' or 'adamw'"),
    (TINY, "training.lr", 0, "greater than 0"),
    (TINY, "training.lr", NAN, "greater than 0|finite"),
    (TINY, "training.lr", "fast", "number"),
    (TINY, "training.momentum", 1, "less than 1"),
    (TINY, "training.momentum", NAN, "greater than|less than|finite"),
    (TINY, "training.weight_decay", NAN, "finite"),
    (TINY, "training.max_grad_norm", 0, "greater than 0"),
    (TINY, "training.augmentation.flip", "perhaps", "boolean"),
    (TINY, "inference.scales", [], "at least 1"),
    (TINY, "inference.scales", [1.0, 0], "greater than 0"),
    (TINY, "inference.scales", [NAN], "greater than 0|finite"),
    (TINY, "fine_tuning.warm_epochs", 0, "greater than or equal to 1"),
    (TINY, "fine_tuning.warm_epochs", 1.5, "integer"),
    (TINY, "regularisers.normalized_cut.weight", -0.1, "greater than or equal to 0"),
    (TINY, "regularisers.dense_crf.reduction", 3, "1, 2, 4 or 8"),
    (TINY, "regularisers.dense_crf.rgb", 0, "greater than 0"),
    (TINY, "regularisers.dense_crf.xy", NAN, "greater than 0|finite"),
    (TINY, "regularisers.gated_crf.radius", 33, "less than or equal to 32"),
    (TINY, "regularisers.gated_crf.radius", 0, "greater than or equal to 1"),
    (TINY, "regularisers.tree_energy.low", 0, "greater than 0"),
    (TINY, "regularisers.tree_energy.weight", INF, "finite"),
    (TINY, "propagation.scale", 0, "greater than 0"),
    (TINY, "propagation.sigma", -0.1, "greater than or equal to 0"),
    (TINY, "propagation.min_size", 0, "greater than or equal to 1"),
    (TINY, "propagation.smoothness", NAN, "greater than or equal to 0|finite"),
    (TINY, "propagation.texture", 0, "greater than 0"),
    (TINY, "crf.iterations", 0, "greater than or equal to 1"),
    (TINY, "crf.bilateral_rgb", 0, "greater than 0"),
    (TINY, "crf.gaussian_weight", NAN, "finite"),
    (TINY, "machine.threads", -1, "greater than or equal to 0"),
    (TINY, "machine.bf16", "maybe", "'auto', 'on' or 'off'"),
]


@pytest.mark.parametrize(("file", "key", "value", "says"), WRONG_VALUES)
def test_a_wrong_value_is_named(parameter_files, tools, file, key, value, says):
    choose(file, parameter_files, tools)
    tools.edit(parameter_files / file, {key: value})
    message = refusal(parameter_files)
    assert message.startswith(f"{parameter_files / file}: {key}")
    assert re.search(says, message), message


def test_norms_cannot_be_frozen_from_scratch(parameter_files, tools):
    tools.edit(parameter_files / TINY, {"model.frozen_norm": True})
    assert refusal(parameter_files).endswith(
        "tiny.yaml: model: frozen_norm needs weights; from scratch the norms must be trained"
    )


@pytest.mark.parametrize(
    ("crop", "below", "above"), [(96, 89, 97), (98, 97, 105), (320, 313, 321), (100, 97, 105)]
)
def test_a_crop_that_does_not_fit_the_grid_is_refused(parameter_files, tools, crop, below, above):
    tools.edit(parameter_files / TINY, {"training.augmentation.crop": crop})
    assert refusal(parameter_files) == (
        f"{parameter_files / TINY}: training.augmentation: "
        f"crop must be of the form 8n+1, such as {below} or {above}"
    )


def test_scales_of_the_augmentation_must_be_in_order(parameter_files, tools):
    changes = {"training.augmentation.low": 1.5, "training.augmentation.high": 0.5}
    tools.edit(parameter_files / TINY, changes)
    assert refusal(parameter_files).endswith("training.augmentation: low must not exceed high")


def test_the_warm_start_must_leave_epochs_over(parameter_files, tools):
    total = read(parameter_files).recipe.training.epochs
    for warm_epochs in (total, total + 1):
        tools.edit(parameter_files / TINY, {"fine_tuning.warm_epochs": warm_epochs})
        assert refusal(parameter_files) == (
            f"{parameter_files / TINY}: fine_tuned: fine_tuning.warm_epochs ({warm_epochs}) leaves "
            f"none of training.epochs ({total})"
        )
    # Where nothing goes on from it, it is of no consequence.
    lists = tools.lists(["prn", "bpg"], train=["prn"], train_boundary=["bpg"])
    tools.edit(parameter_files / PARAMS, {"variants": lists})
    assert read(parameter_files).recipe.training.epochs == total


@pytest.mark.parametrize(
    ("rounds", "says"),
    [
        ((2, None), "scribblesup_1 would train 8 + 4 of 16 epochs"),
        ((1, 1), "scribblesup would train 8 + 8 + 8 of 16 epochs"),
        ((2, 4), "scribblesup would train 8 + 4 + 2 of 16 epochs"),
    ],
)
def test_rows_of_more_or_fewer_epochs_than_the_others_are_refused(
    parameter_files, tools, monkeypatch, rounds, says
):
    budget = {"training.epochs": 16, "fine_tuning.warm_epochs": 8}
    tools.edit(parameter_files / TINY, budget)
    names = [FIRST, SECOND] if rounds[1] else [FIRST]
    for one, number in zip(names, rounds, strict=False):
        changed = VARIANTS[one["name"]].model_copy(update={"rounds": number})
        monkeypatch.setitem(VARIANTS, one["name"], changed)
    lists = tools.lists([names[-1]["name"]], warm_up=["warm"], rounds=names)
    tools.edit(parameter_files / PARAMS, {"variants": lists})
    assert refusal(parameter_files) == (
        f"{parameter_files / TINY}: {says}: `rounds` in bpg/variants.yaml must be the number of "
        "variants in its chain of starts"
    )


def test_epochs_that_do_not_divide_into_the_rounds_are_refused(parameter_files, tools):
    tools.edit(parameter_files / TINY, {"training.epochs": 16, "fine_tuning.warm_epochs": 7})
    assert refusal(parameter_files) == (
        f"{parameter_files / TINY}: scribblesup_1: the 9 epochs after the warm-up cannot be "
        "divided into 2 rounds; change training.epochs or fine_tuning.warm_epochs"
    )
    # Without ScribbleSup they need not divide.
    lists = tools.lists(["kernelcut"], warm_up=["warm"], fine_tune=["kernelcut"])
    tools.edit(parameter_files / PARAMS, {"variants": lists})
    assert read(parameter_files).recipe.fine_tuning.warm_epochs == 7


FIRST = {"name": "scribblesup_1", "start": "warm"}
SECOND = {"name": "scribblesup", "start": "scribblesup_1"}
WRONG_LISTS = {
    # what is wrong: (the rows, what the stages train, what the line says)
    "unknown": (
        ["skribble"],
        {"train": ["skribble"]},
        "unknown variant 'skribble'; known: mask, scri",
    ),
    "unknown round": (
        ["scribblesup_9"],
        {"rounds": [{"name": "scribblesup_9", "start": "warm"}]},
        "unknown variant 'scribblesup_9'; known: mask, scri",
    ),
    "boundary variant under train": (
        ["scribble", "bpg"],
        {"train": ["scribble", "bpg"]},
        "'bpg' stands under train and belongs under train_boundary",
    ),
    "baseline under train_boundary": (
        ["prn"],
        {"train_boundary": ["prn"]},
        "'prn' stands under train_boundary and belongs under train$",
    ),
    "peer under train": (
        ["kernelcut"],
        {"train": ["kernelcut"]},
        "'kernelcut' stands under train and belongs under fine_tune$",
    ),
    "peer with boundary loss under fine_tune": (
        ["bpg_kernelcut"],
        {"warm_up": ["warm"], "fine_tune": ["bpg_kernelcut"]},
        "'bpg_kernelcut' stands under fine_tune and belongs under fine_tune_boundary",
    ),
    "baseline under warm_up": (
        ["scribble"],
        {"warm_up": ["scribble"]},
        "'scribble' stands under warm_up and belongs under train$",
    ),
    "warm start under train": (
        ["warm"],
        {"train": ["warm"]},
        "'warm' stands under train and belongs under warm_up",
    ),
    "round under fine_tune": (
        ["scribblesup_1"],
        {"warm_up": ["warm"], "fine_tune": ["scribblesup_1"]},
        "'scribblesup_1' stands under fine_tune and belongs under rounds",
    ),
    "peer under rounds": (
        ["kernelcut"],
        {"warm_up": ["warm"], "rounds": [{"name": "kernelcut", "start": "warm"}]},
        "'kernelcut' stands under rounds and belongs under fine_tune$",
    ),
    "no warm start": (
        ["kernelcut", "gatedcrf"],
        {"fine_tune": ["kernelcut", "gatedcrf"]},
        "'kernelcut' goes on from 'warm', which warm_up must list",
    ),
    "no warm start for a round": (
        ["scribblesup_1"],
        {"rounds": [FIRST]},
        "'scribblesup_1' goes on from 'warm', which warm_up must list",
    ),
    "no first round": (
        ["scribblesup"],
        {"warm_up": ["warm"], "rounds": [SECOND]},
        "'scribblesup' goes on from 'scribblesup_1', which rounds must list",
    ),
    "round on from another network": (
        ["scribblesup"],
        {"warm_up": ["warm"], "rounds": [FIRST, SECOND | {"start": "warm"}]},
        "rounds: 'scribblesup' starts from 'scribblesup_1'",
    ),
    "all lacks one": (
        ["prn"],
        {"train": ["scribble", "prn"]},
        "'scribble' is (in `all`, but no|trained .*, but missing from) ",
    ),
    "all has one more": (
        ["prn", "mask"],
        {"train": ["prn"]},
        "'mask' is (in `all`, but no|trained .*, but missing from) ",
    ),
    "all lacks a peer": (
        ["scribble"],
        {"train": ["scribble"], "warm_up": ["warm"], "fine_tune": ["kernelcut"]},
        "'kernelcut' is (in `all`, but no stage trains it|trained .* but missing from `all`)",
    ),
    "all lacks the last round": (
        ["scribblesup_1"],
        {"warm_up": ["warm"], "rounds": [FIRST, SECOND]},
        "'scribblesup' is (in `all`, but no stage trains it|trained .* but missing from `all`)",
    ),
    "all has a warm start that is not trained": (
        ["prn", "warm"],
        {"train": ["prn"]},
        "'warm' is (in `all`, but no stage trains it|trained .* but missing from `all`)",
    ),
    "all lacks a warm start that none goes on from": (
        ["prn"],
        {"train": ["prn"], "warm_up": ["warm"]},
        "'warm' is (in `all`, but no stage trains it|trained .* but missing from `all`)",
    ),
    "all lists one twice": (["prn", "prn"], {"train": ["prn"]}, "a variant is listed twice"),
    "train lists one twice": (["prn"], {"train": ["prn", "prn"]}, "a variant is listed twice"),
    "rounds list one twice": (
        ["scribblesup_1"],
        {"warm_up": ["warm"], "rounds": [FIRST, FIRST]},
        "a variant is listed twice",
    ),
}


@pytest.mark.parametrize(("rows", "trained", "says"), WRONG_LISTS.values(), ids=WRONG_LISTS)
def test_lists_of_variants_must_agree(parameter_files, tools, rows, trained, says):
    tools.edit(parameter_files / PARAMS, {"variants": tools.lists(rows, **trained)})
    message = refusal(parameter_files)
    assert message.startswith(f"{parameter_files / PARAMS}: variants: ")
    assert re.search(says, message), message


def test_fine_tuning_starts_where_dvc_yaml_says(parameter_files, tools, monkeypatch):
    other = {"label": "Other start", "supervision": "scribbles", "warm_up": True}
    monkeypatch.setitem(VARIANTS, "other", Variant(name="other", **other))
    started = VARIANTS["kernelcut"].model_copy(update={"name": "on", "start": "other"})
    monkeypatch.setitem(VARIANTS, "on", started)
    lists = tools.lists(["on"], warm_up=["other"], fine_tune=["on"])
    tools.edit(parameter_files / PARAMS, {"variants": lists})
    assert refusal(parameter_files) == (
        f"{parameter_files / PARAMS}: variants: "
        "'on': fine-tuning starts from 'warm', as in dvc.yaml"
    )


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("scribblesup_1", "variants.rounds.0: .*'scribblesup_1'"),
        ({"name": "scribblesup_1"}, "variants.rounds.0.start: missing key"),
        (FIRST | {"from": "warm"}, "variants.rounds.0.from: unknown key; check the spelling"),
    ],
)
def test_a_round_that_is_not_as_it_must_be_is_named(parameter_files, tools, entry, says):
    lists = tools.lists(["scribblesup_1"], warm_up=["warm"], rounds=[entry])
    tools.edit(parameter_files / PARAMS, {"variants": lists})
    message = refusal(parameter_files)
    assert re.match(re.escape(f"{parameter_files / PARAMS}: ") + says, message), message


@pytest.mark.parametrize("rows", [["scribblesup"], ["scribblesup", "warm", "scribblesup_1"]])
def test_what_is_gone_on_from_may_be_a_row_or_not(parameter_files, tools, rows):
    lists = tools.lists(rows, warm_up=["warm"], rounds=[FIRST, SECOND])
    tools.edit(parameter_files / PARAMS, {"variants": lists})
    variants = read(parameter_files).switches.variants
    assert variants.all == rows
    assert variants.by_stage()["train_propagated"] == ["scribblesup_1", "scribblesup"]


def test_the_order_of_all_is_free(parameter_files, tools):
    lists = tools.lists(["bpg", "prn"], train=["prn"], train_boundary=["bpg"])
    tools.edit(parameter_files / PARAMS, {"variants": lists})
    assert read(parameter_files).switches.variants.all == ["bpg", "prn"]


@pytest.mark.parametrize(("key", "names"), [("dataset", DATASETS), ("recipe", RECIPES)])
def test_a_file_that_is_not_there_lists_those_that_are(parameter_files, tools, key, names):
    tools.edit(parameter_files / PARAMS, {key: "tinny"})
    assert refusal(parameter_files) == (
        f"{parameter_files}/params/{key}/tinny.yaml: no such parameter file; "
        f"there are: {', '.join(names)}"
    )


def test_missing_switches_are_named(parameter_files):
    (parameter_files / PARAMS).unlink()
    assert refusal(parameter_files).startswith(f"{parameter_files / PARAMS}: no such parameter fi")


@pytest.mark.parametrize("file", [PARAMS, SHAPES, TINY])
def test_invalid_yaml_is_named_with_its_line(parameter_files, file):
    path = parameter_files / file
    path.write_text("kind: shapes\n\nclasses: [a, b\nsource: {}\n", encoding="utf-8")
    assert refusal(parameter_files).startswith(f"{path}: line 4 not valid YAML: ")


@pytest.mark.parametrize(
    ("file", "key"), [(PARAMS, "lambda"), (TINY, "training.epochs"), (TINY, "training.lr")]
)
def test_a_truth_value_is_no_number(parameter_files, tools, file, key):
    tools.edit(parameter_files / file, {key: True})
    assert refusal(parameter_files).startswith(f"{parameter_files / file}: {key}: a number")


def test_a_key_given_twice_is_named(parameter_files):
    path = parameter_files / PARAMS
    path.write_text(path.read_text(encoding="utf-8") + "lambda: 2.0\n", encoding="utf-8")
    assert refusal(parameter_files).endswith("not valid YAML: 'lambda' is given twice")


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a list\n", "a word\n", "3\n"])
def test_a_file_without_keys_is_named(parameter_files, text):
    (parameter_files / PARAMS).write_text(text, encoding="utf-8")
    assert refusal(parameter_files).startswith(f"{parameter_files / PARAMS}: ")


@pytest.mark.parametrize(
    "data",
    [
        b"dataset: \xff\xfe\n",
        b"dataset: \x07\n",
    ],
)
def test_a_file_that_is_no_text_is_named(parameter_files, data):
    (parameter_files / PARAMS).write_bytes(data)
    message = refusal(parameter_files)
    assert message.startswith(f"{parameter_files / PARAMS}: ")
    assert not message.endswith(": ")


@pytest.mark.parametrize(("word", "meaning"), [("on", "on"), ("off", "off"), ("auto", "auto")])
def test_yamls_words_for_truth_are_words_for_bf16(parameter_files, word, meaning):
    path = parameter_files / TINY
    text = re.sub(r"bf16: \w+", f"bf16: {word}", path.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")
    assert read(parameter_files).recipe.machine.bf16 == meaning


@pytest.mark.parametrize("rate", ["1e-3", "1.0e-3", "0.001"])
def test_every_way_to_write_a_rate_is_read(parameter_files, rate):
    # YAML 1.1 takes 1e-3 for a word.
    path = parameter_files / TINY
    text = re.sub(r"\n  lr: \S+", f"\n  lr: {rate}", path.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")
    assert read(parameter_files).recipe.training.lr == 0.001


# dvc.yaml against the code

DVC = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
STAGES = DVC["stages"]
TRAINING = get_args(Stage)
OF_A_ROUND = ("propagate", "train_propagated")
ENTRIES = FILE.relative_to(ROOT).as_posix()
NOT_TRACKED = {"device", "machine"}  # how, not what: params/recipe/*.yaml and the README say so


def script(name: str) -> str:
    """The script of a stage; the training stages have one."""
    return "train" if name in TRAINING else name


def main_call(path: Path) -> tuple[str, bool] | None:
    """(name, of_run) of `run_stage(...)` below `if __name__ == "__main__"`, if there is one."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.If) and "__name__" in ast.unparse(node.test):
            call = node.body[0].value
            of_run = any(k.arg == "of_run" and k.value.value for k in call.keywords)
            return call.args[0].value, of_run
    return None


def test_every_script_is_a_stage_and_every_stage_a_script():
    scripts = {p.stem: main_call(p) for p in (ROOT / "stages").glob("*.py")}
    scripts = {name: call for name, call in scripts.items() if call}
    assert set(scripts) == set(map(script, STAGES))
    # Nothing else is in that folder.
    assert {p.stem for p in (ROOT / "stages").glob("*.py")} == {*scripts, "__init__"}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_runs_its_script_and_depends_on_it(name):
    stage = STAGES[name]
    called, of_run = main_call(ROOT / f"stages/{script(name)}.py")
    assert called == script(name)
    variant = "${item.round.name}" if name in OF_A_ROUND else "${item.variant}"
    arguments = f" {variant} ${{item.seed}}" if of_run else ""
    assert stage["cmd"] == f"python -m stages.{called}{arguments}"
    assert of_run == ("matrix" in stage)
    assert f"stages/{called}.py" in stage["deps"]
    if name in OF_A_ROUND:
        assert stage["matrix"] == {"round": "${variants.rounds}", "seed": "${seeds}"}
    elif of_run:
        lists = "${variants.%s}" % (name if name in TRAINING else "all")
        assert stage["matrix"] == {"variant": lists, "seed": "${seeds}"}


def entries(name: str, kind: str) -> list[str]:
    """What the stage lists, with one name for the variant that it is about."""
    listed = [next(iter(e)) if isinstance(e, dict) else e for e in STAGES[name].get(kind, [])]
    return [entry.replace("${item.round.name}", "${item.variant}") for entry in listed]


def start_of(name: str) -> str:
    """The variant that the stage goes on from, as its dependencies have it."""
    return "${item.round.start}" if name in OF_A_ROUND else WARM


@pytest.mark.parametrize("name", STAGES)
def test_the_code_that_a_stage_depends_on_exists(name):
    code = [
        path for path in entries(name, "deps") if path.startswith(("bpg", "pipeline", "stages"))
    ]
    assert code
    assert not [path for path in code if not (ROOT / path).exists()]


def declared(name: str) -> set[str]:
    """What a stage declares of the parameters, as "switches.x", "dataset.x.y", "recipe.x"."""
    files = {"params/dataset/${dataset}.yaml": "dataset", "params/recipe/${recipe}.yaml": "recipe"}
    result = set()
    for entry in STAGES[name].get("params", []):
        if isinstance(entry, str):
            result.add(f"switches.{entry}")
        else:
            ((file, below),) = entry.items()
            if file != ENTRIES:  # the table of variants is no parameter file; see below
                result |= {f"{files[file]}.{key}" for key in below}
    return result


def covered(key: str, by: set[str]) -> bool:
    parts = key.split(".")
    return any(".".join(parts[: n + 1]) in by for n in range(len(parts)))


@pytest.mark.parametrize(("kind", "files"), [("dataset", DATASETS), ("recipe", RECIPES)])
def test_every_parameter_is_tracked_by_some_stage(kind, files):
    everywhere = set().union(*map(declared, STAGES))
    for file in files:
        below = keys(f"params/{kind}/{file}.yaml")
        leaves = [k for k in below if not any(o.startswith(f"{k}.") for o in below)]
        untracked = {k for k in leaves if not covered(f"{kind}.{k}", everywhere)}
        assert {k.split(".")[0] for k in untracked} <= NOT_TRACKED, untracked


def test_every_switch_is_tracked_by_some_stage():
    everywhere = set().union(*map(declared, STAGES))
    top = yaml.safe_load((ROOT / PARAMS).read_text(encoding="utf-8"))
    assert {key for key in top if not covered(f"switches.{key}", everywhere)} == {"device"}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_declares_parameters_that_every_file_has(name):
    for key in declared(name):
        kind, _, below = key.partition(".")
        files = {
            "switches": [PARAMS],
            "dataset": [f"params/dataset/{f}.yaml" for f in DATASETS],
            "recipe": [f"params/recipe/{f}.yaml" for f in RECIPES],
        }[kind]
        assert all(below in keys(file) for file in files)


def test_only_the_boundary_stages_know_lambda_and_the_edge_maps():
    boundary = {"train_boundary", "fine_tune_boundary"}
    # The last two state it.
    users = boundary | {"tables", "report"}
    assert {n for n in STAGES if "switches.lambda" in declared(n)} == users
    readers = {n for n in STAGES if "data/${dataset}/edges" in entries(n, "deps")}
    assert readers == boundary | {"report"}  # Figure 5 shows them


def test_only_who_goes_on_from_another_variant_knows_of_regularisers_and_shared_epochs():
    def readers(key):
        return {name for name in STAGES if f"recipe.{key}" in declared(name)}

    assert readers("regularisers") == {"fine_tune", "fine_tune_boundary", "cost"}
    on = {"fine_tune", "fine_tune_boundary", "train_propagated"}
    assert readers("fine_tuning") == on | {"warm_up", "tables", "report"}  # which state them
    assert readers("propagation") == {"propagate"}


def test_full_masks_are_for_the_stage_of_the_upper_bound_alone():
    readers = {name for name in TRAINING if "data/${dataset}/masks" in entries(name, "deps")}
    assert readers == {"train"}
    readers = {name for name in STAGES if "data/${dataset}/masks" in entries(name, "deps")}
    assert readers == {"train", "edges", "evaluate", "samples", "report"}  # no `propagate`


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_of_one_variant_tracks_its_entry_and_a_stage_of_all_the_whole_table(name):
    """So that an edited entry concerns its own runs, and every table that shows labels."""
    reads = any("VARIANTS[" in path.read_text(encoding="utf-8") for path in code_of(name))
    item = "${item.round.name}" if name in OF_A_ROUND else "${item.variant}"
    tracked = [e for e in STAGES[name].get("params", []) if isinstance(e, dict) and ENTRIES in e]
    if reads and "matrix" in STAGES[name]:
        assert tracked == [{ENTRIES: [item]}]
        assert ENTRIES not in entries(name, "deps")
    else:
        assert tracked == []
        assert (ENTRIES in entries(name, "deps")) == (
            reads or "bpg/report" in entries(name, "deps")
        )
    # The schema is none, as pipeline/params.py is none: another rule retrains nothing.
    assert "bpg/variants.py" not in entries(name, "deps")


def test_every_entry_is_one_that_dvc_can_track():
    shipped = yaml.safe_load((ROOT / ENTRIES).read_text(encoding="utf-8"))
    assert list(shipped) == list(VARIANTS)
    # A dot would mean a key inside, a slash another folder of runs.
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", name) for name in shipped)


# What the scripts read, against what dvc.yaml says that they read.

SHARED = {**dict.fromkeys(TRAINING, "build"), "tables": "tables", "report": "tables"}


def code_of(name: str) -> list[Path]:
    """The stage's script, and what of pipeline/ reads parameters for it."""
    shared = [ROOT / f"pipeline/{SHARED[name]}.py"] if name in SHARED else []
    return [ROOT / f"stages/{script(name)}.py", *shared]


# These reach the stage through the runs, which change with them.
FIELDS = {"switches", "dataset", "recipe"}
WARM = "warm"


def of_no_consequence(name: str) -> set[str]:
    """What the training script reads for other variants than this stage's."""
    ours = [variant for variant in VARIANTS.values() if variant.stage == name]
    if not ours:
        return set()
    used = {
        "recipe.model.brn": any(one.brn for one in ours),
        "recipe.model.weights": any(one.start is None for one in ours),
        "recipe.fine_tuning": any(one.start or one.warm_up for one in ours),
        "recipe.regularisers": any(one.regularisers for one in ours),
        "switches.lambda": any(one.brn for one in ours),
        "data.edges": any(one.brn for one in ours),
        "data.masks": any(one.supervision == "masks" for one in ours),
        "data.scribbles": any(one.supervision == "scribbles" for one in ours),
        "run.propagated": any(one.supervision == "propagated" for one in ours),
        "start.model": any(one.start is not None for one in ours),
    }
    return {key for key, of_use in used.items() if not of_use}


def test_nothing_is_tracked_that_is_of_no_consequence():
    for name in TRAINING:
        paths = layout_paths(name)
        listed = {*declared(name), *entries(name, "deps"), *entries(name, "outs")}
        # Of `model`, the whole is tracked where most of it is read.
        unread = {paths.get(key, key) for key in of_no_consequence(name)}
        assert not unread & listed, name


def chains(name: str) -> set[str]:
    """Dotted names below `parameters`, `data` and `run` that a stage's code reads."""
    found: set[str] = set()
    for path in code_of(name):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for function in (n for n in tree.body if isinstance(n, ast.FunctionDef)):
            found |= _chains_of(function)
    return found


def _chains_of(function: ast.FunctionDef) -> set[str]:
    names = {"parameters": ""}
    arguments = {arg.arg: arg.annotation for arg in function.args.args if arg.annotation}
    names |= {arg: "run" for arg, kind in arguments.items() if ast.unparse(kind) == "RunLayout"}
    found, inner = set(), set()
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            text = ast.unparse(node.value)
            for layout in ("data_layout(", "run_layout("):
                if text.startswith(layout) and text.endswith(")"):
                    names[node.targets[0].id] = _path(node.value, names)
            path = _path(node.value, names)
            if path and path.split(".")[0] in FIELDS and isinstance(node.targets[0], ast.Name):
                names[node.targets[0].id] = path
                inner |= {id(child) for child in ast.walk(node.value)}
                if f"{node.targets[0].id}." not in ast.unparse(function):
                    found.add(path)  # a value of its own, not a section
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute) and id(node) not in inner:
            path = _path(node, names)
            if path:
                found.add(path)
                # Of a.b.c only the whole is read.
                inner |= {id(child) for child in ast.walk(node.value)}
    return {path.removesuffix(".model_dump") for path in found}


def _path(node: ast.AST, names: dict[str, str]) -> str | None:
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Call):
        called = ast.unparse(node.func)
        if called == "run_layout" and ast.unparse(node.args[0]).split(".")[-1] == "start":
            return "start"  # the run of the variant that this one goes on from
        return {"data_layout": "data", "run_layout": "run"}.get(called)
    if isinstance(node, ast.Attribute):
        above = _path(node.value, names)
        return None if above is None else f"{above}.{node.attr}".lstrip(".")
    return None


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_declares_the_parameters_that_it_reads(name):
    read_here = {c for c in chains(name) if c.split(".")[0] in FIELDS}
    read_here = {c.replace("boundary_weight", "lambda") for c in read_here}
    ignored = {"switches.device", "recipe.machine"}
    # The names of the two files are in the paths that dvc.yaml spells out.
    ignored |= {"switches.dataset", "switches.recipe"} | of_no_consequence(name)
    missing = {c for c in read_here if not covered(c, ignored | declared(name)) and c not in FIELDS}
    assert not missing
    assert read_here  # else this test looks at nothing


def layout_paths(stage: str = "train") -> dict[str, str]:
    """{"data.images": "data/${dataset}/images", ...} by pipeline/paths.py, for one stage."""
    from pipeline.paths import DataLayout, RunLayout, data_layout, run_layout  # noqa: PLC0415

    data = data_layout("${dataset}")
    run, start = (run_layout(name, "${item.seed}") for name in ("${item.variant}", start_of(stage)))
    result = {}
    kinds = (("data", data, DataLayout), ("run", run, RunLayout), ("start", start, RunLayout))
    for prefix, layout, kind in kinds:
        for name, value in vars(kind).items():
            if isinstance(value, property):
                result[f"{prefix}.{name}"] = getattr(layout, name).as_posix()
    return result


GOING_ON = {"fine_tune", "fine_tune_boundary", "propagate", "train_propagated"}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_names_the_files_that_it_opens(name):
    paths = layout_paths(name)
    opened = {c for c in chains(name) if c in paths} - of_no_consequence(name)
    assert opened.isdisjoint({"start.model"}) == (name not in GOING_ON)
    named = {*entries(name, "deps"), *entries(name, "outs"), *entries(name, "metrics")}
    above = {place: {place, *map(str, Path(place).parents)} for place in map(paths.get, opened)}
    assert not [place for place, folders in above.items() if not folders & named]


def test_every_place_of_the_layout_is_written_by_one_stage():
    from pipeline.paths import HED_WEIGHTS, backbone_folder  # noqa: PLC0415

    written = [path for name in STAGES for path in entries(name, "outs")]
    # The training stages write the same files, of other variants.
    twice = {path for path in written if written.count(path) > 1}
    for name in TRAINING:
        assert set(entries(name, "outs")) == twice
    known = {path for key, path in layout_paths().items() if not key.startswith("start.")}
    known |= {HED_WEIGHTS.as_posix(), backbone_folder("${recipe}").as_posix()}
    assert {path for path in written if not path.startswith("results/")} == known


def test_whatever_is_read_is_written_before():
    written = {p for name in STAGES for k in ("outs", "metrics") for p in entries(name, k)}
    for name in STAGES:
        for path in entries(name, "deps"):
            if path.startswith(("data/", "results/", "runs/")):
                # Of the variant that it goes on from: another run of the stage that writes it.
                own = path.replace(f"runs/{start_of(name)}/", "runs/${item.variant}/")
                assert own in written, (name, path)
    assert VARIANTS[WARM].stage == "warm_up"


def test_the_results_are_those_of_the_design_and_git_has_the_metrics_and_the_summary():
    names = ("table1", "table2", "table3", "ranking", "gains")
    tables = {f"results/{name}.{kind}" for name in names for kind in ("csv", "md")}
    assert tables <= set(entries("tables", "outs"))
    outputs = [
        entry
        for stage in STAGES.values()
        for k in ("outs", "metrics")
        for entry in stage.get(k, [])
    ]
    uncached = [entry for entry in outputs if isinstance(entry, dict) and "cache" in str(entry)]
    assert uncached == [
        {f"results/{name}": {"cache": False}} for name in ("summary.md", "metrics.json")
    ]
    assert entries("report", "outs") == ["results/report"]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
def test_git_ignores_what_dvc_keeps_and_nothing_else_of_the_results():
    outputs = [
        path for name in STAGES for kind in ("outs", "metrics") for path in entries(name, kind)
    ]
    kept = {"results/summary.md", "results/metrics.json"}
    paths = [path for path in outputs if path.startswith("results/")]
    command = ["git", "check-ignore", "--no-index", *paths, "results/provenance.json"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert set(found.stdout.split()) == set(paths) - kept


def test_every_variant_is_trained_by_its_own_stage():
    trained = read(ROOT).switches.variants.by_stage()
    assert trained.keys() == set(TRAINING)
    for name, variant in VARIANTS.items():
        assert [stage for stage, names in trained.items() if name in names] == [variant.stage]


@pytest.mark.parametrize(
    ("old", "new"), [("training.rate", "lr"), ("machine.workers", "num_workers")]
)
def test_a_former_name_is_refused_with_the_new_one(old, new, parameter_files, tools):
    section = old.partition(".")[0]
    tools.edit(parameter_files / TINY, {f"{section}.{new}": tools.DELETE, old: 1})
    assert refusal(parameter_files) == f"{parameter_files / TINY}: {old}: is now called {new}"


def test_a_misspelt_key_is_named_as_it_was_written(parameter_files, tools):
    tools.edit(parameter_files / TINY, {"crf.iterations": tools.DELETE, "crf.iteratons": 3})
    expected = f"{parameter_files / TINY}: crf.iteratons: unknown key; check the spelling"
    assert refusal(parameter_files) == expected
