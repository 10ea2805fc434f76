"""The data set in use."""

from bpg.data.description import Description, read_description
from bpg.data.masks import default_colours
from pipeline.params import Parameters
from pipeline.paths import data_layout


def describe(parameters: Parameters) -> Description:
    """Return what the labels of the data set in use mean.

    Its parameters say it where it has not been prepared, for benchmarks, which need no data; those
    of a user's folder need not name the classes.

    Args:
        parameters: Name the data set.

    Raises:
        BPGError: It has not been prepared, and its parameters do not name the classes; or the file
            is broken.
    """
    path = data_layout(parameters.switches.dataset).description
    classes = tuple(parameters.dataset.classes) if not path.is_file() else ()
    if classes:
        return Description(classes, default_colours(len(classes)))
    return read_description(path)
