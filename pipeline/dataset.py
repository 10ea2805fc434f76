"""The prepared data set in use."""

from bpg.data.description import Description, read_description
from pipeline.params import Parameters
from pipeline.paths import data_layout


def describe(parameters: Parameters) -> Description:
    """Read what the labels of the data set in use mean.

    Args:
        parameters: Name the data set.

    Raises:
        BPGError: It has not been prepared.
    """
    return read_description(data_layout(parameters.switches.dataset).description)
