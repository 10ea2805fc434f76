"""All variants side by side, each with its differences to BPG and to full masks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from bpg.evaluation.bootstrap import Difference, Score
from bpg.evaluation.comparison import Counts, System, compare, estimate
from bpg.evaluation.score import KINDS, Kind
from bpg.report.columns import (
    INTERVAL,
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

MASKS = "mask"
"""The variant that is trained on full masks: what strokes are to reach."""


@dataclass(frozen=True)
class Ranked:
    """A variant in its place, and its mIoU minus the reference's, in percentage points.

    `scores` holds its mIoU in percent with its interval for "raw" and "crf" predictions.
    `differences` holds one for "raw" and one for "crf" predictions; it is empty for the reference.
    `to_masks` holds the same minus that of full masks; it is empty for these, or without them.
    """

    place: int
    variant: str
    reference: str
    scores: Mapping[Kind, Score]
    differences: Mapping[Kind, Difference]
    to_masks: Mapping[Kind, Difference]


def rank(runs: Runs, counts: Counts) -> list[Ranked]:
    """Order the variants by their mIoU without CRF.

    Args:
        runs: What `bpg.report.runs.read_runs` returns.
        counts: Of the same variants, on the same images in the same order.

    Returns:
        All variants, the best first.
    """
    reference = reference_variant(runs)

    def beside(other: str, name: str) -> dict[Kind, Difference]:
        if other == name or other not in runs:
            return {}
        return {kind: compare(counts, System(other, kind), System(name, kind)) for kind in KINDS}

    order = sorted(runs, key=lambda name: -fmean(seed["raw"]["miou"] for seed in runs[name]))
    return [
        Ranked(
            place,
            name,
            reference,
            {kind: estimate(counts, System(name, kind)) for kind in KINDS},
            beside(reference, name),
            beside(MASKS, name),
        )
        for place, name in enumerate(order, start=1)
    ]


LINES = 6
"""The most variants in a chart with a line for each."""


def featured(ranked: Sequence[Ranked]) -> list[str]:
    """Choose the variants of a chart with a line for each: the paper's, and the best from strokes.

    Args:
        ranked: What `rank` returns.

    Returns:
        Up to `LINES` names; all where there are no more.
    """
    names = [one.variant for one in ranked]
    if len(names) <= LINES:
        return names
    best = [name for name in names if name != MASKS]
    wanted = [MASKS, "scribble", "prn", "brn", ranked[0].reference, *best]
    return list(dict.fromkeys(name for name in wanted if name in names))[:LINES]


def ranking_table(ranked: Sequence[Ranked], runs: Runs, setting: Setting) -> Table:
    """Return every variant's mIoU and Boundary IoU, and its differences to BPG and full masks."""
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
            INTERVAL,
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
    if any(one.to_masks for one in ranked):
        masks = setting.label(MASKS)
        columns += difference(f"mIoU − {masks}'s", "masks_raw", lambda one: one.to_masks.get("raw"))
        columns += difference(
            f"with CRF − {masks}'s", "masks_crf", lambda one: one.to_masks.get("crf")
        )
    return make_table(
        "ranking",
        "All variants, by mIoU without CRF, in %",
        f"Ours: {setting}. Same images and CRF for every row, same backbone, optimizer "
        "and testing for every network.",
        columns,
        ranked,
        (
            "epochs: those of each training in turn, the same sum for every network but those that "
            "others are fine-tuned from; none for a forest. The first part is a warm start without "
            "the loss, which is trained once for all that have the same network. A schedule in "
            "parts is another training than one in a whole: see the table of gains.",
            setting.intervals(),
            "No interval is corrected for the number of rows: of twenty true ties, one would come "
            "out as higher or lower.",
        ),
        setting.columns(),
    )
