"""One screen: which of the paper's claims hold here, and how all variants did."""

from collections.abc import Sequence

from bpg.report.differences import Difference
from bpg.report.evidence import over_seeds, what_the_interval_covers
from bpg.report.ranking import Ranked, verdict
from bpg.report.runs import Runs
from bpg.report.tables import Cell, Setting, cell, grid
from bpg.variants import VARIANTS


def summary(
    found: Sequence[Difference], ranked: Sequence[Ranked], runs: Runs, setting: Setting
) -> str:
    """Return results/summary.md: the paper's pairs with intervals, then every row's scores."""
    reference = VARIANTS[ranked[0].reference].label
    claims = grid(
        ("from → to", "mIoU", "paper's", "claim, mIoU", "Boundary IoU", "claim, boundaries"),
        _claims(found),
    )
    scores = grid(
        ("system", "mIoU", "with CRF", "Boundary IoU", f"mIoU − {reference}'s", ""),
        _scores(ranked, runs),
    )
    return (
        f"# What holds here, and what does not\n\nOurs: {setting}.\n\n{claims}\n\n{scores}\n\n"
        'In brackets the 95 % interval. "shows": it lies wholly on the side of 0 that the paper '
        'claims ("smaller", "larger": and beside its number); "does not show": it holds 0.\n\n'
        f"{what_the_interval_covers(len(setting.seeds))}\n"
    )


def _claims(found: Sequence[Difference]) -> list[list[Cell]]:
    rows: dict[str, list[Cell]] = {}
    for one in found:
        row = rows.setdefault(one.label, [Cell(one.label, "label")])
        row.append(_with_interval(one.value, one.low, one.high))
        if one.paper is not None:
            row.append(Cell(f"{one.paper:+.1f}", "paper"))
        row.append(Cell(one.verdict))
    return list(rows.values())


def _scores(ranked: Sequence[Ranked], runs: Runs) -> list[list[Cell]]:
    rows = []
    for one in ranked:
        scores = (
            over_seeds([seed[kind][key] for seed in runs[one.variant]])
            for kind, key in (("raw", "miou"), ("crf", "miou"), ("raw", "boundary_iou"))
        )
        against = one.differences.get("raw")
        interval = (None,) if against is None else (against.value, against.low, against.high)
        rows.append(
            [
                Cell(VARIANTS[one.variant].label, "label"),
                *map(cell, scores),
                _with_interval(*interval),
                Cell("" if against is None else verdict(against)),
            ]
        )
    return rows


def _with_interval(
    value: float | None, low: float | None = None, high: float | None = None
) -> Cell:
    return Cell("" if value is None else f"{value:+.2f} ({low:+.2f} to {high:+.2f})")
