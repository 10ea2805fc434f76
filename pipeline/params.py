"""The door: params.yaml and the two files that it picks, read once, typed and validated."""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from bpg.errors import BPGError
from bpg.strict_yaml import read_yaml
from bpg.variants import VARIANTS, Stage, budget


def _no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"a number is wanted (found {str(value).lower()})")
    return value


NUMBER = BeforeValidator(_no_truth_value)
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), NUMBER]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False), NUMBER]
Count = Annotated[int, Field(ge=1), NUMBER]
Rate = Annotated[int, Field(ge=1, le=64), NUMBER]
Seed = Annotated[int, Field(ge=0), NUMBER]


class Section(BaseModel):
    """A part of a parameter file; an unknown key is an error that names it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


WARM = "warm"  # dvc.yaml names its model as what fine-tuning depends on


class Round(Section):
    """A training on propagated labels, and the variant whose network propagates them."""

    name: str
    start: str


class VariantLists(Section):
    """The variants by training stage, and the rows of the tables, in their order.

    `rounds` lists those of the stage train_propagated.
    """

    train: list[str]
    train_boundary: list[str]
    warm_up: list[str]
    fine_tune: list[str]
    fine_tune_boundary: list[str]
    rounds: list[Round]
    all: Annotated[list[str], Field(min_length=1)]

    def by_stage(self) -> dict[Stage, list[str]]:
        """Return what each training stage trains."""
        return {
            "train": self.train,
            "train_boundary": self.train_boundary,
            "warm_up": self.warm_up,
            "fine_tune": self.fine_tune,
            "fine_tune_boundary": self.fine_tune_boundary,
            "train_propagated": [one.name for one in self.rounds],
        }

    def trained(self) -> list[str]:
        """Return what all stages train."""
        return [name for listed in self.by_stage().values() for name in listed]

    @model_validator(mode="after")
    def _known_and_in_place(self) -> "VariantLists":
        for name in self.all + self.trained():
            if name not in VARIANTS:
                raise ValueError(f"unknown variant {name!r}; known: {', '.join(VARIANTS)}")
        for stage, listed in self.by_stage().items():
            for name in listed:
                variant = VARIANTS[name]
                if variant.stage != stage:
                    place, other = _list_of(stage), _list_of(variant.stage)
                    raise ValueError(f"{name!r} stands under {place} and belongs under {other}")
        return self

    @model_validator(mode="after")
    def _starts_are_trained(self) -> "VariantLists":
        names = self.trained()
        for name in names:
            start = VARIANTS[name].start
            if start is not None and start not in names:
                place = _list_of(VARIANTS[start].stage)
                raise ValueError(f"{name!r} goes on from {start!r}, which {place} must list")
        for name in self.fine_tune + self.fine_tune_boundary:
            if VARIANTS[name].start != WARM:
                raise ValueError(f"{name!r}: fine-tuning starts from {WARM!r}, as in dvc.yaml")
        for one in self.rounds:
            if one.start != VARIANTS[one.name].start:
                raise ValueError(f"rounds: {one.name!r} starts from {VARIANTS[one.name].start!r}")
        return self

    @model_validator(mode="after")
    def _all_is_all(self) -> "VariantLists":
        names, rows = set(self.trained()), set(self.all)
        if len(names) < len(self.trained()) or len(rows) < len(self.all):
            raise ValueError("a variant is listed twice")
        # What is only there to be gone on from needs no row of its own, but may have one.
        needed = names - {VARIANTS[name].start for name in names}
        for name in sorted(rows - names):
            place = _list_of(VARIANTS[name].stage)
            raise ValueError(f"{name!r} is in `all`, but no stage trains it; add it to {place}")
        for name in sorted(needed - rows):
            place = _list_of(VARIANTS[name].stage)
            raise ValueError(f"{name!r} is trained (in {place}), but missing from `all`; add it")
        return self


def _list_of(stage: Stage) -> str:
    return "rounds" if stage == "train_propagated" else stage


class Switches(Section):
    """params.yaml."""

    dataset: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    recipe: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    boundary_weight: NonNegative = Field(alias="lambda")
    seeds: list[Seed] = Field(min_length=1)
    mirror: str
    device: Literal["auto", "cpu", "cuda"]
    variants: VariantLists

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) != len(seeds):
            raise ValueError("lists a seed twice")
        return seeds


class ShapesSource(Section):
    """Side in pixels, numbers of pictures and seed of the generated data set."""

    size: Annotated[int, Field(ge=32, le=1024), NUMBER]
    train: Count
    val: Count
    seed: Seed


class Archive(Section):
    """An official archive: its file name, address and checksum ("md5:..." or "sha256:...")."""

    name: str
    url: str
    checksum: Annotated[str, Field(pattern=r"^((md5|sha256):[0-9a-f]+)?$")]


class VOCSource(Section):
    """The three archives of VOC with scribbles."""

    voc: Archive
    sbd: Archive
    scribbles: Archive


class Scribbles(Section):
    """Width of a drawn stroke in pixels."""

    line_width: Annotated[int, Field(ge=1, le=99), NUMBER]


class Edges(Section):
    """Where the edge maps come from, and by how much pictures are enlarged for HED."""

    source: Literal["hed", "truth", "shuffled"]
    upscale: Annotated[int, Field(ge=1, le=4), NUMBER]


class Dataset(Section):
    """params/dataset/<dataset>.yaml."""

    kind: Literal["shapes", "voc"]
    classes: Annotated[list[str], Field(min_length=2, max_length=255)]
    source: ShapesSource | VOCSource
    scribbles: Scribbles
    edges: Edges

    @model_validator(mode="before")
    @classmethod
    def _source_of_kind(cls, values: Any) -> Any:
        # The kind says what `source` is, so that an error speaks of that one alone.
        kinds: dict[str, type[Section]] = {"shapes": ShapesSource, "voc": VOCSource}
        if isinstance(values, dict) and "source" in values:
            kind = kinds.get(str(values.get("kind")))
            if kind is not None:
                try:
                    source = kind.model_validate(values["source"])
                except ValidationError as error:
                    raise ValueError(_first(error, "source")) from error
                values = {**values, "source": source}
        return values


class PRN(Section):
    """See `bpg.models.network.PRNOptions`."""

    steps: Annotated[int, Field(ge=1, le=3), NUMBER]
    width: Count
    low_width: Count
    mixing: Literal["mixed", "shared", "grouped"]


class BRN(Section):
    """See `bpg.models.network.BRNOptions`."""

    source: Literal["probabilities", "scores"]
    width: Count
    depth: Count


class Model(Section):
    """Backbone (a name of timm's, and options for it), its weights, PRN and BRN."""

    backbone: str
    options: dict[str, Any]
    weights: Literal["", "efficientnet_lite0", "resnet101"]
    frozen_norm: bool
    aspp_rates: Annotated[list[Rate], Field(min_length=1)]
    prn: PRN
    brn: BRN

    @model_validator(mode="after")
    def _trained_norm(self) -> "Model":
        # timm starts the last norm of each residual block at zero: frozen, it would stay so.
        if self.frozen_norm and not self.weights:
            raise ValueError("frozen_norm needs weights; from scratch the norms must be trained")
        return self


class Augmentation(Section):
    """See `bpg.data.dataset.Augmentation`."""

    crop: Annotated[int, Field(ge=17), NUMBER]
    low: Positive
    high: Positive
    flip: bool

    @model_validator(mode="after")
    def _sensible(self) -> "Augmentation":
        if self.crop % 8 != 1:
            below = (self.crop - 1) // 8 * 8 + 1
            raise ValueError(f"crop must be of the form 8n+1, such as {below} or {below + 8}")
        if self.low > self.high:
            raise ValueError("low must not exceed high")
        return self


RENAMED = {
    "training.batch": "batch_size",
    "training.rate": "lr",
    "training.decay": "weight_decay",
    "training.head_rate": "head_lr_mult",
    "training.new_rate": "new_lr_mult",
    "training.clip": "max_grad_norm",
    "machine.workers": "num_workers",
}
"""Parameters under the names that they had once."""


class Training(Section):
    """See `bpg.training.train.train`."""

    epochs: Count
    batch_size: Count
    optimizer: Literal["sgd", "adamw"]
    lr: Positive
    momentum: Annotated[float, Field(ge=0, lt=1), NUMBER]
    weight_decay: NonNegative
    head_lr_mult: Positive
    new_lr_mult: Positive
    max_grad_norm: Positive | None
    augmentation: Augmentation


class FineTuning(Section):
    """How many of training.epochs the shared warm start takes; who goes on from it has the rest."""

    warm_epochs: Count


Reduction = Literal[1, 2, 4, 8]


class DenseRegulariser(Section):
    """See `bpg.losses.options.DenseOptions`."""

    weight: NonNegative
    reduction: Reduction
    xy: Positive
    rgb: Positive


class GatedRegulariser(Section):
    """See `bpg.losses.options.GatedOptions`."""

    weight: NonNegative
    reduction: Reduction
    radius: Annotated[int, Field(ge=1, le=32), NUMBER]
    xy: Positive
    rgb: Positive


class TreeRegulariser(Section):
    """See `bpg.losses.options.TreeOptions`."""

    weight: NonNegative
    reduction: Reduction
    low: Positive
    high: Positive


class Regularisers(Section):
    """The peers' losses; which variant has which stands in bpg/variants.yaml."""

    normalized_cut: DenseRegulariser
    dense_crf: DenseRegulariser
    gated_crf: GatedRegulariser
    tree_energy: TreeRegulariser


class Propagation(Section):
    """See `bpg.propagation.propagate.PropagationOptions`."""

    scale: Positive
    sigma: NonNegative
    min_size: Count
    network_weight: NonNegative
    smoothness: NonNegative
    colour: Positive
    texture: Positive


class Inference(Section):
    """Scales and flips that are averaged."""

    scales: Annotated[list[Positive], Field(min_length=1)]
    flip: bool


class CRF(Section):
    """See `bpg.inference.crf.CRFOptions`."""

    iterations: Count
    gaussian_weight: NonNegative
    gaussian_xy: Positive
    bilateral_weight: NonNegative
    bilateral_xy: Positive
    bilateral_rgb: Positive


class Machine(Section):
    """How the work is done; `threads` 0 means all cores.

    `checkpoint_seconds`: so much of a training a kill may cost.
    """

    bf16: Literal["auto", "on", "off"]
    threads: Annotated[int, Field(ge=0), NUMBER]
    num_workers: Annotated[int, Field(ge=0), NUMBER]
    cache: bool
    deterministic: bool
    compile: bool
    capture: bool
    checkpoint_seconds: NonNegative

    @field_validator("bf16", mode="before")
    @classmethod
    def _yaml_word(cls, value: Any) -> Any:
        # YAML reads a bare on or off as a truth value.
        return {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value


class Recipe(Section):
    """params/recipe/<recipe>.yaml."""

    model: Model
    training: Training
    fine_tuning: FineTuning
    regularisers: Regularisers
    propagation: Propagation
    inference: Inference
    crf: CRF
    machine: Machine


class Parameters(BaseModel):
    """All parameters of a run."""

    switches: Switches
    dataset: Dataset
    recipe: Recipe


def read_parameters(root: Path) -> Parameters:
    """Read the parameters below `root`; BPGError names the file and the key of what is wrong."""
    switches = read_section(root / "params.yaml", Switches)
    dataset = read_section(root / f"params/dataset/{switches.dataset}.yaml", Dataset)
    path = root / f"params/recipe/{switches.recipe}.yaml"
    recipe = read_section(path, Recipe)
    try:
        _check_budgets(switches.variants, recipe)
    except BPGError as error:
        raise BPGError(f"{path}: {error}") from error
    return Parameters(switches=switches, dataset=dataset, recipe=recipe)


def _check_budgets(variants: VariantLists, recipe: Recipe) -> None:
    """Raise BPGError unless all that none goes on from train `training.epochs` in all."""
    names, total = variants.trained(), recipe.training.epochs
    starts = {VARIANTS[name].start for name in names}
    for name in names:
        epochs = budget(VARIANTS[name], total, recipe.fine_tuning.warm_epochs)
        if name not in starts and sum(epochs) != total:
            raise BPGError(
                f"{name} would train {' + '.join(map(str, epochs))} of {total} epochs: `rounds` in "
                "bpg/variants.yaml must be the number of variants in its chain of starts"
            )


Kind = TypeVar("Kind", bound=Section)


def read_section(path: Path, kind: type[Kind]) -> Kind:
    """Read one parameter file as `kind`; BPGError as `read_parameters`."""
    if not path.is_file():
        known = ", ".join(sorted(other.stem for other in path.parent.glob("*.yaml")))
        raise BPGError(f"{path}: no such parameter file; there are: {known or 'none'}")
    values = read_yaml(path)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise BPGError(f"{path}: {_first(error)}") from error


def _first(error: ValidationError, *prefix: str) -> str:
    """Describe the first of the validation errors in one line."""
    # A misspelt key is missing, too, under its right name: the user looks for what they wrote.
    found = error.errors()
    detail = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
    place = ".".join(map(str, (*prefix, *detail["loc"])))
    message = detail["msg"].removeprefix("Value error, ")
    match detail["type"]:
        case "extra_forbidden":
            message = "unknown key; check the spelling"
            if renamed := RENAMED.get(place):
                message = f"is now called {renamed}"
        case "missing":
            message = "missing key"
        case "value_error":
            pass
        case _:
            message = f"{message} (found {detail['input']!r})"
    return f"{place}: {message}" if place else message
