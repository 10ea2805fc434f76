"""Tables 1, 2 and 3 of the paper: our numbers beside the printed ones.

A system that was not run is marked "not run"; nothing stands in for its numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from bpg.atomic import write_text
from bpg.report import paper
from bpg.report.runs import Metrics, Runs, spread, write_rows
from bpg.variants import VARIANTS

NOT_RUN = "not run"
NOT_AVAILABLE = "n/a"
ABSENT = "–"

Value = tuple[
    float, float | None
]  # mean over the seeds and standard deviation, if there are several


@dataclass(frozen=True)
class Setting:
    """What our numbers were made on; every table states it."""

    dataset: str
    train_images: int
    val_images: int
    recipe: str
    seeds: tuple[int, ...]
    boundary_weight: float = 1.0
    edges: str = "hed"
    budgets: Mapping[str, str] = field(default_factory=dict)  # {variant: its epochs, "8 + 8"}

    def __str__(self) -> str:
        several = len(self.seeds) > 1
        return (
            f"data set {self.dataset} ({self.train_images:,} training and {self.val_images:,} "
            f"validation images), recipe {self.recipe}, lambda {self.boundary_weight:g}, "
            f"edges {self.edges}, "
            f"seed{'s' if several else ''} {', '.join(map(str, self.seeds))}"
            + (" (mean ± sample standard deviation)" if several else "")
        )

    def columns(self) -> dict[str, Any]:
        """The same as columns of a CSV file."""
        return {
            "dataset": self.dataset,
            "train_images": self.train_images,
            "val_images": self.val_images,
            "recipe": self.recipe,
            "lambda": self.boundary_weight,
            "edges": self.edges,
            "seeds": " ".join(map(str, self.seeds)),
        }


@dataclass(frozen=True)
class Cell:
    """What one field of a table shows; `kind` lets a page tell ours from the rest."""

    text: str
    kind: Literal["label", "ours", "paper", "not-run"] = "ours"
    bold: bool = False


@dataclass(frozen=True)
class Table:
    """A table to read (`header`, `rows`) and the same, complete, to compute with (`records`).

    `name` is that of its files.
    """

    name: str
    title: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...]
    records: tuple[dict[str, Any], ...]


def table1(runs: Runs, setting: Setting) -> Table:
    """IoU per class and mean of the seven systems of Table 1, in percent.

    Where all of our classes are VOC's, each row of ours is followed by the paper's; elsewhere
    only the paper's mean stands beside ours. The best of a column among the scribble systems
    without CRF is bold, as in the paper.
    """
    classes = next(iter(runs.values()))[0]["classes"]
    ours = [_class_values(runs.get(line.variant), line.crf, len(classes)) for line in paper.TABLE_1]
    best = _best_columns(ours)
    run = [values for values in ours if values is not None]
    absent = [name for index, name in enumerate(classes) if any(v[index] is None for v in run)]
    on_voc = set(classes) <= set(paper.CLASSES)

    rows, records = [], []
    for values, line in zip(ours, paper.TABLE_1, strict=True):
        printed = dict(zip(paper.CLASSES, line.iou, strict=True)) if on_voc else {}
        printed["mean"] = line.mean
        rows.append(
            (
                Cell(line.label, "label"),
                *_class_cells(values, len(classes), best if line.starred else {}),
                _paper_cell(line.mean),
            )
        )
        if on_voc:
            rows.append(_printed_row(line, classes, absent))
        for index, name in enumerate([*classes, "mean"]):
            value = NOT_RUN if values is None else values[index]
            records.append(
                {"system": line.label, "variant": line.variant, "crf": int(line.crf), "class": name}
                | record("iou", "absent" if value is None else value, digits=2)
                | {"paper_iou": printed.get(name)}
                | setting.columns()
            )
    return Table(
        "table1",
        "Table 1. Network architectures, IoU per class in %",
        _caption(setting),
        ("system", *classes, "mean", "paper's mean"),
        tuple(rows),
        _notes1(on_voc, absent, best, any(values is None for values in ours)),
        tuple(records),
    )


def table2(runs: Runs, setting: Setting) -> Table:
    """mIoU (percent, no CRF) and edge loss of the settings of the BRN."""
    rows, records = [], []
    for line in paper.TABLE_2:
        metrics = runs.get(line.variant)
        miou = _values(metrics, "raw")
        # Without a BRN there is no edge loss to measure, whether the system was run or not.
        edge_loss = NOT_AVAILABLE if line.edge_loss is None else _edge_loss(metrics)
        rows.append(
            (
                Cell(line.label, "label"),
                cell(miou),
                cell(edge_loss, digits=3),
                _paper_cell(line.miou),
                _paper_cell(line.edge_loss, digits=3),
            )
        )
        records.append(
            {"system": line.label, "variant": line.variant}
            | record("miou", miou, digits=2)
            | record("edge_loss", edge_loss, digits=4)
            | {"paper_miou": line.miou, "paper_edge_loss": _or_na(line.edge_loss)}
            | setting.columns()
        )
    return Table(
        "table2",
        "Table 2. Settings of the boundary branch, mIoU in % and edge loss",
        _caption(setting),
        ("setting", "mIoU", "edge loss", "paper's mIoU", "paper's edge loss"),
        tuple(rows),
        (
            "Edge loss: squared error per pixel between the predicted and the given edge map "
            "(0..1), mean over the last training epoch. No CRF.",
            *_note_not_run(NOT_RUN in (cell.text for row in rows for cell in row)),
        ),
        tuple(records),
    )


def table3(runs: Runs, setting: Setting) -> Table:
    """mIoU of the method and its peers without and with CRF, in percent.

    The paper's rows, then the further variants that go on from the shared warm start.
    """
    rows, records = [], []
    printed = {line.variant for line in paper.TABLE_3}
    further = [
        paper.PeerRow("scribbles", VARIANTS[variant].label, variant, None, None)
        for variant in runs  # what goes on from the warm start has seen strokes alone
        if variant not in printed and VARIANTS[variant].start is not None
    ]
    for line in (*paper.TABLE_3, *further):
        raw, crf = (_values(runs.get(line.variant), kind) for kind in ("raw", "crf"))
        epochs = setting.budgets.get(line.variant, "")
        rows.append(
            (
                Cell(line.label, "label"),
                Cell(line.supervision, "label"),
                Cell(epochs),
                cell(raw),
                cell(crf),
                _paper_cell(line.miou),
                _paper_cell(line.miou_crf),
            )
        )
        records.append(
            {
                "system": line.label,
                "variant": line.variant,
                "supervision": line.supervision,
                "epochs": epochs,
            }
            | record("miou", raw, digits=2)
            | record("miou_crf", crf, digits=2)
            | {"paper_miou": _or_na(line.miou), "paper_miou_crf": _or_na(line.miou_crf)}
            | setting.columns()
        )
    return Table(
        "table3",
        "Table 3. Comparison with other methods, mIoU in %",
        _caption(setting),
        (
            "method",
            "supervision",
            "epochs",
            "wo/ CRF",
            "w/ CRF",
            "paper's wo/ CRF",
            "paper's w/ CRF",
        ),
        tuple(rows),
        (
            "All of ours: the same pictures, backbone, solver, testing and CRF. epochs: those of "
            "each training in turn, first those of the shared warm start; the same in all.",
            "The paper quotes its peers from their own papers, with other backbones (ScribbleSup: "
            "VGG16) and initial weights.",
            *_note_not_run(NOT_RUN in (cell.text for row in rows for cell in row)),
        ),
        tuple(records),
    )


def markdown(table: Table) -> str:
    """The table as GitHub Markdown, with its title, caption and notes."""
    notes = "".join(f"\n{note}\n" for note in table.notes)
    return (
        f"# {table.title}\n\n{table.caption}\n\n{grid(table.header, table.rows)}\n{notes}\n"
        "Commit, versions and hardware of the trainings: provenance.json, beside this file.\n"
    )


def grid(header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Lay out rows as GitHub Markdown, the columns aligned so that it reads well in a terminal."""
    lines = [[_escape(text) for text in header]]
    for row in rows:
        lines.append([f"**{_escape(c.text)}**" if c.bold else _escape(c.text) for c in row])
    widths = [max(2, *map(len, column)) for column in zip(*lines, strict=True)]
    labels = [rows[0][column].kind == "label" for column in range(len(widths))]
    lines.insert(
        1,
        [
            "-" * width if label else "-" * (width - 1) + ":"
            for width, label in zip(widths, labels, strict=True)
        ],
    )
    return "\n".join(
        "| "
        + " | ".join(
            text.ljust(width) if label else text.rjust(width)
            for text, width, label in zip(line, widths, labels, strict=True)
        )
        + " |"
        for line in lines
    )


def write_table(folder: Path, table: Table) -> None:
    """Write `folder`/NAME.md to read and NAME.csv to compute with.

    The CSV of Table 1 has one row per system and class; percentages have two decimals, edge losses
    four. What has no number says why: "not run", "absent" (no true pixel) or "n/a".
    """
    write_markdown(folder, table)
    write_rows(folder / f"{table.name}.csv", list(table.records[0]), table.records)


def write_markdown(folder: Path, table: Table) -> None:
    """Write `folder`/NAME.md."""
    write_text(folder / f"{table.name}.md", markdown(table))


def _values(metrics: Sequence[Metrics] | None, kind: str) -> Value | str:
    return NOT_RUN if metrics is None else spread([seed[kind]["miou"] for seed in metrics])


def _edge_loss(metrics: Sequence[Metrics] | None) -> Value | str:
    if metrics is None:
        return NOT_RUN
    losses = [seed["edge_loss"] for seed in metrics]
    return NOT_AVAILABLE if None in losses else spread(losses)


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


def _best_columns(ours: Sequence[list[Value | None] | None]) -> dict[int, str]:
    """{column: best number as shown} among the starred rows, if at least two were run."""
    rows = [
        values
        for values, line in zip(ours, paper.TABLE_1, strict=True)
        if line.starred and values is not None
    ]
    if len(rows) < 2:
        return {}
    best = {}
    for column, values in enumerate(zip(*rows, strict=True)):
        if None not in values:
            best[column] = f"{max(value[0] for value in values):.1f}"
    return best


def _class_cells(
    values: list[Value | None] | None, classes: int, best: dict[int, str]
) -> list[Cell]:
    if values is None:
        return [cell(NOT_RUN)] * (classes + 1)
    return [
        Cell(ABSENT)
        if value is None
        else Cell(_show(value), bold=best.get(column) == f"{value[0]:.1f}")
        for column, value in enumerate(values)
    ]


def _printed_row(
    line: paper.ArchitectureRow, classes: Sequence[str], absent: Sequence[str]
) -> tuple[Cell, ...]:
    printed = dict(zip(paper.CLASSES, line.iou, strict=True))
    present = [printed[name] for name in classes if name not in absent]
    mean = line.mean if len(present) == len(paper.CLASSES) else fmean(present)
    return (
        Cell(f"{line.label}, paper", "label"),
        *(_paper_cell(printed[name]) for name in classes),
        _paper_cell(mean),
        Cell("", "paper"),
    )


def cell(value: Value | str, digits: int = 1, *, signed: bool = False) -> Cell:
    """Show mean ± deviation with so many digits, or the word that stands for a missing number."""
    if value == NOT_RUN:
        return Cell(NOT_RUN, "not-run")
    return Cell(value if isinstance(value, str) else _show(value, digits, "+" if signed else ""))


def _paper_cell(value: float | None, digits: int = 1) -> Cell:
    return Cell(NOT_AVAILABLE if value is None else f"{value:.{digits}f}", "paper")


def _show(value: Value, digits: int = 1, sign: str = "") -> str:
    mean, deviation = value
    return f"{mean:{sign}.{digits}f}" + ("" if deviation is None else f" ± {deviation:.{digits}f}")


def record(name: str, value: Value | str, digits: int) -> dict[str, Any]:
    """Return the columns NAME and NAME_std of a CSV row."""
    if isinstance(value, str):
        return {name: value, f"{name}_std": ""}
    mean, deviation = value
    return {
        name: f"{mean:.{digits}f}",
        f"{name}_std": "" if deviation is None else f"{deviation:.{digits}f}",
    }


def _or_na(value: float | None) -> float | str:
    return NOT_AVAILABLE if value is None else value


def _caption(setting: Setting) -> str:
    return (
        f"Ours: {setting}. "
        f"Paper: {paper.DATASET}, 10,582 training and 1,449 validation images, ResNet-101."
    )


def _notes1(
    on_voc: bool, absent: Sequence[str], best: dict[int, str], some_not_run: bool
) -> tuple[str, ...]:
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
    return (*notes, *_note_not_run(some_not_run))


def _note_not_run(some: bool) -> tuple[str, ...]:
    return (f'"{NOT_RUN}": this system was not trained here; it has no number of ours.',) * some


def _escape(text: str) -> str:
    return text.replace("|", "\\|")
