"""How much one system gains over another, with what certainty, beside the paper's difference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bpg.evaluation.bootstrap import paired_bootstrap
from bpg.evaluation.score import KINDS, Kind
from bpg.report import paper
from bpg.variants import VARIANTS

Measure = Literal["miou", "boundary_iou"]
# In the order of the counts of `bpg.evaluation.score`.
MEASURES: dict[Measure, str] = {"miou": "mIoU", "boundary_iou": "Boundary IoU"}


@dataclass(frozen=True)
class System:
    """A variant's predictions, raw or after the dense CRF, and the mIoU that the paper prints."""

    variant: str
    kind: Kind
    paper: float

    @property
    def label(self) -> str:
        """Its name in tables and charts."""
        return VARIANTS[self.variant].label + (" + CRF" if self.kind == "crf" else "")


@dataclass(frozen=True)
class Difference:
    """Second system minus first, in percent points.

    `std` is the standard deviation over the seeds (None for one), `low` and `high` bound the
    95 % interval of `paired_bootstrap`; all None where a system was not run. `paper` is the
    paper's difference in mIoU, None for other measures.
    """

    first: System
    second: System
    measure: Measure
    value: float | None = None
    std: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def label(self) -> str:
        """Both systems."""
        return f"{self.first.label} → {self.second.label}"

    @property
    def paper(self) -> float | None:
        """The difference of the printed numbers; the paper prints no boundary measure."""
        return self.second.paper - self.first.paper if self.measure == "miou" else None

    @property
    def verdict(self) -> str:
        """Whether the paper's claim, which of the two is better, shows in our interval."""
        if self.value is None or self.low is None or self.high is None:
            return "not run"
        # Of another training, one seed says nothing.
        return self._shown(self.low, self.high) + (", in this training" if self.std is None else "")

    def _shown(self, low: float, high: float) -> str:
        sign = 1 if self.second.paper > self.first.paper else -1
        low, high = sorted((sign * low, sign * high))
        if low > 0:
            claimed = None if self.paper is None else abs(self.paper)
            if claimed is not None and not low <= claimed <= high:
                return "shows, larger" if low > claimed else "shows, smaller"
            return "shows"
        return "the opposite shows" if high < 0 else "does not show"


def compared() -> list[tuple[System, System]]:
    """Return the pairs that the paper compares: Table 1's gains, the CRF's, and Table 2's."""
    rows = {(row.variant, row.crf): row.mean for row in paper.TABLE_1}
    scribble, prn, brn, bpg, crf = (
        System(variant, "crf" if crf else "raw", rows[variant, crf])
        for variant, crf in (
            ("scribble", False),
            ("prn", False),
            ("brn", False),
            ("bpg", False),
            ("bpg", True),
        )
    )
    (all_channels,) = (
        System(row.variant, "raw", row.miou)
        for row in paper.TABLE_2
        if row.variant == "bpg_all_channels"
    )
    return [(scribble, prn), (scribble, brn), (scribble, bpg), (bpg, crf), (bpg, all_channels)]


def differences(counts: Mapping[str, Sequence[NDArray[np.int32]]]) -> list[Difference]:
    """Measure every pair of `compared` in mIoU and Boundary IoU.

    `counts` holds for each variant, seed by seed, what `bpg.evaluation.score` counts: (images,
    2, 2, 3, classes), the same images in the same order. A pair of which a system is missing has
    no numbers.
    """
    found = []
    for measure in MEASURES:
        for first, second in compared():
            if first.variant not in counts or second.variant not in counts:
                found.append(Difference(first, second, measure))
                continue
            taken = (
                system_counts(counts[system.variant], system, measure) for system in (first, second)
            )
            result = paired_bootstrap(*taken)
            found.append(
                Difference(
                    first,
                    second,
                    measure,
                    value=result.value,
                    std=result.std,
                    low=result.low,
                    high=result.high,
                )
            )
    return found


def system_counts(
    seeds: Sequence[NDArray[np.int32]], system: System, measure: Measure
) -> NDArray[np.int32]:
    """Cut out one system's counts of one measure: (seeds, images, 3, classes).

    `seeds` holds a variant's counts (images, 2, 2, 3, classes), seed by seed.
    """
    kind, which = KINDS.index(system.kind), list(MEASURES).index(measure)
    return np.stack([images[:, kind, which] for images in seeds])
