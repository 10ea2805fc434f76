"""The regularisers by name: all that a training step needs, with shared affinities."""

from collections.abc import Mapping

import torch

from bpg.errors import BPGError
from bpg.losses.affinity import Affinity, dense_affinity
from bpg.losses.dense_crf import dense_crf_loss
from bpg.losses.gated_crf import gated_crf_loss
from bpg.losses.inputs import Inputs
from bpg.losses.mean_teacher import mean_teacher_loss
from bpg.losses.normalized_cut import normalized_cut_loss
from bpg.losses.options import (
    DenseOptions,
    GatedOptions,
    MeanTeacherOptions,
    Options,
    SoftLabelOptions,
    TreeOptions,
)
from bpg.losses.soft_label import soft_label_loss
from bpg.losses.tree_energy import tree_energy_loss


def regularise(options: Mapping[str, Options], inputs: Inputs) -> dict[str, torch.Tensor]:
    """Compute each regulariser, without its weight.

    Terms that need the same affinities share them.

    Args:
        options: {name of a regulariser: its options}.
        inputs: The batch at full size; each term reduces it as its options say.

    Returns:
        {name: value}, each 0-d.

    Raises:
        BPGError: `regularise` has no case for a term with these options.
    """
    grids: dict[int, Inputs] = {}
    affinities: dict[tuple[int, float, float], Affinity] = {}

    def reduced(reduction: int) -> Inputs:
        if reduction not in grids:
            grids[reduction] = inputs.reduced(reduction)
        return grids[reduction]

    def affinity(chosen: DenseOptions) -> Affinity:
        key = chosen.reduction, chosen.xy, chosen.rgb
        if key not in affinities:
            grid = reduced(chosen.reduction)
            affinities[key] = dense_affinity(grid, xy=chosen.xy, rgb=chosen.rgb)
        return affinities[key]

    values: dict[str, torch.Tensor] = {}
    for term, chosen in options.items():
        grid = reduced(chosen.reduction)
        match term, chosen:
            case "normalized_cut", DenseOptions():
                values[term] = normalized_cut_loss(grid, affinity(chosen))
            case "dense_crf", DenseOptions():
                values[term] = dense_crf_loss(grid, affinity(chosen))
            case "gated_crf", GatedOptions():
                values[term] = gated_crf_loss(
                    grid, radius=chosen.radius, xy=chosen.xy, rgb=chosen.rgb
                )
            case "tree_energy", TreeOptions():
                values[term] = tree_energy_loss(grid, low=chosen.low, high=chosen.high)
            case "soft_label", SoftLabelOptions():
                values[term] = soft_label_loss(
                    grid,
                    smoothness=chosen.smoothness,
                    edge=chosen.edge,
                    iterations=chosen.iterations,
                )
            case "mean_teacher", MeanTeacherOptions():
                values[term] = mean_teacher_loss(grid)
            case _:
                raise BPGError(f"{term}: no case for it in bpg/losses/regularisers.py; add one")
    return values
