"""The tables and what they were made on, for the two stages that show them."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bpg.data.ids import read_ids
from bpg.evaluation.iou import read_counts
from bpg.report.claims import Claim, check_claims, claim_notes, claims_table
from bpg.report.columns import Table
from bpg.report.costs import read_costs
from bpg.report.gains import Gain, gains_table, measure_gains
from bpg.report.own import class_table, results_table
from bpg.report.ranking import Ranked, rank, ranking_table
from bpg.report.runs import Runs
from bpg.report.setting import NO_EPOCHS, Setting
from bpg.report.tables import boundary_table, cost_table, table1, table2, table3
from bpg.variants import epochs
from pipeline.dataset import describe
from pipeline.params import Parameters
from pipeline.paths import COSTS, data_layout, run_layout


def make_setting(parameters: Parameters) -> Setting:
    """Return the data set, recipe and seeds that the numbers come from."""
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
        truth=describe(parameters).truth,
        budgets={name: _budget(parameters, name) for name in switches.variants.all},
        labels=parameters.labels,
        own=parameters.dataset.kind == "folder",
    )


def _budget(parameters: Parameters, variant: str) -> str:
    if parameters.variants[variant].classifier == "forest":
        return NO_EPOCHS
    trained = epochs(variant, parameters.variants, parameters.recipe.training.epochs)
    return " + ".join(map(str, trained))


def read_all_counts(parameters: Parameters) -> dict[str, list[NDArray[np.int32]]]:
    """Read the counts of every variant in the tables.

    Returns:
        {variant: counts seed by seed}, each int32 (images, 2, 2, 3, classes).

    Raises:
        BPGError: A file is missing or broken; the message names it.
    """
    switches = parameters.switches
    images = len(read_ids(data_layout(switches.dataset).val))
    classes = len(describe(parameters).classes)
    return {
        variant: [
            read_counts(run_layout(variant, seed).counts, images=images, classes=classes)
            for seed in switches.seeds
        ]
        for variant in switches.variants.all
    }


@dataclass(frozen=True)
class Comparisons:
    """The paper's pairs, every variant with BPG, and the pairs that differ in one thing."""

    claims: list[Claim]
    ranking: list[Ranked]
    gains: list[Gain]


def compare_runs(parameters: Parameters, runs: Runs) -> Comparisons:
    """Make all comparisons between the variants.

    Args:
        parameters: Name the variants and seeds.
        runs: What `bpg.report.runs.read_runs` returns.

    Raises:
        BPGError: Counts are missing or broken, or not of the same images.
    """
    counts = read_all_counts(parameters)
    return Comparisons(
        check_claims(counts), rank(runs, counts), measure_gains(counts, parameters.variants)
    )


def make_tables(parameters: Parameters, runs: Runs, found: Comparisons) -> list[Table]:
    """Return the paper's Tables 1 to 3, with intervals as notes, and further tables.

    For a user's own images, those that say something about them.

    Args:
        parameters: What the tables are made on.
        runs: What `bpg.report.runs.read_runs` returns.
        found: What `compare_runs` returns.

    Returns:
        The paper's tables, then those of the comparisons, the boundaries and the cost; for a user's
        own images their results, then what else there is.

    Raises:
        BPGError: A file of ids or costs is missing or broken.
    """
    setting = make_setting(parameters)
    if setting.own:
        return _own_tables(runs, found, setting)
    first, second = table1(runs, setting), table2(runs, setting)
    steps = claim_notes(found.claims, ("prn", "brn", "bpg"), setting)
    against = claim_notes(found.claims, ("bpg_all_channels",), setting)
    return [
        replace(first, notes=(*first.notes, *steps)),
        replace(second, notes=(*second.notes, *against)),
        table3(runs, setting, parameters.variants),
        ranking_table(found.ranking, runs, setting),
        gains_table(found.gains, setting),
        claims_table(found.claims, setting),
        boundary_table(runs, setting),
        cost_table(read_costs(COSTS), setting),
    ]


def _own_tables(runs: Runs, found: Comparisons, setting: Setting) -> list[Table]:
    return [
        results_table(found.ranking, runs, setting),
        class_table(runs, setting),
        *([boundary_table(runs, setting)] if setting.truth == "masks" else []),
        cost_table(read_costs(COSTS), setting),
    ]
