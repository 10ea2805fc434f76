"""The regularisers' names and options; without PyTorch, for those who only name them."""

from dataclasses import dataclass
from typing import Literal

Term = Literal["normalized_cut", "dense_crf", "gated_crf", "tree_energy"]


@dataclass(frozen=True)
class DenseOptions:
    """Of `normalized_cut` and `dense_crf`; deviations in pixels of the full size and 0..255."""

    weight: float
    reduction: int
    xy: float
    rgb: float


@dataclass(frozen=True)
class GatedOptions:
    """Of `gated_crf`; `radius` and `xy` in samples of the reduced grid, `rgb` for colours 0..1."""

    weight: float
    reduction: int
    radius: int
    xy: float
    rgb: float


@dataclass(frozen=True)
class TreeOptions:
    """Of `tree_energy`; `low` and `high` divide the squared differences along the trees' edges."""

    weight: float
    reduction: int
    low: float
    high: float


Options = DenseOptions | GatedOptions | TreeOptions
OPTIONS: dict[Term, type[Options]] = {
    "normalized_cut": DenseOptions,
    "dense_crf": DenseOptions,
    "gated_crf": GatedOptions,
    "tree_energy": TreeOptions,
}
