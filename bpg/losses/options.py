"""The regularisers' names and options; without PyTorch, for those who only name them."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from bpg.options import NUMBER, STRICT, NonNegative, Positive

Reduction = Literal[1, 2, 4, 8]


@dataclass(frozen=True, config=STRICT)
class DenseOptions:
    """Of `normalized_cut` and `dense_crf`; deviations in pixels of the full size and 0..255."""

    weight: NonNegative
    reduction: Reduction
    xy: Positive
    rgb: Positive


@dataclass(frozen=True, config=STRICT)
class GatedOptions:
    """Of `gated_crf`; `radius` and `xy` in samples of the reduced grid, `rgb` for colours 0..1."""

    weight: NonNegative
    reduction: Reduction
    radius: Annotated[int, Field(ge=1, le=32), NUMBER]
    xy: Positive
    rgb: Positive


@dataclass(frozen=True, config=STRICT)
class TreeOptions:
    """Of `tree_energy`; `low` and `high` divide the squared differences along the trees' edges."""

    weight: NonNegative
    reduction: Reduction
    low: Positive
    high: Positive


Options = DenseOptions | GatedOptions | TreeOptions
OPTIONS: dict[str, type[Options]] = {
    "normalized_cut": DenseOptions,
    "dense_crf": DenseOptions,
    "gated_crf": GatedOptions,
    "tree_energy": TreeOptions,
}
"""The regularisers: variants name them by these keys, recipes hold a section for each."""
