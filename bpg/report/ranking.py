"""All variants side by side: who is ahead of whom, and how sure that is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from bpg.evaluation.bootstrap import Difference, paired_bootstrap
from bpg.evaluation.score import KINDS, Kind
from bpg.report.differences import System, system_counts
from bpg.report.evidence import over_seeds
from bpg.report.runs import Runs
from bpg.report.tables import Cell, Setting, Table, cell, record
from bpg.variants import VARIANTS

# What the others are compared to: the first of these that was run.
REFERENCES = ("bpg", "scribble")


@dataclass(frozen=True)
class Ranked:
    """A variant at its place, and its mIoU minus the reference's, in percentage points.

    `differences` holds one for "raw" and one for "crf" predictions; empty for the reference.
    """

    variant: str
    reference: str
    differences: Mapping[Kind, Difference]


@dataclass(frozen=True)
class Bar:
    """A row of the chart: one `Ranked` in one kind of predictions."""

    label: str
    value: float
    low: float
    high: float
    paper: None = None


def rank(runs: Runs, counts: Mapping[str, Sequence[NDArray[np.int32]]]) -> list[Ranked]:
    """Order the variants by their mIoU without CRF, the best first.

    `counts` holds for each variant of `runs` what `bpg.report.differences.differences` takes.
    """
    reference = next((name for name in REFERENCES if name in runs), next(iter(runs)))
    order = sorted(runs, key=lambda name: -fmean(seed["raw"]["miou"] for seed in runs[name]))
    found = []
    for name in order:
        against = {
            kind: paired_bootstrap(
                *(
                    system_counts(counts[one], System(one, kind, 0.0), "miou")
                    for one in (reference, name)
                )
            )
            for kind in KINDS
            if name != reference
        }
        found.append(Ranked(name, reference, against))
    return found


def verdict(difference: Difference) -> str:
    """Say on which side of 0 the whole interval lies."""
    if difference.low > 0:
        return "ahead"
    return "behind" if difference.high < 0 else "not told apart"


def ranking_table(ranked: Sequence[Ranked], runs: Runs, setting: Setting) -> Table:
    """Every variant's mIoU and Boundary IoU, and its difference to the reference."""
    reference = VARIANTS[ranked[0].reference].label
    rows, records = [], []
    for place, one in enumerate(ranked, start=1):
        seeds = runs[one.variant]
        raw, crf, edges = (
            over_seeds([seed[kind][key] for seed in seeds])
            for kind, key in (("raw", "miou"), ("crf", "miou"), ("raw", "boundary_iou"))
        )
        compared: list[Cell] = []
        columns: dict[str, str] = {}
        for kind in KINDS:
            difference = one.differences.get(kind)
            compared += _cells(difference)
            columns |= {
                f"{kind}_difference": "" if difference is None else f"{difference.value:.2f}",
                f"{kind}_low": "" if difference is None else f"{difference.low:.2f}",
                f"{kind}_high": "" if difference is None else f"{difference.high:.2f}",
                f"{kind}_verdict": "" if difference is None else verdict(difference),
            }
        rows.append(
            (
                Cell(str(place)),
                Cell(VARIANTS[one.variant].label, "label"),
                Cell(setting.budgets[one.variant]),
                cell(raw),
                cell(crf),
                cell(edges),
                *compared,
            )
        )
        records.append(
            {"place": place, "variant": one.variant, "epochs": setting.budgets[one.variant]}
            | record("miou", raw, digits=2)
            | record("miou_crf", crf, digits=2)
            | record("boundary_iou", edges, digits=2)
            | {"reference": one.reference}
            | columns
            | setting.columns()
        )
    several = len(setting.seeds) > 1
    return Table(
        "ranking",
        "All variants, by mIoU without CRF, in %",
        f"Ours: {setting}. Same pictures, backbone, solver, testing and CRF for every row.",
        (
            "place",
            "system",
            "epochs",
            "mIoU",
            "with CRF",
            "Boundary IoU",
            f"mIoU − {reference}'s",
            "95 % interval",
            "told apart?",
            f"with CRF − {reference}'s",
            "95 % interval",
            "told apart?",
        ),
        tuple(rows),
        (
            "epochs: those of each training in turn, the same sum for every row but those that "
            "others go on from; the first part is the shared warm start by partial cross-entropy. "
            "A schedule in parts is another training than one in a whole: see the table of gains.",
            "Intervals: as in the table of differences"
            + (
                ", over images and seeds."
                if several
                else ', over images alone: with one seed "ahead" and "behind" are of this training.'
            )
            + ' "not told apart": the interval reaches across 0. They are not corrected for the '
            "number of rows: of twenty true ties, one would come out as ahead or behind.",
        ),
        tuple(records),
    )


def bars(ranked: Sequence[Ranked]) -> dict[str, list[Bar]]:
    """Return the chart's groups: the differences to the reference without and with CRF."""
    titles: dict[Kind, str] = {"raw": "without CRF", "crf": "with CRF"}
    return {
        f"mIoU, {titles[kind]}": [
            Bar(VARIANTS[one.variant].label, found.value, found.low, found.high)
            for one in ranked
            if (found := one.differences.get(kind)) is not None
        ]
        for kind in KINDS
    }


def _cells(difference: Difference | None) -> list[Cell]:
    if difference is None:
        return [Cell("")] * 3
    return [
        cell((difference.value, difference.std), 2, signed=True),
        Cell(f"{difference.low:+.2f} to {difference.high:+.2f}"),
        Cell(verdict(difference)),
    ]
