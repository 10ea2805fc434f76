"""The files of variants and labels, and the lists of params.yaml."""

import pytest
import yaml

from bpg.errors import BPGError
from bpg.variants import Variant
from pipeline.variants import (
    VariantLists,
    make_lists,
    networks,
    read_labels,
    read_variants,
    stage_of,
)

FIRST = {"name": "scribblesup_1", "init_from": "warm"}
SECOND = {"name": "scribblesup", "init_from": "scribblesup_1"}


def written(folder, content):
    path = folder / "file.yaml"
    text = content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("", ""),
        ("- x\n", ""),
        ({"x": None}, "x: "),
        ({"x": "scribbles"}, "x: "),
        ({"x": {"supervision": "boxes"}}, "x.supervision: "),
        ({"x": {"supervision": "masks", "label": "X"}}, "x.label: "),
        ({"x": {"supervision": "masks", "start": "y"}}, "x.start: is now called init_from"),
        (
            {"x": {"supervision": "masks", "untill": 1}},
            "x.untill: unknown key; did you mean until?",
        ),
        ({"a.b": {"supervision": "masks"}}, "a.b"),
        ({"x": {"supervision": "scribbles", "init_from": "y"}}, "x.init_from: "),
    ],
)
def test_a_mistake_is_named_with_file_variant_and_key(tmp_path, content, named):
    path = written(tmp_path, content)
    with pytest.raises(BPGError) as caught:
        read_variants(path)
    assert str(caught.value).startswith(f"{path}: {named}")


def test_labels_follow_the_variants_and_need_not_be_there(tmp_path, shipped):
    labels = read_labels(written(tmp_path, {"bpg": "Ours", "mask": "Upper bound"}), shipped)
    assert list(labels) == list(shipped)
    assert (labels["bpg"], labels["mask"], labels["prn"]) == ("Ours", "Upper bound", "prn")
    assert read_labels(written(tmp_path, "# none\n"), shipped)["bpg"] == "bpg"
    for wrong, named in (({"bgp": "Ours"}, "bgp: "), ({"bpg": "X", "prn": "X"}, "(prn|bpg): .*X")):
        with pytest.raises(BPGError, match=named):
            read_labels(written(tmp_path, wrong), shipped)


def test_a_stage_trains_what_reads_the_same(shipped):
    found = {}
    for name, variant in shipped.items():
        found.setdefault(stage_of(variant), []).append(name)
    assert found == {
        "train": ["mask", "scribble", "prn", "warm"],
        "train_boundary": ["brn", "bpg", "bpg_all_channels", "bpg_warm"],
        "fine_tune": [
            "fine_tuned",
            "normalcut",
            "densecrf",
            "kernelcut",
            "gatedcrf",
            "treeenergy",
            "ema",
        ],
        "fine_tune_edges": ["softlabel"],
        "fine_tune_boundary": [
            "bpg_fine_tuned",
            "bpg_kernelcut",
            "bpg_gatedcrf",
            "bpg_treeenergy",
            "bpg_softlabel",
        ],
        "train_propagated": ["scribblesup_1", "scribblesup"],
        "train_grabcut": ["grabcut"],
        "forest": ["forest"],
    }


WRONG = {
    # what is wrong: (the rows, what the stages train, what the line names)
    "unknown": (["skribble"], {"train": ["skribble"]}, ["skribble"]),
    "unknown round": (["x"], {"rounds": [FIRST | {"name": "x"}]}, ["'x'"]),
    "wrong list": (["bpg"], {"train": ["bpg"]}, ["'bpg'", "train_boundary"]),
    "baseline with boundary loss": (["prn"], {"train_boundary": ["prn"]}, ["'prn'", "under train"]),
    "peer under train": (["kernelcut"], {"train": ["kernelcut"]}, ["'kernelcut'", "fine_tune"]),
    "round under fine_tune": (
        ["scribblesup_1"],
        {"train": ["warm"], "fine_tune": ["scribblesup_1"]},
        ["'scribblesup_1'", "rounds"],
    ),
    "grabcut under train": (["grabcut"], {"train": ["grabcut"]}, ["'grabcut'", "train_grabcut"]),
    "a forest under train": (["forest"], {"train": ["forest"]}, ["'forest'", "under forest"]),
    "nothing but a forest": (["forest"], {"forest": ["forest"]}, ["`all`", "no network"]),
    "no warm start": (["kernelcut"], {"fine_tune": ["kernelcut"]}, ["'warm'", "train"]),
    "no first round": (
        ["scribblesup"],
        {"train": ["warm"], "rounds": [SECOND]},
        ["'scribblesup_1'", "rounds"],
    ),
    "another start": (
        ["scribblesup"],
        {"train": ["warm"], "rounds": [FIRST, SECOND | {"init_from": "warm"}]},
        ["rounds", "'scribblesup'", "'scribblesup_1'"],
    ),
    "all lacks one": (["prn"], {"train": ["scribble", "prn"]}, ["'scribble'", "`all`"]),
    "all has one more": (["prn", "mask"], {"train": ["prn"]}, ["'mask'", "`all`"]),
    "all lacks the last round": (
        ["scribblesup_1"],
        {"train": ["warm"], "rounds": [FIRST, SECOND]},
        ["'scribblesup'", "`all`"],
    ),
    "a start that none needs": (["prn", "warm"], {"train": ["prn", "warm"]}, ["'warm'", "0.5"]),
    "a row twice": (["prn", "prn"], {"train": ["prn"]}, ["twice"]),
    "trained twice": (["prn"], {"train": ["prn", "prn"]}, ["twice"]),
}


@pytest.mark.parametrize(("rows", "trained", "named"), WRONG.values(), ids=WRONG)
def test_lists_that_disagree_are_named(tools, shipped, rows, trained, named):
    with pytest.raises(BPGError) as caught:
        VariantLists(**tools.lists(rows, **trained)).check(shipped)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in named), message


def test_fine_tuning_starts_where_dvc_yaml_says(tools, shipped):
    other = Variant(supervision="scribbles", until=0.5)
    variants = shipped | {"other": other, "on": other.model_copy(update={"init_from": "other"})}
    variants["on"] = variants["on"].model_copy(update={"until": 1.0})
    lists = VariantLists(**tools.lists(["on"], train=["other"], fine_tune=["on"]))
    with pytest.raises(BPGError, match=r"'on': .*'warm'"):
        lists.check(variants)


@pytest.mark.parametrize("rows", [["scribblesup"], ["scribblesup", "warm", "scribblesup_1"]])
def test_what_others_start_from_may_be_a_row_or_not(tools, shipped, rows):
    VariantLists(**tools.lists(rows, train=["warm"], rounds=[FIRST, SECOND])).check(shipped)


def test_networks_are_what_has_epochs_and_curves(shipped):
    assert networks(["forest", "bpg", "grabcut"], shipped) == ["bpg", "grabcut"]


def test_lists_are_made_with_what_the_rows_start_from(shipped):
    rows = ["scribblesup", "bpg", "bpg_kernelcut", "gatedcrf", "scribble", "kernelcut"]
    rows += ["softlabel", "forest", "grabcut"]
    made = make_lists(rows, shipped)
    assert made == {
        "train": ["warm", "scribble"],
        "train_boundary": ["bpg", "bpg_warm"],
        "fine_tune": ["gatedcrf", "kernelcut"],
        "fine_tune_edges": ["softlabel"],
        "fine_tune_boundary": ["bpg_kernelcut"],
        "rounds": [FIRST, SECOND],
        "train_grabcut": ["grabcut"],
        "forest": ["forest"],
        "all": rows,
    }
    for row in shipped:
        if shipped[row].until == 1 and row != "forest":
            VariantLists(**make_lists([row], shipped)).check(shipped)
