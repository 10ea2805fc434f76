"""All variants side by side, each with its difference to BPG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from bpg.evaluation.bootstrap import Difference, Score
from bpg.evaluation.comparison import Counts, System, compare, estimate
from bpg.evaluation.score import KINDS, Kind
from bpg.report.columns import (
    Cell,
    Column,
    Table,
    difference,
    field,
    label,
    make_table,
    ours,
    score_interval,
)
from bpg.report.runs import Runs, over_seeds
from bpg.report.setting import Setting
from bpg.variants import reference_variant


@dataclass(frozen=True)
class Ranked:
    """A variant in its place, and its mIoU minus the reference's, in percentage points.

    `scores` holds its mIoU in percent with its interval for "raw" and "crf" predictions.
    `differences` holds one for "raw" and one for "crf" predictions; it is empty for the reference.
    """

    place: int
    variant: str
    reference: str
    scores: Mapping[Kind, Score]
    differences: Mapping[Kind, Difference]


def rank(runs: Runs, counts: Counts) -> list[Ranked]:
    """Order the variants by their mIoU without CRF.

    Args:
        runs: What `bpg.report.runs.read_runs` returns.
        counts: Of the same variants, on the same images in the same order.

    Returns:
        All variants, the best first.
    """
    reference = reference_variant(runs)
    order = sorted(runs, key=lambda name: -fmean(seed["raw"]["miou"] for seed in runs[name]))
    return [
        Ranked(
            place,
            name,
            reference,
            {kind: estimate(counts, System(name, kind)) for kind in KINDS},
            {
                kind: compare(counts, System(reference, kind), System(name, kind))
                for kind in KINDS
                if name != reference
            },
        )
        for place, name in enumerate(order, start=1)
    ]


def ranking_table(ranked: Sequence[Ranked], runs: Runs, setting: Setting) -> Table:
    """Return every variant's mIoU and Boundary IoU, and its difference to the reference."""
    reference = setting.label(ranked[0].reference)

    def mean(heading: str, key: str, kind: Kind, measure: str) -> Column[Ranked]:
        return ours(
            heading,
            key,
            lambda one: over_seeds([seed[kind][measure] for seed in runs[one.variant]]),
        )

    columns: list[Column[Ranked]] = [
        label("place", "place", lambda one: str(one.place)),
        label("system", "system", lambda one: setting.label(one.variant)),
        field("variant", lambda one: one.variant),
        label("epochs", "epochs", lambda one: setting.budgets[one.variant]),
        mean("mIoU", "miou", "raw", "miou"),
        Column(
            "95 % interval",
            lambda one: Cell(score_interval(one.scores["raw"])),
            lambda one: {
                "miou_low": f"{one.scores['raw'].low:.2f}",
                "miou_high": f"{one.scores['raw'].high:.2f}",
            },
        ),
        mean("with CRF", "miou_crf", "crf", "miou"),
        mean("Boundary IoU", "boundary_iou", "raw", "boundary_iou"),
        field("reference", lambda one: one.reference),
        *difference(f"mIoU − {reference}'s", "raw", lambda one: one.differences.get("raw")),
        *difference(f"with CRF − {reference}'s", "crf", lambda one: one.differences.get("crf")),
    ]
    return make_table(
        "ranking",
        "All variants, by mIoU without CRF, in %",
        f"Ours: {setting}. Same images and CRF for every row, same backbone, optimizer "
        "and testing for every network.",
        columns,
        ranked,
        (
            "epochs: those of each training in turn, the same sum for every network but those that "
            "others are fine-tuned from; none for a forest. The first part is the shared warm "
            "start by partial cross-entropy. A schedule in parts is another training than one in a "
            "whole: see the table of gains.",
            setting.intervals(),
            "No interval is corrected for the number of rows: of twenty true ties, one would come "
            "out as higher or lower.",
        ),
        setting.columns(),
    )
