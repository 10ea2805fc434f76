"""What a peer's loss gains, and what BPG's parts add to it: pairs that differ in one thing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bpg.evaluation.bootstrap import Difference
from bpg.evaluation.comparison import Counts, Measure, System, compare, measured
from bpg.evaluation.score import Kind
from bpg.report.columns import Column, Table, difference, field, label, make_table
from bpg.report.setting import Setting
from bpg.variants import Variant, Variants

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
    differences: tuple[Difference | None, ...]


def pairs(names: Iterable[str], variants: Variants) -> list[tuple[str, str, str]]:
    """Find all pairs of variants that differ in one thing.

    The schedule: a network that is trained in one part and its fine-tuned twin. The labels: the
    baseline and the same network on GrabCut's. The classifier: the baseline and a forest. The loss
    or the labels: a fine-tuned variant and the one of the same network without regularisers. The
    parts: a variant with PRN or BRN and the one with the same regularisers and neither.

    Args:
        names: The variants that were run.
        variants: All variants by name.

    Returns:
        (first, second, what they differ in).
    """
    names = list(names)
    found = []
    for name in names:
        one = variants[name]
        if one.init_from is None:
            if BASELINE in names and (what := _beside_baseline(one)):
                found.append((BASELINE, name, what))
            continue
        for other_name in names:
            other = variants[other_name]
            if other.supervision != "scribbles" or other.classifier == "forest" or other is one:
                continue
            same_network = (other.prn, other.brn) == (one.prn, one.brn)
            if other.init_from is None:
                if same_network and _plain(one) and other.until == one.until:
                    found.append((other_name, name, "schedule"))
            elif same_network and _plain(other):
                what = "labels" if one.supervision == "propagated" else "loss"
                found.append((other_name, name, what))
            elif other.regularisers == one.regularisers and not (other.prn or other.brn):
                found.append((other_name, name, _parts(one)))
    order = ("schedule", "classifier", "loss", "labels")
    return sorted(found, key=lambda pair: order.index(pair[2]) if pair[2] in order else len(order))


def _beside_baseline(variant: Variant) -> str:
    """Say in what a variant that is trained in one part differs from the baseline, if in this."""
    if variant.classifier == "forest":
        return "classifier"
    return "labels" if variant.supervision == "grabcut" and not variant.prn else ""


def _parts(variant: Variant) -> str:
    parts = ["PRN"] * variant.prn + ["BRN with its loss"] * (variant.brn is not None)
    return " and ".join(parts)


def _plain(variant: Variant) -> bool:
    return not variant.regularisers and variant.supervision == "scribbles"


def measure_gains(counts: Counts, variants: Variants) -> list[Gain]:
    """Measure all of the `pairs` that were run.

    Args:
        counts: Of the variants that were run, on the same images in the same order.
        variants: All variants by name.
    """
    return [
        Gain(
            first,
            second,
            what,
            tuple(
                compare(counts, System(first, kind), System(second, kind), measure)
                if measure in measured(counts)
                else None
                for kind, measure, _ in MEASURED
            ),
        )
        for first, second, what in pairs(counts, variants)
    ]


def gains_table(gains: Sequence[Gain], setting: Setting) -> Table:
    """Return every pair's differences with their intervals."""

    def names(one: Gain) -> str:
        return f"{setting.label(one.first)} → {setting.label(one.second)}"

    def difference_at(place: int) -> list[Column[Gain]]:
        kind, measure, heading = MEASURED[place]
        return difference(heading, f"{measure}_{kind}", lambda one: one.differences[place])

    columns: list[Column[Gain]] = [
        label("from → to", "pair", names),
        field("first", lambda one: one.first),
        field("second", lambda one: one.second),
        label("differ in", "differ_in", lambda one: one.what),
        *(column for place in range(len(MEASURED)) for column in difference_at(place)),
    ]
    return make_table(
        "gains",
        "What each loss gains, and what BPG's parts gain beside it, in points of IoU",
        f"Ours: {setting}. Pairs of variants that differ in one thing.",
        columns,
        gains,
        (
            setting.intervals(),
            "schedule: all epochs at once, or a warm start and then the rest, the same loss. "
            "labels: GrabCut's; or ScribbleSup's, whose rounds divide the rest once more. "
            "classifier: a random forest on the same strokes instead of a network. PRN and BRN "
            "are there from the warm start on. No interval is corrected for the number of "
            "comparisons.",
        ),
        setting.columns(),
    )
