"""The regularisers' names and options; can be imported without loading PyTorch."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from bpg.options import NO_EXTRA, NUMBER, Count, NonNegative, Positive

Reduction = Literal[1, 2, 4, 8]


class _Regulariser:
    leaves_gpu: ClassVar = False
    """Whether part of it is computed on the CPU, so that a step cannot be captured."""
    reads_edges: ClassVar = False
    """Whether it looks at the edge maps, which are loaded only then."""


@dataclass(frozen=True, config=NO_EXTRA)
class DenseOptions(_Regulariser):
    """Options of `normalized_cut` and `dense_crf`.

    `xy` and `rgb` are standard deviations, in pixels of the full size and on the scale 0..255.
    """

    weight: NonNegative
    reduction: Reduction
    xy: Positive
    rgb: Positive


@dataclass(frozen=True, config=NO_EXTRA)
class GatedOptions(_Regulariser):
    """Options of `gated_crf`.

    `radius` and `xy` are in samples of the reduced grid, `rgb` is for colours in 0..1.
    """

    weight: NonNegative
    reduction: Reduction
    radius: Annotated[int, Field(ge=1, le=32), NUMBER]
    xy: Positive
    rgb: Positive


@dataclass(frozen=True, config=NO_EXTRA)
class TreeOptions(_Regulariser):
    """Options of `tree_energy`.

    `low` and `high` divide the squared differences along the edges of the two trees.
    """

    leaves_gpu: ClassVar = True  # its trees are found there
    weight: NonNegative
    reduction: Reduction
    low: Positive
    high: Positive


@dataclass(frozen=True, config=NO_EXTRA)
class SoftLabelOptions(_Regulariser):
    """Options of `soft_label`.

    `smoothness` weighs the agreement of neighbours on the reduced grid against the network's say,
    `edge` is the edge probability at which it counts exp(-1/2) times as much, and the labels are
    improved `iterations` times for each batch.
    """

    reads_edges: ClassVar = True
    weight: NonNegative
    reduction: Reduction
    smoothness: NonNegative
    edge: Positive
    iterations: Count


@dataclass(frozen=True, config=NO_EXTRA)
class MeanTeacherOptions(_Regulariser):
    """Options of `mean_teacher`.

    After each step the teacher's weights are `decay` times themselves plus 1 - `decay` times the
    network's.
    """

    weight: NonNegative
    reduction: Reduction
    decay: Annotated[float, Field(ge=0, lt=1), NUMBER]


Options = DenseOptions | GatedOptions | TreeOptions | SoftLabelOptions | MeanTeacherOptions
OPTIONS: dict[str, type[Options]] = {
    "normalized_cut": DenseOptions,
    "dense_crf": DenseOptions,
    "gated_crf": GatedOptions,
    "tree_energy": TreeOptions,
    "soft_label": SoftLabelOptions,
    "mean_teacher": MeanTeacherOptions,
}
"""The regularisers: variants name them by these keys, recipes have a section for each."""
