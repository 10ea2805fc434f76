"""What the page opens with: what holds, what does not, and how far strokes are from masks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bpg.evaluation.bootstrap import Difference
from bpg.evaluation.comparison import MEASURES
from bpg.report.claims import ONE_SEED, Claim, pair_label
from bpg.report.columns import interval, score_interval
from bpg.report.ranking import MASKS, Ranked
from bpg.report.setting import Setting

Verdict = Literal["holds", "open", "fails", ""]


_REACHED: dict[int, tuple[str, Verdict]] = {
    1: ("reached", "holds"),
    0: ("interval contains 0", "open"),
    -1: ("not reached", "fails"),
}
"""By the side of 0 on which the interval lies."""


@dataclass(frozen=True)
class Line:
    """A statement, its numbers, and the verdict: as a word, and for the page's mark."""

    what: str
    numbers: str
    verdict: str
    kind: Verdict


def answer(claims: Sequence[Claim], ranked: Sequence[Ranked], setting: Setting) -> list[Line]:
    """Return the paper's claims with our verdicts, then how far strokes are from full masks.

    Args:
        claims: What `bpg.report.claims.check_claims` returns; those that were not run are left out.
        ranked: What `bpg.report.ranking.rank` returns.
        setting: What our numbers were made on.
    """
    lines = [
        Line(
            f"{pair_label(one, setting)}, {MEASURES[one.measure]}",
            _points(one.found)
            + ("" if one.printed is None else f"; paper {one.printed:+.1f}".replace("-", "−")),
            one.verdict.removesuffix(ONE_SEED),  # the note below the list says it once
            _kind(one.verdict),
        )
        for one in claims
        if one.found is not None
    ]
    return lines + _gap(ranked, setting)


def own_answer(ranked: Sequence[Ranked], setting: Setting) -> list[Line]:
    """Return how well the variants do on a user's own images.

    Args:
        ranked: What `bpg.report.ranking.rank` returns.
        setting: What the numbers were made on.
    """
    return [
        Line(
            setting.label(one.variant),
            f"mIoU {one.scores['raw'].value:.1f} ({score_interval(one.scores['raw'])}); with CRF "
            f"{one.scores['crf'].value:.1f} ({score_interval(one.scores['crf'])})",
            "",
            "",
        )
        for one in ranked
    ]


def _gap(ranked: Sequence[Ranked], setting: Setting) -> list[Line]:
    """Compare the best row from strokes with full masks, before and after the CRF."""
    strokes = [one for one in ranked if one.to_masks]
    lines = []
    for kind in ("raw", "crf"):
        if not strokes:
            break
        best = max(strokes, key=lambda one: one.scores[kind].value)
        found = best.to_masks[kind]
        suffix = " with CRF" if kind == "crf" else ""
        verdict, mark = _REACHED[found.side]
        lines.append(
            Line(
                f"strokes reach full masks{suffix}: {setting.label(best.variant)}, the best of "
                f"{len(strokes)}, against {setting.label(MASKS)}, mIoU",
                _points(found),
                verdict,
                mark,
            )
        )
    return lines


def _points(found: Difference) -> str:
    return f"{found.value:+.2f} ({interval(found)})".replace("-", "−")


def _kind(verdict: str) -> Verdict:
    if verdict.startswith("confirmed"):
        return "holds"
    return "fails" if verdict.startswith("contradicted") else "open"
