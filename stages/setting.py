"""The tables and what they were made on, for the two stages that show them."""

from dataclasses import replace

from bpg.data.ids import read_ids
from bpg.evaluation.counts import read_counts
from bpg.report.cost_table import read_costs
from bpg.report.differences import Difference, differences
from bpg.report.evidence import boundary_table, cost_table, difference_notes, difference_table
from bpg.report.runs import Runs
from bpg.report.tables import Setting, Table, table1, table2, table3
from stages.layout import COSTS, data_layout, run_layout
from stages.parameters import Parameters


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
    )


def make_differences(parameters: Parameters) -> list[Difference]:
    """Compare the runs' counts, pair by pair as the paper does."""
    switches = parameters.switches
    images = len(read_ids(data_layout(switches.dataset).val))
    classes = len(parameters.dataset.classes)
    return differences(
        {
            variant: [
                read_counts(run_layout(variant, seed).counts, images=images, classes=classes)
                for seed in switches.seeds
            ]
            for variant in switches.variants.all
        }
    )


def make_tables(parameters: Parameters, runs: Runs, found: list[Difference]) -> list[Table]:
    """Return the paper's Tables 1 to 3, with intervals as notes, and those of the evidence."""
    setting = make_setting(parameters)
    first, second, third = (make(runs, setting) for make in (table1, table2, table3))
    gains = difference_notes(found, ("prn", "brn", "bpg"))
    against = difference_notes(found, ("bpg_all_channels",))
    return [
        replace(first, notes=(*first.notes, *gains)),
        replace(second, notes=(*second.notes, *against)),
        third,
        difference_table(found, setting),
        boundary_table(runs, setting),
        cost_table(read_costs(COSTS)),
    ]
