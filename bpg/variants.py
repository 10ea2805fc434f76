"""The rows of the paper's tables and their peers: what is trained on which supervision."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bpg.errors import BPGError
from bpg.losses.options import Term
from bpg.strict_yaml import read_yaml

Stage = Literal[
    "train",
    "train_boundary",
    "warm_up",
    "fine_tune",
    "fine_tune_boundary",
    "train_propagated",
]


class Variant(BaseModel):
    """One way to train the network; a new ablation is one more entry in `variants.yaml`.

    `supervision` is the label that cross-entropy sees: full masks, strokes, or strokes that a
    graph cut has propagated to all pixels. `prn` adds the Prediction Refinement Network; `brn`
    adds the Boundary Regression Network on foreground/background channels (C = 2) or on all
    class channels (C = K + 1). `regularisers` are further losses (`bpg.losses.regularisers`).

    `start` names the variant whose network is gone on from; without one, training starts from the
    backbone's published weights or from scratch. `warm_up` marks a variant that is there to be
    started from. `rounds`: into how many equal parts the epochs after the warm-up are divided,
    of which this variant takes one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    label: str
    supervision: Literal["masks", "scribbles", "propagated"]
    prn: bool = False
    brn: Literal["foreground", "all_channels"] | None = None
    regularisers: tuple[Term, ...] = ()
    start: str | None = None
    warm_up: bool = False
    rounds: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _agree(self) -> "Variant":
        if self.start is None:
            for needing in ("regularisers", "rounds"):
                if needing in self.model_fields_set:
                    raise ValueError(f"{needing} needs a start: such variants go on from another")
            if self.supervision == "propagated":
                raise ValueError("propagated labels need a start: a network propagates them")
        elif self.warm_up:
            raise ValueError("a warm-up has no start")
        elif self.rounds > 1 and self.supervision != "propagated":
            raise ValueError("rounds are for propagated labels: other losses take one part")
        if self.supervision == "masks" and (self.brn or self.start):
            raise ValueError("full masks go without brn and start")
        if self.warm_up and (self.supervision != "scribbles" or self.brn):
            raise ValueError("a warm-up is trained on scribbles alone, without brn")
        if len(set(self.regularisers)) < len(self.regularisers):
            raise ValueError("regularisers: one is listed twice")
        if self.supervision == "propagated" and (self.brn or self.regularisers):
            raise ValueError("propagated labels go without brn and regularisers")
        return self

    @property
    def stage(self) -> Stage:
        """The stage that trains it; they differ in what DVC lets them read."""
        if self.supervision == "propagated":
            return "train_propagated"
        if self.warm_up:
            return "warm_up"
        if self.start is None:
            return "train" if self.brn is None else "train_boundary"
        return "fine_tune" if self.brn is None else "fine_tune_boundary"

    def epochs(self, total: int, warm_up: int) -> int:
        """How many of the `total` epochs it trains, when the warm-up takes `warm_up` of them.

        Together with the variants that it goes on from, every variant trains `total` epochs.
        BPGError where they cannot be divided into its rounds.
        """
        if self.warm_up:
            return warm_up
        if self.start is None:
            return total
        if warm_up >= total:
            raise BPGError(
                f"{self.name}: fine_tuning.warm_epochs ({warm_up}) leaves none of training.epochs "
                f"({total})"
            )
        part, left = divmod(total - warm_up, self.rounds)
        if left or part < 1:
            raise BPGError(
                f"{self.name}: the {total - warm_up} epochs after the warm-up cannot be divided "
                f"into {self.rounds} rounds; change training.epochs or fine_tuning.warm_epochs"
            )
        return part


def read_variants(path: Path) -> dict[str, Variant]:
    """Read {name: entry}; BPGError names the file, the entry and the key of what is wrong."""
    entries = read_yaml(path)
    if not isinstance(entries, dict):
        raise BPGError(f"{path}: entries of the form NAME: {{ label: ..., ... }} are wanted")
    found: dict[str, Variant] = {}
    for name, entry in entries.items():
        if isinstance(entry, dict) and "name" in entry:
            raise BPGError(f"{path}: {name}.name: the entry's key is its name; leave this out")
        try:
            values = {**entry, "name": name} if isinstance(entry, dict) else entry
            found[name] = Variant.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, (name, *first["loc"])))
            message = first["msg"].removeprefix("Value error, ")
            if first["type"] == "extra_forbidden":
                message = f"unknown key; known: {', '.join(Variant.model_fields)}"
            raise BPGError(f"{path}: {place}: {message}") from error
    for variant in found.values():
        started_from(variant, found, path)
    return found


def started_from(variant: Variant, variants: dict[str, Variant], path: Path) -> list[Variant]:
    """Return the chain of variants that `variant` goes on from, the first one first.

    BPGError, naming `path`, where one is missing, stands in a circle or is no warm-up.
    """
    chain: list[Variant] = []
    name = variant.start
    while name is not None:
        if name not in variants:
            raise BPGError(f"{path}: {variant.name}.start: unknown variant {name!r}")
        if name == variant.name or variants[name] in chain:
            raise BPGError(f"{path}: {variant.name}.start: leads back to itself")
        chain.insert(0, variants[name])
        name = variants[name].start
    if chain and not chain[0].warm_up:
        raise BPGError(f"{path}: {variant.name}.start: {chain[0].name} is no warm_up")
    return chain


FILE = Path(__file__).with_suffix(".yaml")
VARIANTS = read_variants(FILE)


def budget(variant: Variant, total: int, warm_up: int) -> list[int]:
    """Return the epochs of each training that made `variant`, the shared warm-up first."""
    chain = [*started_from(variant, VARIANTS, FILE), variant]
    return [one.epochs(total, warm_up) for one in chain]
