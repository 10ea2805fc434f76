"""The variants in use: their files, and the lists in params.yaml of what is trained."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from bpg.errors import BPGError
from bpg.strict_yaml import read_as
from bpg.variants import Variant, Variants, lineage

Stage = Literal[
    "train",
    "train_boundary",
    "fine_tune",
    "fine_tune_edges",
    "fine_tune_boundary",
    "train_propagated",
    "train_grabcut",
    "forest",
]
"""The stages of dvc.yaml that train; they differ in what DVC lets them read."""

WARM: dict[Stage, str] = {
    "fine_tune": "warm",
    "fine_tune_edges": "warm",
    "fine_tune_boundary": "bpg_warm",
}
"""The variant whose model each stage of fine-tuning depends on in dvc.yaml."""

RENAMED = {
    "*.start": "is now called init_from",
    "*.warm_up": "is now `until: 0.5`, the share of all epochs at which the training ends",
    "*.rounds": "is now `until`, the share of all epochs at which the training ends",
    "*.label": "is now in params/labels.yaml",
}
"""Keys of a variant that were called otherwise, or are no more."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]


def suggestion(name: str, variants: Variants) -> str:
    """Name the variant that was meant, or all.

    Args:
        name: An unknown one.
        variants: All variants.
    """
    close = get_close_matches(name, variants, n=1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(variants)}"


def stage_of(variant: Variant) -> Stage:
    """Return the stage that trains a variant."""
    if variant.classifier == "forest":
        return "forest"
    if variant.supervision == "grabcut":
        return "train_grabcut"
    if variant.supervision == "propagated":
        return "train_propagated"
    if variant.init_from is None:
        return "train" if variant.brn is None else "train_boundary"
    if variant.brn is not None:
        return "fine_tune_boundary"
    return "fine_tune_edges" if variant.reads_edges else "fine_tune"


def networks(names: Iterable[str], variants: Variants) -> list[str]:
    """Return those variants that are networks: only these have epochs and curves.

    Args:
        names: Of variants.
        variants: All variants by name.
    """
    return [name for name in names if variants[name].classifier == "network"]


def read_variants(path: Path) -> dict[str, Variant]:
    """Read {name: variant}.

    Raises:
        BPGError: The file is missing or wrong; the message names the file, the variant and the key.
    """
    variants = read_as(path, dict[Name, Variant], RENAMED)
    for name in variants:
        try:
            lineage(name, variants)
        except BPGError as error:
            raise BPGError(f"{path}: {error}") from error
    return variants


def read_labels(path: Path, variants: Variants) -> dict[str, str]:
    """Read the names that variants have in tables and charts.

    Args:
        path: The file, {variant: label}.
        variants: All variants by name.

    Returns:
        {variant: label} in the order of `variants`; a variant without a label keeps its own name.

    Raises:
        BPGError: The file is missing or wrong, or has a label for an unknown variant; the message
            names the file and the key.
    """
    kind: Any = dict[str, str] | None
    labels = read_as(path, kind) or {}
    for name in labels:
        if name not in variants:
            raise BPGError(f"{path}: {name}: no such variant; known: {', '.join(variants)}")
    whole = {name: labels.get(name, name) for name in variants}
    for name, label in whole.items():
        other = next(one for one, text in whole.items() if text == label)
        if other != name:
            raise BPGError(f"{path}: {name}: {label!r} is the label of {other}, too")
    return whole


class Round(BaseModel):
    """A training on propagated labels, and the variant whose network propagates them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    init_from: str


class VariantLists(BaseModel):
    """The variants by training stage, and the rows of the tables, in their order.

    DVC's matrix takes lists and cannot filter them, so each stage has its own. `rounds` lists those
    of the stage train_propagated.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: list[str]
    train_boundary: list[str]
    fine_tune: list[str]
    fine_tune_edges: list[str]
    fine_tune_boundary: list[str]
    rounds: list[Round]
    train_grabcut: list[str]
    forest: list[str]
    all: Annotated[list[str], Field(min_length=1)]

    def by_stage(self) -> dict[Stage, list[str]]:
        """Return the variants that each training stage trains."""
        return {
            "train": self.train,
            "train_boundary": self.train_boundary,
            "fine_tune": self.fine_tune,
            "fine_tune_edges": self.fine_tune_edges,
            "fine_tune_boundary": self.fine_tune_boundary,
            "train_propagated": [one.name for one in self.rounds],
            "train_grabcut": self.train_grabcut,
            "forest": self.forest,
        }

    def trained(self) -> list[str]:
        """Return the variants that any stage trains."""
        return [name for listed in self.by_stage().values() for name in listed]

    def check(self, variants: Variants) -> None:
        """Check that the lists agree with the variants.

        Raises:
            BPGError: They do not; the message is one line about the first mistake.
        """
        mistakes = chain(self._misplaced(variants), self._starts(variants), self._rows(variants))
        if (first := next(mistakes, None)) is not None:
            raise BPGError(first)

    def _misplaced(self, variants: Variants) -> Iterator[str]:
        for name in self.all + self.trained():
            if name not in variants:
                yield f"unknown variant {name!r}; {suggestion(name, variants)}"
                return
        for stage, listed in self.by_stage().items():
            for name in listed:
                if stage_of(variants[name]) != stage:
                    right = _list_of(stage_of(variants[name]))
                    yield f"{name!r} is listed under {_list_of(stage)}; list it under {right}"

    def _starts(self, variants: Variants) -> Iterator[str]:
        names = self.trained()
        for name in names:
            start = variants[name].init_from
            if start is not None and start not in names:
                place = _list_of(stage_of(variants[start]))
                yield f"{name!r} is fine-tuned from {start!r}, which {place} must list"
        for stage, start in WARM.items():
            for name in self.by_stage()[stage]:
                if variants[name].init_from != start:
                    yield f"{name!r}: {stage} starts from {start!r}, as in dvc.yaml"
        for one in self.rounds:
            if one.init_from != variants[one.name].init_from:
                right = variants[one.name].init_from
                yield f"rounds: {one.name!r} is fine-tuned from {right!r}, not {one.init_from!r}"

    def _rows(self, variants: Variants) -> Iterator[str]:
        names, rows = set(self.trained()), set(self.all)
        if len(names) < len(self.trained()) or len(rows) < len(self.all):
            yield "a variant is listed twice"
        # What others are fine-tuned from needs no row of its own, but may have one.
        starts = {variants[name].init_from for name in names}
        for name in sorted(rows - names):
            place = _list_of(stage_of(variants[name]))
            yield f"{name!r} is in `all`, but no stage trains it; add it to {place}"
        for name in sorted(names - starts - rows):
            place = _list_of(stage_of(variants[name]))
            yield f"{name!r} is trained (in {place}), but missing from `all`; add it"
        for name in sorted(names - starts):
            if (until := variants[name].until) < 1:
                yield f"{name!r} trains until {until:g}, and none is fine-tuned from it"
        if not networks(self.all, variants):
            yield "`all` has no network, which the tables are about; add one to it"


def _list_of(stage: Stage) -> str:
    return "rounds" if stage == "train_propagated" else stage


def make_lists(rows: list[str], variants: Variants) -> dict[str, list]:
    """Return the lists of params.yaml that train some variants and what they start from.

    Args:
        rows: The variants that are to be in the tables.
        variants: All variants by name.

    Returns:
        {list: its entries}, as `VariantLists` takes them.
    """
    lists: dict[str, list] = {_list_of(stage): [] for stage in get_args(Stage)}
    for name in dict.fromkeys(one for row in rows for one in lineage(row, variants)):
        stage = stage_of(variants[name])
        round_of = {"name": name, "init_from": variants[name].init_from}
        lists[_list_of(stage)].append(round_of if stage == "train_propagated" else name)
    return lists | {"all": rows}
