"""What a peer's loss gains, and what BPG's parts gain beside it: pairs that differ in one thing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bpg.evaluation.bootstrap import Difference, paired_bootstrap
from bpg.report.differences import Measure, System, system_counts
from bpg.report.evidence import what_the_interval_covers
from bpg.report.ranking import Kind, verdict
from bpg.report.tables import Cell, Setting, Table, cell
from bpg.variants import VARIANTS, Variant

BASELINE = "scribble"
# What is compared: in which predictions, by which measure, under which heading.
MEASURED: tuple[tuple[Kind, Measure, str], ...] = (
    ("raw", "miou", "mIoU"),
    ("crf", "miou", "mIoU with CRF"),
    ("raw", "boundary_iou", "Boundary IoU"),
)


@dataclass(frozen=True)
class Gain:
    """Second variant minus first, in percentage points, in the order of `MEASURED`."""

    first: str
    second: str
    what: str
    differences: tuple[Difference, ...]


def pairs(variants: Iterable[str]) -> list[tuple[str, str, str]]:
    """Return (first, second, in what they differ) for all pairs that differ in one thing.

    The schedule: the baseline and its fine-tuned twin. The loss or the labels: a variant that
    goes on from the warm start and the one of the same network without regularisers. The parts: a
    variant with PRN or BRN and the one with the same regularisers and neither.
    """
    names = list(variants)
    found = []
    for name in names:
        one = VARIANTS[name]
        if one.start is None:
            continue
        if _plain(one) and not (one.prn or one.brn) and BASELINE in names:
            found.append((BASELINE, name, "schedule"))
        for other_name in names:
            other = VARIANTS[other_name]
            if other.start is None or other.supervision != "scribbles" or other == one:
                continue
            same_network = (other.prn, other.brn) == (one.prn, one.brn)
            if same_network and _plain(other):
                what = "labels" if one.supervision == "propagated" else "loss"
                found.append((other_name, name, what))
            elif other.regularisers == one.regularisers and not (other.prn or other.brn):
                found.append((other_name, name, _parts(one)))
    order = ("schedule", "loss", "labels")
    return sorted(found, key=lambda pair: order.index(pair[2]) if pair[2] in order else len(order))


def _parts(variant: Variant) -> str:
    parts = ["PRN"] * variant.prn + ["BRN with its loss"] * (variant.brn is not None)
    return " and ".join(parts)


def _plain(variant: Variant) -> bool:
    return not variant.regularisers and variant.supervision == "scribbles"


def gains(counts: Mapping[str, Sequence[NDArray[np.int32]]]) -> list[Gain]:
    """Measure every pair; `counts` as in `bpg.report.differences.differences`."""
    return [
        Gain(
            first,
            second,
            what,
            tuple(
                paired_bootstrap(
                    *(
                        system_counts(counts[name], System(name, kind, 0.0), measure)
                        for name in (first, second)
                    )
                )
                for kind, measure, _ in MEASURED
            ),
        )
        for first, second, what in pairs(counts)
    ]


def gains_table(found: Sequence[Gain], setting: Setting) -> Table:
    """Every pair's differences with their intervals; one empty row where there is no pair."""
    rows, records = [], []
    for one in found:
        cells: list[Cell] = []
        columns: dict[str, str] = {}
        for (kind, measure, _), difference in zip(MEASURED, one.differences, strict=True):
            interval = f"{difference.low:+.2f} to {difference.high:+.2f}"
            cells += [
                cell((difference.value, difference.std), 2, signed=True),
                Cell(f"{interval}: {verdict(difference)}"),
            ]
            columns |= {
                f"{measure}_{kind}_difference": f"{difference.value:.2f}",
                f"{measure}_{kind}_low": f"{difference.low:.2f}",
                f"{measure}_{kind}_high": f"{difference.high:.2f}",
            }
        first, second = VARIANTS[one.first].label, VARIANTS[one.second].label
        rows.append((Cell(f"{first} → {second}", "label"), Cell(one.what, "label"), *cells))
        records.append(
            {"first": one.first, "second": one.second, "differ_in": one.what}
            | columns
            | setting.columns()
        )
    empty = (Cell("no such pair was run", "label"), Cell("", "label"), *[Cell("")] * 6)
    return Table(
        "gains",
        "What each loss gains, and what BPG's parts gain beside it, in points of IoU",
        f"Ours: {setting}. Pairs of variants that differ in one thing.",
        (
            "from → to",
            "differ in",
            *(text for _, _, name in MEASURED for text in (name, "95 % interval")),
        ),
        tuple(rows) or (empty,),
        (
            what_the_interval_covers(len(setting.seeds)),
            "schedule: all epochs at once, or a warm start and then the rest, the same loss. "
            "labels: ScribbleSup's, whose rounds divide the rest once more. PRN and BRN start from "
            "nothing after the warm start. "
            'With one seed "ahead" and "behind" are of this training. '
            "None of the intervals is corrected for the number of comparisons.",
        ),
        tuple(records) or ({"first": "", "second": "", "differ_in": ""},),
    )
