"""The paper's claims beside our differences: which of its systems improves on which."""

from collections.abc import Sequence
from dataclasses import dataclass

from bpg.evaluation.bootstrap import Difference
from bpg.evaluation.comparison import MEASURES, Counts, Measure, System, compare, measured
from bpg.report import paper
from bpg.report.columns import (
    INTERVAL,
    NOT_RUN,
    Cell,
    Column,
    Table,
    cell,
    difference_cell,
    interval,
    label,
    make_table,
    record,
)
from bpg.report.setting import Setting

VERDICTS = (
    '"confirmed": the interval lies wholly on the side of 0 that the paper claims ("smaller", '
    '"larger": and wholly to one side of its number); "not confirmed": it contains 0; '
    '"contradicted": it lies wholly on the other side.'
)
ONE_SEED = " (one seed)"
"""After a verdict that a single training gives."""


@dataclass(frozen=True)
class Claim:
    """A difference in mIoU that the paper prints, in points, and ours in one measure.

    `found` is None if a system was not run. The paper measures no boundaries: for Boundary IoU, its
    claim is only which of the two is better.
    """

    first: System
    second: System
    claimed: float
    measure: Measure
    found: Difference | None = None

    @property
    def printed(self) -> float | None:
        """The paper's difference in this measure, if it has one."""
        return self.claimed if self.measure == "miou" else None

    @property
    def verdict(self) -> str:
        """Whether our interval confirms the claim."""
        if self.found is None:
            return NOT_RUN
        sign = 1 if self.claimed > 0 else -1
        low, high = sorted((sign * self.found.low, sign * self.found.high))
        match sign * self.found.side:
            case 1 if self.printed is not None and low > abs(self.printed):
                text = "confirmed, larger"
            case 1 if self.printed is not None and high < abs(self.printed):
                text = "confirmed, smaller"
            case 1:
                text = "confirmed"
            case 0:
                text = "not confirmed"
            case _:
                text = "contradicted"
        # One seed says nothing about another training.
        return text + (ONE_SEED if self.found.std is None else "")


def pairs() -> list[tuple[System, System, float]]:
    """List what the paper compares: the gains of Table 1, the CRF's gain, and Table 2.

    Returns:
        (first, second, printed mIoU of the second minus the first, in points).
    """
    first_table = {
        System(row.variant, "crf" if row.crf else "raw"): row.mean for row in paper.TABLE_1
    }
    second_table = {System(row.variant): row.miou for row in paper.TABLE_2}
    mean = second_table | first_table
    scribble, prn, brn, bpg = map(System, ("scribble", "prn", "brn", "bpg"))
    compared = [
        (scribble, prn),
        (scribble, brn),
        (scribble, bpg),
        (bpg, System("bpg", "crf")),
        (bpg, System("bpg_all_channels")),
    ]
    return [(first, second, mean[second] - mean[first]) for first, second in compared]


def check_claims(counts: Counts) -> list[Claim]:
    """Measure every pair of `pairs` whose systems were run, in mIoU and Boundary IoU."""
    return [
        Claim(
            first,
            second,
            claimed,
            measure,
            compare(counts, first, second, measure)
            if {first.variant, second.variant} <= set(counts)
            else None,
        )
        for measure in measured(counts)
        for first, second, claimed in pairs()
    ]


def claims_table(claims: Sequence[Claim], setting: Setting) -> Table:
    """Return every claim: our difference, its interval, the paper's, and whether it holds."""
    columns: list[Column[Claim]] = [
        label("from → to", "pair", lambda one: pair_label(one, setting)),
        label("measure", "measure", lambda one: MEASURES[one.measure]),
        Column(
            "difference",
            lambda one: cell(NOT_RUN) if one.found is None else difference_cell(one.found),
            lambda one: record(
                "difference", NOT_RUN if one.found is None else (one.found.value, one.found.std), 2
            ),
        ),
        Column(
            INTERVAL,
            lambda one: Cell("" if one.found is None else interval(one.found)),
            lambda one: {
                "low": "" if one.found is None else f"{one.found.low:.2f}",
                "high": "" if one.found is None else f"{one.found.high:.2f}",
            },
        ),
        Column(
            "paper's",
            lambda one: Cell("n/a" if one.printed is None else f"{one.printed:+.1f}", "paper"),
            lambda one: {"paper": "" if one.printed is None else f"{one.printed:.1f}"},
        ),
        Column("claim", lambda one: Cell(one.verdict), lambda one: {"claim": one.verdict}),
    ]
    return make_table(
        "claims",
        "The paper's claims, in points of IoU",
        f"Ours: {setting}. Paper: the difference of its printed mIoU; it measures no boundaries.",
        columns,
        claims,
        (
            setting.intervals(),
            f"{VERDICTS} For Boundary IoU the claim is which of the two is better in mIoU. No "
            "interval is corrected for the number of comparisons.",
        ),
        setting.columns(),
    )


def pair_label(claim: Claim, setting: Setting) -> str:
    """Name both systems of a claim."""
    return f"{setting.label(claim.first)} → {setting.label(claim.second)}"


def claim_notes(
    claims: Sequence[Claim], variants: Sequence[str], setting: Setting
) -> tuple[str, ...]:
    """Describe claims in mIoU that were measured, for notes below a table.

    Args:
        claims: What `check_claims` returns.
        variants: Only claims whose second system is one of these are described.
        setting: What our numbers were made on.

    Returns:
        A line for each claim.
    """
    return tuple(
        f"{pair_label(one, setting)}: {one.found.value:+.2f}, 95 % interval "
        f"{interval(one.found)}; paper {one.printed:+.1f}: {one.verdict}."
        for one in claims
        if one.measure == "miou" and one.found is not None and one.second.variant in variants
    )
