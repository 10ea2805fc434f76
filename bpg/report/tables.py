"""Tables 1, 2 and 3 of the paper, our numbers beside the printed ones; boundaries; cost.

A system that was not run is marked "not run"; nothing stands in for its numbers.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from bpg.evaluation.comparison import System
from bpg.evaluation.score import KINDS
from bpg.report import paper
from bpg.report.columns import (
    NOT_AVAILABLE,
    NOT_RUN,
    Cell,
    Column,
    Table,
    cell,
    field,
    label,
    make_table,
    not_run_note,
    ours,
    paper_cell,
    printed,
    record,
)
from bpg.report.runs import Metrics, Runs, Value, over_seeds, spread
from bpg.report.setting import Setting
from bpg.variants import Variants

ABSENT = "–"
RADII = (1, 3, 5, 10, 20, 40)  # pixels; the columns of the table out of the curve's 1..40


def table1(runs: Runs, setting: Setting) -> Table:
    """IoU per class and mean of the seven systems of Table 1, in percent.

    Where all of our classes are VOC's, each row of ours is followed by the paper's; elsewhere
    only the paper's mean stands beside ours. The best of a column among the scribble systems
    without CRF is bold, as in the paper.
    """
    classes = next(iter(runs.values()))[0]["classes"]
    values = [
        _class_values(runs.get(line.variant), line.crf, len(classes)) for line in paper.TABLE_1
    ]
    best = _best_columns(values)
    run = [one for one in values if one is not None]
    absent = [name for index, name in enumerate(classes) if any(one[index] is None for one in run)]
    on_voc = set(classes) <= set(paper.CLASSES)

    rows, records = [], []
    for one, line in zip(values, paper.TABLE_1, strict=True):
        in_paper = dict(zip(paper.CLASSES, line.iou, strict=True)) if on_voc else {}
        in_paper["mean"] = line.mean
        rows.append(
            (
                Cell(line.label, "label"),
                *_class_cells(one, len(classes), best if line.starred else {}),
                paper_cell(line.mean),
            )
        )
        if on_voc:
            rows.append(_printed_row(line, classes, absent))
        for index, name in enumerate([*classes, "mean"]):
            value = NOT_RUN if one is None else one[index]
            records.append(
                {"system": line.label, "variant": line.variant, "crf": int(line.crf), "class": name}
                | record("iou", "absent" if value is None else value, digits=2)
                | {"paper_iou": in_paper.get(name)}
                | setting.columns()
            )
    return Table(
        "table1",
        "Table 1. Network architectures, IoU per class in %",
        _caption(setting),
        ("system", *classes, "mean", "paper's mean"),
        tuple(rows),
        (*_notes1(on_voc, absent, best), *not_run_note(rows)),
        tuple(records),
    )


def table2(runs: Runs, setting: Setting) -> Table:
    """mIoU (percent, no CRF) and edge loss of the settings of the BRN."""

    def edge_loss(line: paper.BoundaryRow) -> Value | str:
        # Without a BRN there is no edge loss to measure, whether the system was run or not.
        if line.edge_loss is None:
            return NOT_AVAILABLE
        seeds = runs.get(line.variant)
        return NOT_RUN if seeds is None else over_seeds([seed["edge_loss"] for seed in seeds])

    columns: list[Column[paper.BoundaryRow]] = [
        label("setting", "system", lambda line: line.label),
        field("variant", lambda line: line.variant),
        ours("mIoU", "miou", lambda line: _miou(runs, line.variant, "raw")),
        ours("edge loss", "edge_loss", edge_loss, digits=3),
        printed("paper's mIoU", "paper_miou", lambda line: line.miou),
        printed("paper's edge loss", "paper_edge_loss", lambda line: line.edge_loss, digits=3),
    ]
    return make_table(
        "table2",
        "Table 2. Settings of the boundary branch, mIoU in % and edge loss",
        _caption(setting),
        columns,
        paper.TABLE_2,
        (
            "Edge loss: squared error per pixel between the predicted and the given edge map "
            "(0..1), mean over the last training epoch. No CRF.",
        ),
        setting.columns(),
    )


def table3(runs: Runs, setting: Setting, variants: Variants) -> Table:
    """mIoU of the method and its peers without and with CRF, in percent.

    The paper's rows, then the further variants that are fine-tuned from the shared warm start.
    """
    in_paper = {line.variant for line in paper.TABLE_3}
    further = [
        paper.PeerRow("scribbles", setting.label(name), name, None, None)
        for name in runs  # what is fine-tuned has seen strokes alone
        if name not in in_paper and variants[name].init_from is not None
    ]
    columns: list[Column[paper.PeerRow]] = [
        label("method", "system", lambda line: line.label),
        field("variant", lambda line: line.variant),
        label("supervision", "supervision", lambda line: line.supervision),
        label("epochs", "epochs", lambda line: setting.budgets.get(line.variant, "")),
        ours("wo/ CRF", "miou", lambda line: _miou(runs, line.variant, "raw")),
        ours("w/ CRF", "miou_crf", lambda line: _miou(runs, line.variant, "crf")),
        printed("paper's wo/ CRF", "paper_miou", lambda line: line.miou),
        printed("paper's w/ CRF", "paper_miou_crf", lambda line: line.miou_crf),
    ]
    return make_table(
        "table3",
        "Table 3. Comparison with other methods, mIoU in %",
        _caption(setting),
        columns,
        (*paper.TABLE_3, *further),
        (
            "All of ours: the same images, backbone, optimizer, testing and CRF. epochs: those of "
            "each training in turn, first those of the shared warm start; the same sum in all.",
            "The paper quotes its peers from their own papers, with other backbones (ScribbleSup: "
            "VGG16) and initial weights.",
        ),
        setting.columns(),
    )


class _Predictions(NamedTuple):
    system: System
    scores: list[Metrics]  # seed by seed


def boundary_table(runs: Runs, setting: Setting) -> Table:
    """Boundary IoU and mIoU near the true boundaries of every variant, raw and with CRF."""

    def near(radius: int) -> Column[_Predictions]:
        return ours(
            f"mIoU within {radius} px",
            f"miou_within_{radius}",
            lambda one: over_seeds([seed["trimap"][radius - 1] for seed in one.scores]),
        )

    columns: list[Column[_Predictions]] = [
        label("system", "system", lambda one: setting.label(one.system)),
        field("variant", lambda one: one.system.variant),
        field("crf", lambda one: int(one.system.kind == "crf")),
        ours(
            "Boundary IoU",
            "boundary_iou",
            lambda one: over_seeds([seed["boundary_iou"] for seed in one.scores]),
        ),
        *map(near, RADII),
    ]
    return make_table(
        "boundaries",
        "How well the boundaries are met, in %",
        f"Ours: {setting}. The paper measures none of this.",
        columns,
        [
            _Predictions(System(variant, kind), [seed[kind] for seed in seeds])
            for variant, seeds in runs.items()
            for kind in KINDS
        ],
        (
            "Boundary IoU (Cheng et al., CVPR 2021): pixels within 2 % of the image diagonal of "
            "a class's contour. mIoU within r pixels of a true boundary: the trimap evaluation; "
            "where the masks have a ring of ignored pixels, as VOC's, r counts from the ring.",
        ),
        setting.columns(),
    )


def cost_table(costs: Sequence[Mapping[str, Any]], setting: Setting) -> Table:
    """Parameters, MACs, memory and time of a training step; `costs` is `read_costs`' result."""

    def number(heading: str, key: str, text: str, unit: float = 1) -> Column[Mapping[str, Any]]:
        return Column(
            heading, lambda row: Cell(text.format(row[key] / unit)), lambda row: {key: row[key]}
        )

    made = costs[0]
    threads = f"{made['threads']} thread{'s' if made['threads'] > 1 else ''}"
    return make_table(
        "cost",
        "What each variant costs",
        f"Recipe {made['recipe']}, {made['classes']} classes: a training step of {made['batch']} "
        f"crops of {made['crop']}×{made['crop']} pixels on {made['hardware']}, "
        f"{made['precision']}, {threads}, torch {made['torch']}. The paper gives no such numbers: "
        'its PRN "only imports small amount computations and GPU memories".',
        [
            label("variant", "variant", lambda row: setting.label(row["variant"])),
            number("parameters", "parameters", "{:,.0f}"),
            number("at test", "parameters_at_test", "{:,.0f}"),
            number("GMACs", "macs", "{:.3g}", 1e9),
            number("to baseline", "macs_ratio", "× {:.2f}"),
            number("peak memory, MiB", "peak_memory_bytes", "{:,.0f}", 2**20),
            number("to baseline", "memory_ratio", "× {:.2f}"),
            number("step, ms", "step_seconds", "{:,.0f}", 1e-3),
            number("to baseline", "time_ratio", "× {:.2f}"),
        ],
        costs,
        (
            f"Baseline: {setting.label(made['baseline'])}. GMACs: multiply-accumulates of "
            "convolutions and matrix products, forward pass of one image. Peak memory: tensors "
            "during a training step. Time is the one number here that differs from run to run. A "
            "step of tree energy or of ScribbleSup does work outside of it, too: SciPy's memory, "
            "and the propagation of the labels before each round (docs/peers.md).",
        ),
    )


def _miou(runs: Runs, variant: str, kind: str) -> Value | str:
    seeds = runs.get(variant)
    return NOT_RUN if seeds is None else spread([seed[kind]["miou"] for seed in seeds])


def _class_values(
    metrics: Sequence[Metrics] | None, crf: bool, classes: int
) -> list[Value | None] | None:
    """One value per class, None for an absent one, and the mean; None for a system not run."""
    if metrics is None:
        return None
    kind = "crf" if crf else "raw"
    per_class = [[seed[kind]["iou"][index] for seed in metrics] for index in range(classes)]
    return [
        *(None if None in values else spread(values) for values in per_class),
        spread([seed[kind]["miou"] for seed in metrics]),
    ]


def _best_columns(values: Sequence[list[Value | None] | None]) -> dict[int, str]:
    """{column: best number as shown} among the starred rows, if at least two were run."""
    rows = [
        one
        for one, line in zip(values, paper.TABLE_1, strict=True)
        if line.starred and one is not None
    ]
    if len(rows) < 2:
        return {}
    best = {}
    for column, of_rows in enumerate(zip(*rows, strict=True)):
        if None not in of_rows:
            best[column] = f"{max(value[0] for value in of_rows):.1f}"
    return best


def _class_cells(
    values: list[Value | None] | None, classes: int, best: dict[int, str]
) -> list[Cell]:
    if values is None:
        return [cell(NOT_RUN)] * (classes + 1)
    return [
        Cell(ABSENT)
        if value is None
        else Cell(cell(value).text, bold=best.get(column) == f"{value[0]:.1f}")
        for column, value in enumerate(values)
    ]


def _printed_row(
    line: paper.ArchitectureRow, classes: Sequence[str], absent: Sequence[str]
) -> tuple[Cell, ...]:
    in_paper = dict(zip(paper.CLASSES, line.iou, strict=True))
    present = [in_paper[name] for name in classes if name not in absent]
    mean = line.mean if len(present) == len(paper.CLASSES) else fmean(present)
    return (
        Cell(f"{line.label}, paper", "label"),
        *(paper_cell(in_paper[name]) for name in classes),
        paper_cell(mean),
        Cell("", "paper"),
    )


def _caption(setting: Setting) -> str:
    return (
        f"Ours: {setting}. "
        f"Paper: {paper.DATASET}, 10,582 training and 1,449 validation images, ResNet-101."
    )


def _notes1(on_voc: bool, absent: Sequence[str], best: dict[int, str]) -> tuple[str, ...]:
    notes = []
    if best:
        notes.append("Bold: our best of a column among the scribble systems without CRF.")
    if not on_voc:
        notes.append(
            "Our classes are not the paper's, so only its mean stands beside ours: "
            "it is a mean over other classes of other images."
        )
    if absent:
        notes.append(
            f"{ABSENT}: no pixel of this class in the validation masks ({', '.join(absent)}); "
            "our mean is over the other classes"
            + (", and so is the mean in the paper's rows." if on_voc else ".")
        )
    return tuple(notes)
