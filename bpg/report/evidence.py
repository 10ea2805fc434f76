"""Tables that the paper does not have: differences with intervals, boundaries, cost."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from bpg.evaluation.bootstrap import SAMPLES
from bpg.report.differences import MEASURES, Difference
from bpg.report.runs import Runs, spread
from bpg.report.tables import NOT_RUN, Cell, Setting, Table, Value, cell, record
from bpg.variants import VARIANTS

RADII = (1, 3, 5, 10, 20, 40)  # pixels; the columns of the table out of the curve's 1..40
KINDS = {"raw": "", "crf": " + CRF"}


def difference_table(found: Sequence[Difference], setting: Setting) -> Table:
    """Every pair that the paper compares: difference, interval, and whether it shows."""
    rows, records = [], []
    for one in found:
        value = NOT_RUN if one.value is None else (one.value, one.std)
        interval = "" if one.low is None else f"{one.low:+.2f} to {one.high:+.2f}"
        printed = "n/a" if one.paper is None else f"{one.paper:+.1f}"
        rows.append(
            (
                Cell(one.label, "label"),
                Cell(MEASURES[one.measure], "label"),
                cell(value, 2, signed=True),
                Cell(interval),
                Cell(printed, "paper"),
                Cell(one.verdict),
            )
        )
        records.append(
            {
                "first": one.first.label,
                "second": one.second.label,
                "measure": one.measure,
                **record("difference", value, digits=2),
                "low": "" if one.low is None else f"{one.low:.2f}",
                "high": "" if one.high is None else f"{one.high:.2f}",
                "paper": "" if one.paper is None else f"{one.paper:.1f}",
                "verdict": one.verdict,
                **setting.columns(),
            }
        )
    return Table(
        "differences",
        "What each step gains, in points of IoU",
        f"Ours: {setting}. Paper: the difference of its printed mIoU; it measures no boundaries.",
        ("from → to", "measure", "difference", "95 % interval", "paper's", "the paper's claim"),
        tuple(rows),
        (
            what_the_interval_covers(len(setting.seeds)),
            '"shows": the interval lies wholly on the side of 0 that the paper claims ("smaller" '
            'or "larger": and wholly to one side of its number); "does not show": it reaches '
            'across 0; "the opposite shows": it lies wholly on the other side. For Boundary IoU '
            "the claimed side is that of the paper's mIoU. No interval is corrected for the number "
            "of comparisons.",
        ),
        tuple(records),
    )


def what_the_interval_covers(seeds: int) -> str:
    """Say in a note to a table what its intervals mean, for so many seeds."""
    draws = f"{SAMPLES:,} draws of the validation images"
    if seeds == 1:
        return (
            f"Interval: paired bootstrap, {draws}. It covers what other images would change; not "
            "another training, of which one seed says nothing."
        )
    return (
        f"Interval: a paired bootstrap's variance ({draws}) and the seeds' variance together, "
        "Student's t with Welch and Satterthwaite's degrees of freedom. It covers what other "
        "images and other trainings of this setting would change, not another data set or recipe."
    )


def boundary_table(runs: Runs, setting: Setting) -> Table:
    """Boundary IoU and mIoU near the true boundaries of every variant, raw and with CRF."""
    rows, records = [], []
    for variant, seeds in runs.items():
        for kind, suffix in KINDS.items():
            overall = over_seeds([metrics[kind]["boundary_iou"] for metrics in seeds])
            bands = {
                radius: over_seeds([metrics[kind]["trimap"][radius - 1] for metrics in seeds])
                for radius in RADII
            }
            rows.append(
                (
                    Cell(VARIANTS[variant].label + suffix, "label"),
                    cell(overall),
                    *(cell(value) for value in bands.values()),
                )
            )
            records.append(
                {"variant": variant, "crf": int(kind == "crf")}
                | record("boundary_iou", overall, digits=2)
                | {
                    key: value
                    for radius, band in bands.items()
                    for key, value in record(f"miou_within_{radius}", band, digits=2).items()
                }
                | setting.columns()
            )
    return Table(
        "boundaries",
        "How well the boundaries are met, in %",
        f"Ours: {setting}. The paper measures none of this.",
        ("system", "Boundary IoU", *(f"mIoU within {radius} px" for radius in RADII)),
        tuple(rows),
        (
            "Boundary IoU (Cheng et al., CVPR 2021): pixels within 2 % of the image diagonal of "
            "a class's contour. mIoU within r pixels of a true boundary: the trimap evaluation; "
            "where the masks have a ring of ignored pixels, as VOC's, r counts from the ring.",
        ),
        tuple(records),
    )


def trimap_rows(runs: Runs, kind: str) -> dict[str, list[dict[str, Any]]]:
    """{variant: rows radius, miou} (percent, seed mean) for `dvc plots`; `kind` "raw" or "crf"."""
    return {
        variant: [
            {"radius": radius, "miou": round(fmean(values), 2)}
            for radius, values in enumerate(
                zip(*(metrics[kind]["trimap"] for metrics in seeds), strict=True), start=1
            )
            if None not in values
        ]
        for variant, seeds in runs.items()
    }


def over_seeds(values: Sequence[float | None]) -> Value | str:
    """Mean and deviation over the seeds, "n/a" where one has no value."""
    known = [value for value in values if value is not None]
    return "n/a" if len(known) < len(values) else spread(known)


def difference_notes(found: Sequence[Difference], variants: Sequence[str]) -> tuple[str, ...]:
    """Return a line for each mIoU difference that ends in one of `variants` and was measured."""
    return tuple(
        f"{one.label}: {one.value:+.2f}, 95 % interval {one.low:+.2f} to {one.high:+.2f}; "
        f"paper {one.paper:+.1f}: {one.verdict}."
        for one in found
        if one.measure == "miou" and one.value is not None and one.second.variant in variants
    )


def cost_table(costs: Sequence[Mapping[str, Any]]) -> Table:
    """Parameters, MACs, memory and time of a training step; `costs` is `read_costs`' result."""
    rows = [
        (
            Cell(row["label"], "label"),
            Cell(f"{row['parameters']:,}"),
            Cell(f"{row['parameters_at_test']:,}"),
            Cell(f"{row['macs'] / 1e9:.3g}"),
            Cell(f"× {row['macs_ratio']:.2f}"),
            Cell(f"{row['peak_memory_bytes'] / 2**20:,.0f}"),
            Cell(f"× {row['memory_ratio']:.2f}"),
            Cell(f"{1000 * row['step_seconds']:,.0f}"),
            Cell(f"× {row['time_ratio']:.2f}"),
        )
        for row in costs
    ]
    made = costs[0]
    threads = f"{made['threads']} thread{'s' if made['threads'] > 1 else ''}"
    baseline = VARIANTS[made["baseline"]].label
    return Table(
        "cost",
        "What each variant costs",
        f"Recipe {made['recipe']}, {made['classes']} classes: a training step of {made['batch']} "
        f"crops of {made['crop']}×{made['crop']} pixels on {made['hardware']}, "
        f"{made['precision']}, {threads}, torch {made['torch']}. The paper gives no such numbers: "
        'its PRN "only imports small amount computations and GPU memories".',
        (
            "variant",
            "parameters",
            "at test",
            "GMACs",
            "to baseline",
            "peak memory, MiB",
            "to baseline",
            "step, ms",
            "to baseline",
        ),
        tuple(rows),
        (
            f"Baseline: {baseline}. GMACs: multiply-accumulates of convolutions and matrix "
            "products, forward pass of one picture. Peak memory: tensors during a training step. "
            "Time is the one number here that differs from run to run. A step of tree energy or of "
            "ScribbleSup does work outside of it, too: SciPy's memory, and the propagation of the "
            "labels before each round (docs/peers.md).",
        ),
        tuple(dict(row) for row in costs),
    )
