"""The door: params.yaml and the files that it picks, read once, typed and validated.

Sections are composed of the library's option classes, which hold the limits.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)
from pydantic.dataclasses import dataclass

from bpg.data.options import Augmentation, FolderOptions
from bpg.download.weights import BACKBONES
from bpg.errors import BPGError
from bpg.forest.options import ForestOptions
from bpg.inference.options import CRFOptions, InferenceOptions, LongestSide
from bpg.losses.options import OPTIONS
from bpg.models.options import AsppRate, BRNOptions, PRNOptions
from bpg.options import NO_EXTRA, NUMBER, Count, NonNegative, Seed, Share
from bpg.propagation.options import GrabCutOptions, PropagationOptions
from bpg.strict_yaml import first_error, read_as
from bpg.training.options import OptimizerOptions
from bpg.variants import Variant, epochs
from pipeline.variants import VariantLists, read_labels, read_variants


class Section(BaseModel):
    """A part of a parameter file; an unknown key is an error that names it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Switches(Section):
    """params.yaml."""

    dataset: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    recipe: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    boundary_weight: NonNegative = Field(alias="lambda")
    seeds: list[Seed] = Field(min_length=1)
    mirror: str
    device: Literal["auto", "cpu", "cuda"]
    variants: VariantLists

    @field_validator("mirror")
    @classmethod
    def _home(cls, mirror: str) -> str:
        return str(Path(mirror).expanduser()) if mirror.startswith("~") else mirror

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) != len(seeds):
            raise ValueError("lists a seed twice")
        return seeds


class ShapesSource(Section):
    """The generated data set: side in pixels, numbers of images, seed."""

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
    """How strokes are drawn: their width in pixels, and which share of each line."""

    line_width: Annotated[int, Field(ge=1, le=99), NUMBER]
    length: Share


class Edges(Section):
    """Where the edge maps come from, and the factor by which images are enlarged for HED."""

    source: Literal["hed", "truth", "shuffled"]
    upscale: Annotated[int, Field(ge=1, le=4), NUMBER]


class Dataset(Section):
    """params/dataset/<dataset>.yaml."""

    kind: Literal["shapes", "voc", "folder"]
    classes: Annotated[list[str], Field(max_length=255)]
    longest_side: LongestSide | None
    train_share: Share
    source: ShapesSource | VOCSource | FolderOptions
    scribbles: Scribbles
    edges: Edges
    root: str = ""

    @model_validator(mode="after")
    def _classes_of_kind(self) -> "Dataset":
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("classes: a name is there twice")
        if len(self.classes) < 2 and not (self.kind == "folder" and not self.classes):
            raise ValueError("classes: must be two or more, background first")
        if (self.kind == "folder") != bool(self.root):
            raise ValueError("root: must name the folder of a data set of kind folder, only there")
        return self

    @model_validator(mode="before")
    @classmethod
    def _source_of_kind(cls, values: Any) -> Any:
        # The kind says what `source` is, so that an error is about that one only.
        kinds: dict[str, Any] = {
            "shapes": ShapesSource,
            "voc": VOCSource,
            "folder": FolderOptions,
        }
        if isinstance(values, dict) and "source" in values:
            kind = kinds.get(str(values.get("kind")))
            if kind is not None:
                try:
                    source = TypeAdapter(kind).validate_python(values["source"])
                except ValidationError as error:
                    raise ValueError(f"source.{first_error(error, kind=kind)}") from error
                values = {**values, "source": source}
        return values


class Model(Section):
    """Backbone (a timm model and options for it), its weights, PRN and BRN."""

    backbone: str
    options: dict[str, Any]
    weights: str
    frozen_norm: bool
    aspp_rates: Annotated[list[AsppRate], Field(min_length=1)]
    prn: PRNOptions
    brn: BRNOptions

    @model_validator(mode="after")
    def _weights_agree(self) -> "Model":
        if self.weights and self.weights not in BACKBONES:
            raise ValueError(f"weights: must be '' or one of {', '.join(BACKBONES)}")
        # timm initialises the last norm of each residual block to zero: frozen, it would stay zero.
        if self.frozen_norm and not self.weights:
            raise ValueError("frozen_norm needs weights; from scratch the norms must be trained")
        return self


@dataclass(frozen=True, config=NO_EXTRA)
class Training(OptimizerOptions):
    """The optimizer's options, and what it is run on and for how long."""

    epochs: Count
    batch_size: Count
    augmentation: Augmentation

    @model_validator(mode="after")
    def _on_the_grid(self) -> "Training":
        crop = self.augmentation.crop
        if crop % 8 != 1 or crop < 17:
            below = max(17, (crop - 1) // 8 * 8 + 1)
            raise ValueError(
                f"augmentation.crop must be 8n+1 and at least 17, such as {below} or {below + 8}"
            )
        return self


# A section for each regulariser; params/variants.yaml says which variant has which.
_SECTIONS: dict[str, Any] = dict(OPTIONS)
Regularisers: Any = create_model("Regularisers", __base__=Section, **_SECTIONS)


class Machine(Section):
    """How the work is done; `threads` = 0 means all cores.

    `checkpoint_seconds` is how much of a training a kill may cost. `launcher` is the command that
    starts a training as several processes, "torchrun" with its options; empty: one process.
    `dask` is the address of a scheduler that gets the per-image work; empty: this machine's cores.
    """

    bf16: Literal["auto", "on", "off"]
    threads: Annotated[int, Field(ge=0, le=1024), NUMBER]
    num_workers: Annotated[int, Field(ge=0, le=1024), NUMBER]
    cache: bool
    deterministic: bool
    compile: bool
    capture: bool
    checkpoint_seconds: NonNegative
    launcher: str
    dask: str


class Recipe(Section):
    """params/recipe/<recipe>.yaml."""

    model: Model
    training: Training
    regularisers: Regularisers
    propagation: PropagationOptions
    grabcut: GrabCutOptions
    forest: ForestOptions
    inference: InferenceOptions
    crf: CRFOptions
    machine: Machine


RENAMED = {
    "training.batch": "is now called batch_size",
    "training.rate": "is now called lr",
    "training.decay": "is now called weight_decay",
    "training.head_rate": "is now called head_lr_mult",
    "training.new_rate": "is now called new_lr_mult",
    "training.clip": "is now called max_grad_norm",
    "machine.workers": "is now called num_workers",
    "variants.warm_up": "is now part of variants.train",
    "variants.rounds.*.start": "is now called init_from",
    "fine_tuning": "is now `until` of the variants in params/variants.yaml; delete this",
}
"""Former keys of a recipe: renamed or removed."""


@dataclass(frozen=True)
class Parameters:
    """All parameters of a run; `labels` are the variants' names in tables and charts."""

    switches: Switches
    dataset: Dataset
    recipe: Recipe
    variants: Mapping[str, Variant]
    labels: Mapping[str, str]


def read_parameters(root: Path, **instead: Any) -> Parameters:
    """Read and check all parameters.

    Args:
        root: Folder of params.yaml and params/.
        **instead: Switches that replace those of params.yaml.

    Raises:
        BPGError: A file is missing or wrong; the message names the file and the key.
    """
    folder = root / "params"
    switches = read_as(root / "params.yaml", Switches, RENAMED).model_copy(update=instead)
    variants = read_variants(folder / "variants.yaml")
    try:
        switches.variants.check(variants)
    except BPGError as error:
        raise BPGError(f"{root / 'params.yaml'}: variants: {error}") from error
    recipe = folder / f"recipe/{switches.recipe}.yaml"
    parameters = Parameters(
        switches,
        read_as(folder / f"dataset/{switches.dataset}.yaml", Dataset),
        read_as(recipe, Recipe, RENAMED),
        variants,
        read_labels(folder / "labels.yaml", variants),
    )
    try:
        for name in switches.variants.trained():
            epochs(name, variants, parameters.recipe.training.epochs)
    except BPGError as error:
        raise BPGError(f"{recipe}: {error}") from error
    return parameters
