"""The table of variants: what its entries mean, how epochs are shared out, how mistakes end."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bpg.errors import BPGError
from bpg.losses.options import OPTIONS
from bpg.variants import FILE, VARIANTS, Variant, budget, read_variants, started_from

ROOT = Path(__file__).parents[1]
BASE = {"label": "X", "supervision": "scribbles"}
WARM = BASE | {"warm_up": True}
ON = BASE | {"start": "warm"}
ROUND = {"label": "X", "supervision": "propagated", "start": "warm", "rounds": 2}


@pytest.fixture
def written(tmp_path):
    """Return a function that writes {name: entry} or text, and gives the file."""

    def write(entries) -> Path:
        path = tmp_path / "variants.yaml"
        text = entries if isinstance(entries, str) else yaml.safe_dump(entries, sort_keys=False)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def refusal(path: Path) -> str:
    with pytest.raises(BPGError) as caught:
        read_variants(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


# What is shipped


def test_the_papers_rows_are_what_they_were():
    found = {
        name: (one.supervision, one.prn, one.brn, one.start, one.regularisers, one.stage)
        for name, one in VARIANTS.items()
        if one.start is None and not one.warm_up
    }
    assert found == {
        "mask": ("masks", False, None, None, (), "train"),
        "scribble": ("scribbles", False, None, None, (), "train"),
        "prn": ("scribbles", True, None, None, (), "train"),
        "brn": ("scribbles", False, "foreground", None, (), "train_boundary"),
        "bpg": ("scribbles", True, "foreground", None, (), "train_boundary"),
        "bpg_all_channels": ("scribbles", True, "all_channels", None, (), "train_boundary"),
    }


def test_every_peer_goes_on_from_the_warm_start_with_its_own_losses():
    found = {
        name: (one.regularisers, one.stage) for name, one in VARIANTS.items() if one.start == "warm"
    }
    assert (
        found.items()
        >= {
            "fine_tuned": ((), "fine_tune"),
            "normalcut": (("normalized_cut",), "fine_tune"),
            "densecrf": (("dense_crf",), "fine_tune"),
            "kernelcut": (("normalized_cut", "dense_crf"), "fine_tune"),
            "gatedcrf": (("gated_crf",), "fine_tune"),
            "treeenergy": (("tree_energy",), "fine_tune"),
            "bpg_kernelcut": (("normalized_cut", "dense_crf"), "fine_tune_boundary"),
            "scribblesup_1": ((), "train_propagated"),
        }.items()
    )
    assert VARIANTS["warm"].stage == "warm_up"
    # The peers' network is the baseline's: their losses alone make the difference.
    parts = {name for name in found if VARIANTS[name].prn or VARIANTS[name].brn}
    assert parts == {"bpg_kernelcut"}
    assert (VARIANTS["bpg_kernelcut"].prn, VARIANTS["bpg_kernelcut"].brn) == (
        VARIANTS["bpg"].prn,
        VARIANTS["bpg"].brn,
    )
    used = {term for one in VARIANTS.values() for term in one.regularisers}
    assert used == set(OPTIONS)


def test_the_second_round_goes_on_from_the_first():
    assert [one.name for one in started_from(VARIANTS["scribblesup"], VARIANTS, FILE)] == [
        "warm",
        "scribblesup_1",
    ]
    assert started_from(VARIANTS["bpg"], VARIANTS, FILE) == []


def test_names_come_from_the_keys_and_no_label_is_given_twice():
    assert all(one.name == name for name, one in VARIANTS.items())
    labels = [one.label for one in VARIANTS.values()]
    assert len(set(labels)) == len(labels)  # charts put rows with one label on one line


# A new row


def test_a_new_entry_is_a_new_variant(written):
    entries = {
        "warm": WARM,
        "x": ON | {"regularisers": ["gated_crf", "tree_energy"]},
        "y": ON | {"prn": True, "brn": "all_channels"},
    }
    found = read_variants(written(entries))
    assert list(found) == ["warm", "x", "y"]
    assert found["x"] == Variant(name="x", **entries["x"])
    assert found["x"].regularisers == ("gated_crf", "tree_energy")
    assert (found["x"].prn, found["x"].brn, found["x"].rounds) == (False, None, 1)
    assert [one.stage for one in found.values()] == ["warm_up", "fine_tune", "fine_tune_boundary"]


def test_what_is_gone_on_from_may_stand_further_down(written):
    entries = {"b": ROUND | {"start": "a"}, "a": ROUND, "warm": WARM}
    found = read_variants(written(entries))
    chain = started_from(found["b"], found, Path("x"))
    assert [one.name for one in chain] == ["warm", "a"]


# Epochs


@pytest.mark.parametrize(("total", "warm_up"), [(16, 8), (25, 13), (10, 2), (3, 1)])
def test_every_row_trains_the_same_number_of_epochs(total, warm_up):
    passed_through = {one.start for one in VARIANTS.values()}
    for name, variant in VARIANTS.items():
        epochs = budget(variant, total, warm_up)
        assert min(epochs) >= 1
        if name in passed_through:
            assert sum(epochs) < total
        else:
            assert sum(epochs) == total, name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mask", [16]),
        ("bpg", [16]),
        ("warm", [6]),
        ("fine_tuned", [6, 10]),
        ("bpg_kernelcut", [6, 10]),
        ("scribblesup_1", [6, 5]),
        ("scribblesup", [6, 5, 5]),
    ],
)
def test_the_budget_has_the_shared_warm_up_first(name, expected):
    assert budget(VARIANTS[name], 16, 6) == expected
    assert VARIANTS[name].epochs(16, 6) == expected[-1]


@pytest.mark.parametrize(("total", "warm_up"), [(16, 7), (9, 8)])
def test_epochs_that_the_rounds_do_not_divide_are_an_error(total, warm_up):
    rest = total - warm_up
    for call in (VARIANTS["scribblesup"].epochs, lambda *of: budget(VARIANTS["scribblesup"], *of)):
        with pytest.raises(BPGError) as caught:
            call(total, warm_up)
        assert re.fullmatch(
            rf"scribblesup(_1)?: the {rest} epochs after the warm-up cannot be divided into "
            r"2 rounds; change training\.epochs or fine_tuning\.warm_epochs",
            str(caught.value),
        )
    # The others don't mind.
    assert budget(VARIANTS["kernelcut"], total, warm_up) == [warm_up, rest]


@pytest.mark.parametrize(("total", "warm_up"), [(8, 8), (8, 9)])
def test_nothing_left_after_the_warm_up_is_an_error(total, warm_up):
    with pytest.raises(
        BPGError, match=r"kernelcut: .*warm_epochs .* leaves none of training.epochs"
    ):
        VARIANTS["kernelcut"].epochs(total, warm_up)
    assert VARIANTS["bpg"].epochs(total, warm_up) == total


# Mistakes

WRONG = {
    # what is wrong: (the entries, what the line says after the file's name)
    "empty": ("", "entries of the form NAME: "),
    "a list": ("- x\n", "entries of the form NAME: "),
    "no YAML": ("x: [\n", ".*line 2 not valid YAML: "),
    "no entry": ({"x": None}, "x: "),
    "a word for an entry": ({"x": "scribbles"}, "x: "),
    "unknown key": ({"x": BASE | {"prm": True}}, r"x\.prm: "),
    "missing label": ({"x": {"supervision": "masks"}}, r"x\.label: "),
    "missing supervision": ({"x": {"label": "X"}}, r"x\.supervision: "),
    "unknown supervision": ({"x": BASE | {"supervision": "boxes"}}, r"x\.supervision: .*'masks', "),
    "unknown channels": ({"x": BASE | {"brn": "two"}}, r"x\.brn: .*'foreground' or 'all_channels'"),
    "prn is no truth value": ({"x": BASE | {"prn": "often"}}, r"x\.prn: "),
    "name is no text": ({1: BASE}, r"1\.name: "),
    "key is no text": ({"x": BASE | {2: 3}}, r"x\.2: "),
    "unknown regulariser": (
        {"warm": WARM, "x": ON | {"regularisers": ["dense_crf", "denscrf"]}},
        r"x\.regularisers\.1: .*'normalized_cut', 'dense_crf', 'gated_crf'",
    ),
    "regularisers are no list": (
        {"warm": WARM, "x": ON | {"regularisers": "dense_crf"}},
        r"x\.regularisers: ",
    ),
    "regularisers without start": (
        {"x": BASE | {"regularisers": ["dense_crf"]}},
        "x: .*regularisers needs a start",
    ),
    "no regularisers without start": (
        {"x": BASE | {"regularisers": []}},
        "x: .*regularisers needs a start",
    ),
    "masks with brn": (
        {"x": BASE | {"supervision": "masks", "brn": "foreground"}},
        "x: full masks",
    ),
    "masks with start": (
        {"warm": WARM, "x": ON | {"supervision": "masks"}},
        "x: full masks go without brn and start",
    ),
    "masks for a warm-up": (
        {"x": BASE | {"supervision": "masks", "warm_up": True}},
        "x: a warm-up is trained on scribbles",
    ),
    "rounds without start": ({"x": BASE | {"rounds": 1}}, "x: .*rounds needs a start"),
    "propagated without start": (
        {"x": BASE | {"supervision": "propagated"}},
        "x: .*propagated labels need a start",
    ),
    "no round": ({"warm": WARM, "x": ROUND | {"rounds": 0}}, r"x\.rounds: .* 1"),
    "half a round": ({"warm": WARM, "x": ROUND | {"rounds": 1.5}}, r"x\.rounds: "),
    "rounds not for propagated": (
        {"warm": WARM, "x": ON | {"rounds": 2}},
        "x: .*rounds are for propagated labels",
    ),
    "propagated with brn": (
        {"warm": WARM, "x": ROUND | {"brn": "foreground"}},
        "x: .*propagated labels go without brn and regularisers",
    ),
    "propagated with regularisers": (
        {"warm": WARM, "x": ROUND | {"regularisers": ["dense_crf"]}},
        "x: .*propagated labels go without brn and regularisers",
    ),
    "warm-up with start": ({"warm": WARM, "x": ON | {"warm_up": True}}, "x: .*a warm-up has no st"),
    "warm-up on masks": ({"x": WARM | {"supervision": "masks"}}, "x: .*warm-up .* on scribbles"),
    "warm-up with brn": ({"x": WARM | {"brn": "foreground"}}, "x: .*warm-up .* without brn"),
    "unknown start": ({"warm": WARM, "x": ON | {"start": "warn"}}, r"x\.start: .* 'warn'"),
    "starts from itself": ({"x": ON | {"start": "x"}}, r"x\.start: leads back to itself"),
    "starts in a circle": (
        {"x": ROUND | {"start": "y"}, "y": ROUND | {"start": "x"}},
        r"x\.start: leads back to itself",
    ),
    "starts into a circle": (
        {"z": ON | {"start": "x"}, "x": ROUND | {"start": "y"}, "y": ROUND | {"start": "x"}},
        r"z\.start: leads back to itself",
    ),
    "start is no warm-up": ({"w": BASE, "x": ON | {"start": "w"}}, r"x\.start: w is no warm_up"),
    "start of the start is no warm-up": (
        {"w": BASE, "y": ROUND | {"start": "w"}, "x": ROUND | {"start": "y"}},
        r"y\.start: w is no warm_up",
    ),
    "entry given twice": ("x: {label: X, supervision: masks}\n" * 2, ".*'x' is given twice"),
    "another name inside": ({"x": BASE | {"name": "y"}}, r"x\.name: "),
    "regulariser given twice": (
        {"warm": WARM, "x": ON | {"regularisers": ["dense_crf", "dense_crf"]}},
        "x.*: .*twice",
    ),
}


@pytest.mark.parametrize(("entries", "says"), WRONG.values(), ids=WRONG)
def test_a_mistake_is_named_with_entry_and_key(written, entries, says):
    message = refusal(written(entries))
    assert re.match(says, message), message


def test_bytes_that_are_no_text_are_named(written):
    path = written("")
    path.write_bytes(b"x: \xff\xfe\n")
    assert refusal(path) == "not UTF-8 text"


@pytest.fixture
def checkout(tmp_path):
    """A copy of what reads the parameters."""
    for name in ("bpg", "pipeline", "stages", "params"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    return tmp_path


@pytest.mark.parametrize("module", ["pipeline.params", "stages.prepare", "stages.train"])
def test_a_mistake_in_the_shipped_file_ends_every_stage_in_one_line(checkout, module):
    path = checkout / "bpg/variants.yaml"
    path.write_text(path.read_text(encoding="utf-8") + "x: { label: X, supervision: boxes }\n")
    done = subprocess.run(
        [sys.executable, "-m", module], cwd=checkout, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert re.match(rf"error: {checkout}/bpg/variants\.yaml: x\.supervision: ", line), line
