"""Two systems compared on the same images: the difference, and how sure it is."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bpg.evaluation.bootstrap import Difference, Score, bootstrap, paired_bootstrap
from bpg.evaluation.score import KINDS, Kind

Measure = Literal["miou", "boundary_iou"]
# In the order of the counts of `bpg.evaluation.score`.
MEASURES: dict[Measure, str] = {"miou": "mIoU", "boundary_iou": "Boundary IoU"}

Counts = Mapping[str, Sequence[NDArray[np.int32]]]
"""{variant: its counts seed by seed}, each (images, 2, 2, 3, classes) as `score` returns them."""


class System(NamedTuple):
    """A variant's predictions, raw or after the dense CRF."""

    variant: str
    kind: Kind = "raw"


def estimate(counts: Counts, system: System) -> Score:
    """Return a system's mIoU in percent, with its interval.

    Args:
        counts: Of the variant, seed by seed.
        system: The variant, and its kind of predictions.

    Raises:
        BPGError: There is nothing to count.
    """
    return bootstrap(
        np.stack([seed[:, KINDS.index(system.kind), 0] for seed in counts[system.variant]])
    )


def measured(counts: Counts) -> list[Measure]:
    """Return the measures that the ground truth allows: held-out strokes have no boundaries."""
    first = next(iter(counts.values()))[0]
    return [name for place, name in enumerate(MEASURES) if first[:, 0, place, 1].any()]


def compare(counts: Counts, first: System, second: System, measure: Measure = "miou") -> Difference:
    """Return `second` minus `first` in one measure, in percentage points, with its interval.

    Args:
        counts: Of both variants, the same images in the same order.
        first: What is compared to.
        second: What is compared.
        measure: "miou" or "boundary_iou".

    Raises:
        BPGError: The two were not evaluated on the same images, or there is nothing to count.
    """
    which = list(MEASURES).index(measure)
    taken = (
        np.stack([seed[:, KINDS.index(one.kind), which] for seed in counts[one.variant]])
        for one in (first, second)
    )
    return paired_bootstrap(*taken)
