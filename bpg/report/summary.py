"""A summary on one screen: which of the paper's claims hold here, and how all variants did."""

from collections.abc import Sequence

from bpg.evaluation.bootstrap import Difference
from bpg.report.claims import VERDICTS, Claim, pair_label
from bpg.report.columns import EXCLUDES_0, Cell, cell, grid, interval, score_interval
from bpg.report.ranking import MASKS, Ranked
from bpg.report.runs import Runs, over_seeds
from bpg.report.setting import Setting


def summary(claims: Sequence[Claim], ranked: Sequence[Ranked], runs: Runs, setting: Setting) -> str:
    """Return results/summary.md: the paper's claims with intervals, then every variant's scores.

    Args:
        claims: What `bpg.report.claims.check_claims` returns.
        ranked: What `bpg.report.ranking.rank` returns.
        runs: What `bpg.report.runs.read_runs` returns.
        setting: What our numbers were made on.
    """
    reference = setting.label(ranked[0].reference)
    masks = any(one.to_masks for one in ranked)
    header = ["from → to", "mIoU", "paper's", "claim, mIoU"]
    if any(one.measure == "boundary_iou" for one in claims):
        header += ["Boundary IoU", "claim, boundaries"]
    first = grid(header, _claims(claims, setting))
    second = grid(
        (
            *("system", "mIoU", "95 % interval", "with CRF", "Boundary IoU"),
            *(f"mIoU − {reference}'s", "excludes 0?"),
            *([f"mIoU − {setting.label(MASKS)}'s"] if masks else []),
        ),
        _rows(ranked, runs, setting),
    )
    return (
        f"# What holds here, and what does not\n\nOurs: {setting}.\n\n{first}\n\n{second}\n\n"
        f"In brackets the 95 % interval. {VERDICTS}\n\n{setting.intervals()}\n"
    )


def _claims(claims: Sequence[Claim], setting: Setting) -> list[list[Cell]]:
    rows: dict[str, list[Cell]] = {}
    for one in claims:
        label = pair_label(one, setting)
        row = rows.setdefault(label, [Cell(label, "label")])
        row.append(_with_interval(one.found))
        if one.printed is not None:
            row.append(Cell(f"{one.printed:+.1f}", "paper"))
        row.append(Cell(one.verdict))
    return list(rows.values())


def _rows(ranked: Sequence[Ranked], runs: Runs, setting: Setting) -> list[list[Cell]]:
    rows = []
    for one in ranked:
        raw, crf, boundary = (
            cell(over_seeds([seed[kind][key] for seed in runs[one.variant]]))
            for kind, key in (("raw", "miou"), ("crf", "miou"), ("raw", "boundary_iou"))
        )
        against, masks = one.differences.get("raw"), any(other.to_masks for other in ranked)
        rows.append(
            [
                Cell(setting.label(one.variant), "label"),
                *(raw, Cell(score_interval(one.scores["raw"])), crf, boundary),
                _with_interval(against),
                Cell("" if against is None else EXCLUDES_0[against.side]),
                *([_with_interval(one.to_masks.get("raw"))] if masks else []),
            ]
        )
    return rows


def _with_interval(found: Difference | None) -> Cell:
    return Cell("" if found is None else f"{found.value:+.2f} ({interval(found)})")
