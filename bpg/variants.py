"""Variants: what is trained with which supervision, starting from where, until when."""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from math import floor
from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

from bpg.errors import BPGError
from bpg.losses.options import OPTIONS
from bpg.options import Share


class Variant(BaseModel):
    """One way to train.

    `classifier` is the network, or a random forest on the features of single pixels; all that
    follows but strokes as `supervision` is for networks alone. `supervision` names the labels that
    cross-entropy sees: full masks, strokes, strokes that a graph cut has propagated to all pixels,
    or GrabCut's labels. `prn` adds the Prediction Refinement Network; `brn` adds
    the Boundary Regression Network on foreground/background channels (C = 2) or on all class
    channels (C = K + 1). `regularisers` are further losses (`bpg.losses.regularisers`).

    `init_from` names the variant that this one is fine-tuned from; without it, training starts from
    the backbone's published weights or from scratch. `until` is the share of all epochs at which
    this training ends; it begins where that of `init_from` ends.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    supervision: Literal["masks", "scribbles", "propagated", "grabcut"]
    classifier: Literal["network", "forest"] = "network"
    prn: bool = False
    brn: Literal["foreground", "all_channels"] | None = None
    regularisers: tuple[str, ...] = ()
    init_from: str | None = None
    until: Share = 1.0

    @property
    def reads_edges(self) -> bool:
        """Whether its training looks at the edge maps."""
        return self.brn is not None or any(OPTIONS[name].reads_edges for name in self.regularisers)

    @model_validator(mode="after")
    def _agree(self) -> "Variant":
        for name in self.regularisers:
            if name not in OPTIONS:
                raise ValueError(f"regularisers: unknown {name!r}; known: {', '.join(OPTIONS)}")
        if len(set(self.regularisers)) < len(self.regularisers):
            raise ValueError("regularisers: one is listed twice")
        if self.init_from is None:
            if self.regularisers:
                raise ValueError("regularisers need init_from: they are for fine-tuning")
            if self.supervision == "propagated":
                raise ValueError("propagated labels need init_from: a network propagates them")
        if self.supervision == "masks" and (self.brn or self.init_from):
            raise ValueError("supervision: masks excludes brn and init_from")
        if self.supervision == "propagated" and (self.brn or self.regularisers):
            raise ValueError("supervision: propagated excludes brn and regularisers")
        if self.supervision == "grabcut" and (self.brn or self.init_from):
            raise ValueError("supervision: grabcut excludes brn and init_from")
        if self.classifier == "forest" and self != Variant.model_construct(
            supervision="scribbles", classifier="forest"
        ):
            raise ValueError("classifier: forest takes supervision: scribbles and nothing else")
        return self


Variants = Mapping[str, Variant]

# What the others are compared to: the first of these that was run.
REFERENCES = ("bpg", "scribble")


def reference_variant(names: Iterable[str]) -> str:
    """Return which of some variants the others are compared to."""
    names = list(names)
    return next((name for name in REFERENCES if name in names), names[0])


def lineage(name: str, variants: Variants) -> list[str]:
    """Return a variant and all that it is fine-tuned from, the first training first.

    Args:
        name: The variant.
        variants: All variants.

    Raises:
        BPGError: A variant is missing, leads back to itself, ends no later than its start, or
            starts from a forest or from full masks: then its supervision would be more than it
            says.
    """
    chain = [name]
    while (start := variants[chain[0]].init_from) is not None:
        if start not in variants:
            raise BPGError(
                f"{chain[0]}.init_from: unknown variant {start!r}; known: {', '.join(variants)}"
            )
        if start in chain:
            raise BPGError(f"{chain[0]}.init_from: {start!r} leads back to itself")
        if variants[start].classifier == "forest":
            raise BPGError(f"{chain[0]}.init_from: {start!r} is a forest; name a network")
        if variants[start].supervision == "masks":
            raise BPGError(f"{chain[0]}.init_from: {start!r} is trained on full masks")
        if variants[start].until >= variants[chain[0]].until:
            raise BPGError(
                f"{chain[0]}.until: {variants[chain[0]].until:g}, but {start!r}, which it is "
                f"fine-tuned from, trains until {variants[start].until:g}"
            )
        chain.insert(0, start)
    return chain


def epochs(name: str, variants: Variants, total: int) -> list[int]:
    """Return how many epochs each training in the `lineage` of a variant takes.

    They add up to `until` times `total`, rounded half up.

    Args:
        name: The variant.
        variants: All variants.
        total: `training.epochs` of the recipe.

    Raises:
        BPGError: One of them has no epoch left; or as for `lineage`.
    """
    half = Fraction(1, 2)
    # By the decimal digits that were written: as floats, 0.58 · 25 is less than 14.5.
    ends = [
        floor(Fraction(str(variants[one].until)) * total + half) for one in lineage(name, variants)
    ]
    parts = [end - begin for begin, end in zip([0, *ends], ends, strict=False)]
    if min(parts) < 1:
        listed = " + ".join(map(str, parts))
        raise BPGError(
            f"{name} would train {listed} epochs; raise training.epochs, or take {name} out of the "
            "lists of params.yaml"
        )
    return parts
