"""The regularisers by name, each with its options and weight."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from bpg.losses.dense_crf import dense_crf_loss
from bpg.losses.field import Field
from bpg.losses.gated_crf import gated_crf_loss
from bpg.losses.normalized_cut import normalized_cut_loss
from bpg.losses.pairwise import Affinity, dense_affinity
from bpg.losses.tree_energy import tree_energy_loss

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


def regularise(
    terms: Sequence[Term], options: Mapping[Term, Options], field: Field
) -> dict[Term, torch.Tensor]:
    """Return the value of each of `terms` (0-d, without its weight) for the full-size `field`.

    Terms that ask for the same affinities share them.
    """
    fields: dict[int, Field] = {}
    affinities: dict[tuple[int, float, float], Affinity] = {}

    def reduced(reduction: int) -> Field:
        if reduction not in fields:
            fields[reduction] = field.reduced(reduction)
        return fields[reduction]

    def affinity(chosen: DenseOptions) -> Affinity:
        key = chosen.reduction, chosen.xy, chosen.rgb
        if key not in affinities:
            grid = reduced(chosen.reduction)
            affinities[key] = dense_affinity(grid, xy=chosen.xy, rgb=chosen.rgb)
        return affinities[key]

    values: dict[Term, torch.Tensor] = {}
    for term in terms:
        chosen = options[term]
        grid = reduced(chosen.reduction)
        match term:
            case "normalized_cut":
                values[term] = normalized_cut_loss(grid, affinity(chosen))
            case "dense_crf":
                values[term] = dense_crf_loss(grid, affinity(chosen))
            case "gated_crf":
                values[term] = gated_crf_loss(
                    grid, radius=chosen.radius, xy=chosen.xy, rgb=chosen.rgb
                )
            case "tree_energy":
                values[term] = tree_energy_loss(grid, low=chosen.low, high=chosen.high)
    return values
