"""Variants: what goes together, who is fine-tuned from whom, and how epochs are shared out."""

import pytest
from pydantic import ValidationError

from bpg.errors import BPGError
from bpg.losses.options import OPTIONS
from bpg.variants import Variant, epochs, lineage

BASE = {"supervision": "scribbles"}
ON = BASE | {"init_from": "warm"}
ROUND = {"supervision": "propagated", "init_from": "warm"}


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        (BASE | {"prm": True}, "prm"),
        ({}, "supervision"),
        ({"supervision": "boxes"}, "supervision"),
        (BASE | {"brn": "two"}, "brn"),
        (BASE | {"prn": "often"}, "prn"),
        (ON | {"regularisers": ["dense_crf", "denscrf"]}, "regularisers"),
        (ON | {"regularisers": "dense_crf"}, "regularisers"),
        (ON | {"regularisers": ["dense_crf", "dense_crf"]}, "regularisers"),
        (BASE | {"regularisers": ["dense_crf"]}, "regularisers need init_from"),
        ({"supervision": "propagated"}, "need init_from"),
        ({"supervision": "masks", "brn": "foreground"}, "masks excludes brn and init_from"),
        ({"supervision": "masks", "init_from": "warm"}, "masks excludes brn and init_from"),
        (ROUND | {"brn": "foreground"}, "propagated excludes brn and regularisers"),
        (ROUND | {"regularisers": ["dense_crf"]}, "propagated excludes brn and regularisers"),
        ({"supervision": "grabcut", "brn": "foreground"}, "grabcut excludes brn and init_from"),
        ({"supervision": "grabcut", "init_from": "warm"}, "grabcut excludes brn and init_from"),
        ({"supervision": "masks", "classifier": "forest"}, "forest takes supervision: scribbles"),
        (BASE | {"classifier": "forest", "prn": True}, "forest takes .* and nothing else"),
        (BASE | {"classifier": "forest", "until": 0.5}, "forest takes .* and nothing else"),
        (ON | {"classifier": "forest"}, "forest takes .* and nothing else"),
        (BASE | {"classifier": "svm"}, "classifier"),
        (BASE | {"until": 0}, "until"),
        (BASE | {"until": 1.5}, "until"),
        (BASE | {"until": True}, "until"),
    ],
)
def test_what_does_not_go_together_is_refused(entry, named):
    with pytest.raises(ValidationError, match=named):
        Variant(**entry)


def variants(**entries) -> dict[str, Variant]:
    return {name: Variant(**entry) for name, entry in entries.items()}


def test_a_lineage_begins_with_the_first_training():
    # What another starts from may stand further down.
    found = variants(
        b=ROUND | {"init_from": "a"}, a=ROUND | {"until": 0.75}, warm=BASE | {"until": 0.5}, c=BASE
    )
    assert lineage("b", found) == ["warm", "a", "b"]
    assert lineage("c", found) == ["c"]


@pytest.mark.parametrize(
    ("entries", "named"),
    [
        ({"x": ON}, "init_from: .*'warm'"),
        ({"x": ON | {"init_from": "x"}}, "init_from: .*itself"),
        (
            {
                "x": ROUND | {"init_from": "y", "until": 0.9},
                "y": ROUND | {"init_from": "x", "until": 0.8},
            },
            "init_from|until",
        ),
        ({"warm": BASE, "x": ON}, "until: .*'warm'"),
        ({"warm": {"supervision": "masks", "until": 0.5}, "x": ON}, "init_from: .*full masks"),
        ({"warm": BASE | {"classifier": "forest"}, "x": ON}, "init_from: .*is a forest"),
        ({"warm": BASE | {"until": 0.5}, "x": ON | {"until": 0.5}}, "until: .*0.5"),
    ],
)
def test_a_lineage_that_leads_nowhere_is_an_error(entries, named):
    with pytest.raises(BPGError, match=named):
        lineage("x", variants(**entries))


@pytest.mark.parametrize("total", [3, 4, 16, 25, 32, 1000])
def test_the_parts_add_up_to_all_epochs(total):
    found = variants(
        warm=BASE | {"until": 0.5},
        peer=ON,
        one=ROUND | {"until": 0.75},
        two=ROUND | {"init_from": "one"},
        alone=BASE,
    )
    if total > 3:
        assert sum(epochs("two", found, total)) == total
    assert sum(epochs("peer", found, total)) == sum(epochs("alone", found, total)) == total
    # What they share is shared.
    assert epochs("peer", found, total)[0] == epochs("warm", found, total)[0]


def test_halves_are_rounded_up():
    found = variants(
        warm=BASE | {"until": 0.5}, one=ROUND | {"until": 0.75}, two=ROUND | {"init_from": "one"}
    )
    assert epochs("two", found, 25) == [13, 6, 6]
    assert epochs("two", found, 32) == [16, 8, 8]
    # Floating point would give 14.
    assert epochs("warm", {"warm": Variant(**BASE, until=0.58)}, 25) == [15]


def test_a_part_without_an_epoch_is_an_error():
    found = variants(warm=BASE | {"until": 0.5}, x=ON)
    with pytest.raises(BPGError, match=r"x would train 1 \+ 0 epochs"):
        epochs("x", found, 1)


# What is shipped


def test_the_papers_rows_are_what_they_were(shipped):
    found = {
        name: (one.supervision, one.prn, one.brn, one.regularisers)
        for name, one in shipped.items()
        if one.init_from is None and one.until == 1 and name not in ("grabcut", "forest")
    }
    assert found == {
        "mask": ("masks", False, None, ()),
        "scribble": ("scribbles", False, None, ()),
        "prn": ("scribbles", True, None, ()),
        "brn": ("scribbles", False, "foreground", ()),
        "bpg": ("scribbles", True, "foreground", ()),
        "bpg_all_channels": ("scribbles", True, "all_channels", ()),
    }


def test_what_one_would_do_instead_is_the_baseline_but_for_one_thing(shipped):
    baseline = shipped["scribble"]
    changes = {"grabcut": {"supervision": "grabcut"}, "forest": {"classifier": "forest"}}
    for name, change in changes.items():
        assert shipped[name] == baseline.model_copy(update=change)


def test_every_peer_is_fine_tuned_from_the_warm_start_with_its_own_losses(shipped):
    found = {name: one.regularisers for name, one in shipped.items() if one.init_from == "warm"}
    assert found == {
        "fine_tuned": (),
        "normalcut": ("normalized_cut",),
        "densecrf": ("dense_crf",),
        "kernelcut": ("normalized_cut", "dense_crf"),
        "gatedcrf": ("gated_crf",),
        "treeenergy": ("tree_energy",),
        "softlabel": ("soft_label",),
        "ema": ("mean_teacher",),
        "scribblesup_1": (),
    }
    # The peers' network is the baseline's: their losses alone make the difference.
    assert not any(shipped[name].prn or shipped[name].brn for name in found)
    beside = {n: one.regularisers for n, one in shipped.items() if one.init_from == "bpg_warm"}
    assert beside == {
        "bpg_fine_tuned": (),
        "bpg_kernelcut": ("normalized_cut", "dense_crf"),
        "bpg_gatedcrf": ("gated_crf",),
        "bpg_treeenergy": ("tree_energy",),
        "bpg_softlabel": ("soft_label",),
    }
    for name in ("bpg_warm", *beside):
        assert (shipped[name].prn, shipped[name].brn) == (shipped["bpg"].prn, shipped["bpg"].brn)
    assert shipped["bpg_warm"].until == shipped["warm"].until
    used = {term for one in shipped.values() for term in one.regularisers}
    assert used == set(OPTIONS)
    assert lineage("scribblesup", shipped) == ["warm", "scribblesup_1", "scribblesup"]
