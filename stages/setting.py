"""The tables and what they were made on, for the two stages that show them."""

from bpg.data.ids import read_ids
from bpg.report.runs import Runs
from bpg.report.tables import Setting, Table, table1, table2, table3
from stages.layout import data_layout
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
    )


def make_tables(parameters: Parameters, runs: Runs) -> list[Table]:
    """Return Tables 1 to 3."""
    setting = make_setting(parameters)
    return [make(runs, setting) for make in (table1, table2, table3)]
