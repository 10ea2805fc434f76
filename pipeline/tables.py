"""The tables and what they were made on, for the two stages that show them."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bpg.data.ids import read_ids
from bpg.evaluation.iou import read_counts
from bpg.report.costs import read_costs
from bpg.report.differences import Difference, differences
from bpg.report.evidence import boundary_table, cost_table, difference_notes, difference_table
from bpg.report.gains import Gain, gains, gains_table
from bpg.report.ranking import Ranked, rank, ranking_table
from bpg.report.runs import Runs
from bpg.report.tables import Setting, Table, table1, table2, table3
from bpg.variants import VARIANTS, budget
from pipeline.params import Parameters
from pipeline.paths import COSTS, data_layout, run_layout


def make_setting(parameters: Parameters) -> Setting:
    """Say which data set, recipe and seeds the numbers come from."""
    switches = parameters.switches
    data = data_layout(switches.dataset)
    return Setting(
        dataset=switches.dataset,
        train_images=len(read_ids(data.train)),
        val_images=len(read_ids(data.val)),
        recipe=switches.recipe,
        seeds=tuple(switches.seeds),
        boundary_weight=switches.boundary_weight,
        edges=parameters.dataset.edges.source,
        budgets={name: _budget(parameters, name) for name in switches.variants.all},
    )


def _budget(parameters: Parameters, variant: str) -> str:
    recipe = parameters.recipe
    epochs = budget(VARIANTS[variant], recipe.training.epochs, recipe.fine_tuning.warm_epochs)
    return " + ".join(map(str, epochs))


def read_all_counts(parameters: Parameters) -> dict[str, list[NDArray[np.int32]]]:
    """Read the counts of every row, seed by seed."""
    switches = parameters.switches
    images = len(read_ids(data_layout(switches.dataset).val))
    classes = len(parameters.dataset.classes)
    return {
        variant: [
            read_counts(run_layout(variant, seed).counts, images=images, classes=classes)
            for seed in switches.seeds
        ]
        for variant in switches.variants.all
    }


@dataclass(frozen=True)
class Evidence:
    """The paper's pairs, all rows with one, and the pairs that differ in one thing."""

    differences: list[Difference]
    ranking: list[Ranked]
    gains: list[Gain]


def compare(parameters: Parameters, runs: Runs) -> Evidence:
    """Compare the runs' counts, pair by pair as the paper does, and rank them."""
    counts = read_all_counts(parameters)
    return Evidence(differences(counts), rank(runs, counts), gains(counts))


def make_tables(parameters: Parameters, runs: Runs, found: Evidence) -> list[Table]:
    """Return the paper's Tables 1 to 3, with intervals as notes, and those of the evidence."""
    setting = make_setting(parameters)
    first, second, third = (make(runs, setting) for make in (table1, table2, table3))
    steps = difference_notes(found.differences, ("prn", "brn", "bpg"))
    against = difference_notes(found.differences, ("bpg_all_channels",))
    return [
        replace(first, notes=(*first.notes, *steps)),
        replace(second, notes=(*second.notes, *against)),
        third,
        ranking_table(found.ranking, runs, setting),
        gains_table(found.gains, setting),
        difference_table(found.differences, setting),
        boundary_table(runs, setting),
        cost_table(read_costs(COSTS)),
    ]
