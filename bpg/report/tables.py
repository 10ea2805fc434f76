"""Tables 1, 2 and 3 of the paper, our numbers beside the printed ones; boundaries; cost.

A system that was not run is marked "not run"; nothing stands in for its numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any, NamedTuple

from bpg.evaluation.comparison import System
from bpg.evaluation.score import KINDS
from bpg.report import paper
from bpg.report.columns import (
    NOT_RUN,
    Cell,
    Column,
    Table,
    cell,
    field,
    label,
    make_table,
    ours,
    paper_cell,
    printed,
    record,
)
from bpg.report.runs import NOT_AVAILABLE, Metrics, Runs, Value, over_seeds, spread
from bpg.report.setting import Setting
from bpg.variants import Variant, Variants

ABSENT = "absent"
SHOWN_RADII = (1, 3, 5, 10, 20, 40)  # pixels; of the curve's 1..40


class _System(NamedTuple):
    """A row of Table 1: a value for each class, then the mean; a word where there is no number."""

    label: str
    line: paper.ArchitectureRow
    values: Sequence[Value | str]
    printed: bool = False


def table1(runs: Runs, setting: Setting) -> Table:
    """Return Table 1: IoU per class and mean IoU of its seven systems, in percent.

    If all of our classes are VOC's, each of our rows is followed by the paper's; otherwise only the
    paper's mean stands beside ours. The best of a column among the scribble systems without CRF is
    bold, as in the paper.

    Args:
        runs: What `bpg.report.runs.read_runs` returns.
        setting: What our numbers were made on.
    """
    classes = next(iter(runs.values()))[0]["classes"]
    ours_of = [
        _System(line.label, line, _class_values(runs, line, classes)) for line in paper.TABLE_1
    ]
    absent = [
        name
        for index, name in enumerate(classes)
        if any(row.values[index] == ABSENT for row in ours_of)
    ]
    on_voc = set(classes) <= set(paper.CLASSES)
    rows = [
        row
        for system in ours_of
        for row in (system, *([_printed(system.line, classes, absent)] if on_voc else []))
    ]
    best = [_best(ours_of, index) for index in range(len(classes) + 1)]

    def column(index: int, name: str) -> Column[_System]:
        def show(row: _System) -> Cell:
            if row.printed:
                return Cell(cell(row.values[index]).text, "paper")
            shown = Cell("–") if row.values[index] == ABSENT else cell(row.values[index])
            bold = row.line.starred and _rounded(row.values[index]) == best[index]
            return replace(shown, bold=bold and best[index] is not None)

        return Column(name, show, lambda row: record(f"iou_{name}", row.values[index], 2))

    columns: list[Column[_System]] = [
        label("system", "system", lambda row: row.label),
        field("variant", lambda row: row.line.variant),
        field("crf", lambda row: int(row.line.crf)),
        field("numbers", lambda row: "paper's" if row.printed else "ours"),
        *(column(index, name) for index, name in enumerate([*classes, "mean"])),
        Column(
            "paper's mean",
            lambda row: Cell("", "paper") if row.printed else paper_cell(row.line.mean),
            lambda row: {"paper_mean": row.line.mean},
        ),
    ]
    return make_table(
        "table1",
        "Table 1. Network architectures, IoU per class in %",
        _caption(setting),
        columns,
        rows,
        _notes1(on_voc, absent, any(best)),
        setting.columns(),
    )


def _class_values(
    runs: Runs, line: paper.ArchitectureRow, classes: Sequence[str]
) -> list[Value | str]:
    if line.variant not in runs:
        return [NOT_RUN] * (len(classes) + 1)
    seeds = [seed["crf" if line.crf else "raw"] for seed in runs[line.variant]]
    per_class = [[seed["iou"][index] for seed in seeds] for index in range(len(classes))]
    return [
        *(ABSENT if None in values else spread(values) for values in per_class),
        spread([seed["miou"] for seed in seeds]),
    ]


def _printed(line: paper.ArchitectureRow, classes: Sequence[str], absent: Sequence[str]) -> _System:
    in_paper = dict(zip(paper.CLASSES, line.iou, strict=True))
    present = [in_paper[name] for name in classes if name not in absent]
    mean = line.mean if len(present) == len(paper.CLASSES) else fmean(present)
    values = [(value, None) for value in (*(in_paper[name] for name in classes), mean)]
    return _System(f"{line.label}, paper", line, values, printed=True)


def _best(rows: Sequence[_System], column: int) -> str | None:
    """Return the best number of a column, as shown, if at least two starred rows were run."""
    starred = [row.values[column] for row in rows if row.line.starred]
    shown = [_rounded(value) for value in starred if not isinstance(value, str)]
    return max(shown, key=float) if len(shown) > 1 and ABSENT not in starred else None


def _rounded(value: Value | str) -> str:
    return value if isinstance(value, str) else f"{value[0]:.1f}"


def table2(runs: Runs, setting: Setting) -> Table:
    """Return Table 2: mIoU (percent, no CRF) and edge loss of the settings of the BRN."""

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
    """Return Table 3: mIoU of the method and its peers without and with CRF, in percent.

    The paper's rows, then the further methods: the variants that are fine-tuned from the shared
    warm start, GrabCut and the random forest.

    Args:
        runs: What `bpg.report.runs.read_runs` returns.
        setting: What our numbers were made on.
        variants: All variants by name.
    """
    in_paper = {line.variant for line in paper.TABLE_3}
    further = [
        paper.PeerRow("scribbles", setting.label(name), name, None, None)
        for name in runs  # all of these have seen only strokes
        if name not in in_paper and _is_another_method(variants[name])
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
            "All of ours: the same images and CRF; all networks: the same backbone, optimizer and "
            "testing. epochs: those of each training in turn, first those of the warm "
            "start; the same sum in all. A forest has none.",
            "The paper quotes its peers from their own papers, with other backbones (ScribbleSup: "
            "VGG16) and initial weights.",
        ),
        setting.columns(),
    )


def _is_another_method(variant: Variant) -> bool:
    return (
        variant.init_from is not None
        or variant.supervision == "grabcut"
        or variant.classifier == "forest"
    )


class _Predictions(NamedTuple):
    system: System
    scores: list[Metrics]  # seed by seed


def boundary_table(runs: Runs, setting: Setting) -> Table:
    """Return Boundary IoU and mIoU near the true boundaries of every variant, raw and with CRF."""

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
        *map(near, SHOWN_RADII),
    ]
    return make_table(
        "boundaries",
        "How well the boundaries are met, in %",
        f"{setting.whose}: {setting}."
        + ("" if setting.own else " The paper measures none of this."),
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
    """Return the parameters, MACs, and memory and time of a training step of each network.

    Where nothing was measured, memory and time are left out.

    Args:
        costs: What `bpg.report.costs.read_costs` returns.
        setting: Names the variants.
    """

    def number(heading: str, key: str, text: str, unit: float = 1) -> Column[Mapping[str, Any]]:
        return Column(
            heading, lambda row: Cell(text.format(row[key] / unit)), lambda row: {key: row[key]}
        )

    made = costs[0]
    counted = [
        label("variant", "variant", lambda row: setting.label(row["variant"])),
        number("parameters", "parameters", "{:,.0f}"),
        number("at test", "parameters_at_test", "{:,.0f}"),
        number("GMACs", "macs", "{:.3g}", 1e9),
        number("to baseline", "macs_ratio", "× {:.2f}"),
    ]
    baseline = (
        f"Baseline: {setting.label(made['baseline'])}. GMACs: multiply-accumulates of "
        "convolutions and matrix products, forward pass of one image."
    )
    if "step_seconds" not in made:
        return make_table(
            "cost",
            "What each variant costs",
            f"Recipe {made['recipe']}, {made['classes']} classes, an image of "
            f"{made['crop']}×{made['crop']} pixels.",
            counted,
            costs,
            (f"{baseline} How long each training took: provenance.json.",),
        )
    threads = f"{made['threads']} thread{'s' if made['threads'] > 1 else ''}"
    return make_table(
        "cost",
        "What each variant costs",
        f"Recipe {made['recipe']}, {made['classes']} classes: a training step of {made['batch']} "
        f"crops of {made['crop']}×{made['crop']} pixels on {made['hardware']}, "
        f"{made['precision']}, {threads}, torch {made['torch']}. The paper gives no such numbers: "
        'its PRN "only imports small amount computations and GPU memories".',
        [
            *counted,
            number("peak memory, MiB", "peak_memory_bytes", "{:,.0f}", 2**20),
            number("to baseline", "memory_ratio", "× {:.2f}"),
            number("step, ms", "step_seconds", "{:,.0f}", 1e-3),
            number("to baseline", "time_ratio", "× {:.2f}"),
        ],
        costs,
        (
            f"{baseline} Peak memory: tensors "
            "during a training step. Time is the one number here that differs from run to run; "
            "beside it is the median of its ratios to the baseline's step of the same round. A "
            "step of tree energy or of ScribbleSup does work outside of it, too: SciPy's memory, "
            "and the propagation of the labels before each round (docs/peers.md). A random forest "
            "has no steps and no row; the seconds of its fit are in provenance.json, beside those "
            "of every training.",
        ),
    )


def _miou(runs: Runs, variant: str, kind: str) -> Value | str:
    seeds = runs.get(variant)
    return NOT_RUN if seeds is None else spread([seed[kind]["miou"] for seed in seeds])


def _caption(setting: Setting) -> str:
    return (
        f"Ours: {setting}. "
        f"Paper: {paper.DATASET}, 10,582 training and 1,449 validation images, ResNet-101."
    )


def _notes1(on_voc: bool, absent: Sequence[str], some_bold: bool) -> tuple[str, ...]:
    notes = []
    if some_bold:
        notes.append("Bold: our best of a column among the scribble systems without CRF.")
    if not on_voc:
        notes.append(
            "Our classes are not the paper's, so only its mean stands beside ours: "
            "it is a mean over other classes of other images."
        )
    if absent:
        notes.append(
            f"–: no pixel of this class in the validation masks ({', '.join(absent)}); "
            "our mean is over the other classes"
            + (", and so is the mean in the paper's rows." if on_voc else ".")
        )
    return tuple(notes)
