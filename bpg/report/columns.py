"""Tables by columns: each says what it shows of a row, and what the CSV file holds of it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from bpg.atomic import write_rows, write_text
from bpg.evaluation.bootstrap import Difference, Score
from bpg.report.runs import NOT_AVAILABLE, Value

NOT_RUN = "not run"
INTERVAL, EXCLUDES = "95 % interval", "excludes 0?"
"""Headings of the columns that belong to the one before them."""
EXCLUDES_0 = {1: "yes, higher", -1: "yes, lower", 0: "no"}
"""Whether an interval excludes 0, by `Difference.side`."""


@dataclass(frozen=True)
class Cell:
    """What one field of a table shows; `kind` lets a page tell our numbers from the rest.

    `below` are lines in smaller letters, on a page alone.
    """

    text: str
    kind: Literal["label", "ours", "paper", "not-run"] = "ours"
    bold: bool = False
    below: tuple[str, ...] = ()


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
    records: tuple[Mapping[str, Any], ...]


Row = TypeVar("Row")


@dataclass(frozen=True)
class Column(Generic[Row]):
    """A column's heading, what it shows of a row, and its fields in the CSV file.

    A column without a heading is in the CSV file only.
    """

    heading: str
    show: Callable[[Row], Cell]
    fields: Callable[[Row], Mapping[str, Any]]


def label(heading: str, key: str, of: Callable[[Row], str]) -> Column[Row]:
    """Return a column of text.

    Args:
        heading: Above the column.
        key: Its name in the CSV file.
        of: Text for a row.
    """
    return Column(heading, lambda row: Cell(of(row), "label"), lambda row: {key: of(row)})


def field(key: str, of: Callable[[Row], Any]) -> Column[Row]:
    """Return a column that is in the CSV file only.

    Args:
        key: Its name in the CSV file.
        of: Value for a row.
    """
    return Column("", lambda row: Cell(""), lambda row: {key: of(row)})


def ours(heading: str, key: str, of: Callable[[Row], Value | str], digits: int = 1) -> Column[Row]:
    """Return a column of our means and deviations, or of words if there is no number.

    Args:
        heading: Above the column.
        key: Its name in the CSV file.
        of: Mean and deviation for a row, or the word instead of them.
        digits: Decimals in the table; the CSV file has one more.
    """
    return Column(
        heading, lambda row: cell(of(row), digits), lambda row: record(key, of(row), digits + 1)
    )


def printed(
    heading: str, key: str, of: Callable[[Row], float | None], digits: int = 1
) -> Column[Row]:
    """Return a column of the paper's numbers.

    Args:
        heading: Above the column.
        key: Its name in the CSV file.
        of: The number for a row; None shows "n/a".
        digits: Decimals in the table.
    """

    def value(row: Row) -> float | str:
        found = of(row)
        return NOT_AVAILABLE if found is None else found

    return Column(heading, lambda row: paper_cell(of(row), digits), lambda row: {key: value(row)})


def difference(heading: str, key: str, of: Callable[[Row], Difference | None]) -> list[Column[Row]]:
    """Return three columns: a difference, its interval, and whether that excludes 0.

    Args:
        heading: Above the first column.
        key: Start of their names in the CSV file.
        of: The difference for a row; None leaves the fields empty.
    """

    def fields(row: Row) -> dict[str, str]:
        found = of(row)
        if found is None:
            return {f"{key}_{end}": "" for end in ("difference", "low", "high", "excludes_0")}
        return {
            f"{key}_difference": f"{found.value:.2f}",
            f"{key}_low": f"{found.low:.2f}",
            f"{key}_high": f"{found.high:.2f}",
            f"{key}_excludes_0": EXCLUDES_0[found.side],
        }

    def show(text: Callable[[Difference], Cell]) -> Callable[[Row], Cell]:
        return lambda row: Cell("") if (found := of(row)) is None else text(found)

    return [
        Column(heading, show(difference_cell), fields),
        Column(INTERVAL, show(lambda found: Cell(interval(found))), lambda row: {}),
        Column(EXCLUDES, show(lambda found: Cell(EXCLUDES_0[found.side])), lambda row: {}),
    ]


def make_table(
    name: str,
    title: str,
    caption: str,
    columns: Sequence[Column[Row]],
    rows: Iterable[Row],
    notes: Iterable[str],
    made_on: Mapping[str, Any] | None = None,
) -> Table:
    """Lay out rows by columns.

    If there are no rows, a single one says so.

    Args:
        name: Of the table's files.
        title: Above the table.
        caption: Below the title.
        columns: In their order; those without a heading are in the CSV file only.
        rows: What the columns are asked about.
        notes: Below the table.
        made_on: {column: value}, further columns of the CSV file.
    """
    rows = list(rows)
    shown = [column for column in columns if column.heading]
    cells = [tuple(column.show(row) for column in shown) for row in rows]
    none = (Cell("none was run", "label"), *(Cell("") for _ in shown[1:]))
    records: list[dict[str, Any]] = [{} for _ in rows] or [{"none was run": ""}]
    for row, fields in zip(rows, records, strict=False):
        for column in columns:
            fields.update(column.fields(row))
        fields.update(made_on or {})
    return Table(
        name,
        title,
        caption,
        tuple(column.heading for column in shown),
        tuple(cells) or (none,),
        (*notes, *not_run_note(cells)),
        tuple(records),
    )


def not_run_note(rows: Iterable[Sequence[Cell]]) -> tuple[str, ...]:
    """Return a note that explains "not run", if any of the rows says so."""
    some = any(cell.kind == "not-run" for row in rows for cell in row)
    return (f'"{NOT_RUN}": this system was not trained here; it has no number of ours.',) * some


def cell(value: Value | str, digits: int = 1, sign: str = "") -> Cell:
    """Show mean ± deviation, or the word that stands for a missing number.

    Args:
        value: Mean and deviation (None for no deviation), or the word.
        digits: Decimals.
        sign: Sign option of the format, such as "+".
    """
    if isinstance(value, str):
        return Cell(value, "not-run" if value == NOT_RUN else "ours")
    mean, deviation = value
    text = f"{mean:{sign}.{digits}f}"
    return Cell(text if deviation is None else f"{text} ± {deviation:.{digits}f}")


def paper_cell(value: float | None, digits: int = 1) -> Cell:
    """Show a number that the paper prints.

    Args:
        value: The number; None shows "n/a".
        digits: Decimals.
    """
    return Cell(NOT_AVAILABLE if value is None else f"{value:.{digits}f}", "paper")


def difference_cell(found: Difference) -> Cell:
    """Show a difference, with its deviation over the seeds if there are several."""
    return cell((found.value, found.std), 2, "+")


def interval(found: Difference) -> str:
    """Show the ends of an interval, in points."""
    return f"{found.low:+.2f} to {found.high:+.2f}"


def score_interval(found: Score) -> str:
    """Show the ends of a score's interval, in percent."""
    return f"{found.low:.1f} to {found.high:.1f}"


def record(name: str, value: Value | str, digits: int) -> dict[str, Any]:
    """Return the fields NAME and NAME_std of a CSV row.

    Args:
        name: Of the first column.
        value: Mean and deviation (None for no deviation), or the word that stands for them.
        digits: Decimals.
    """
    if isinstance(value, str):
        return {name: value, f"{name}_std": ""}
    mean, deviation = value
    return {
        name: f"{mean:.{digits}f}",
        f"{name}_std": "" if deviation is None else f"{deviation:.{digits}f}",
    }


def markdown(table: Table) -> str:
    """Return the table as GitHub Markdown, with its title, caption and notes."""
    notes = "".join(f"\n{note}\n" for note in table.notes)
    return (
        f"# {table.title}\n\n{table.caption}\n\n{grid(table.header, table.rows)}\n{notes}\n"
        "Commit, versions and hardware of the trainings: provenance.json, beside this file.\n"
    )


def grid(header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Lay out rows as GitHub Markdown, with aligned columns that also read well in a terminal.

    Args:
        header: Headings.
        rows: Cells by row; the first row's kinds decide how columns are aligned.
    """
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


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


def write_table(folder: Path, table: Table) -> None:
    """Write NAME.md to read and NAME.csv to compute with.

    Percentages have two decimals in the CSV, edge losses four. A field without a number says why:
    "not run", "absent" (no true pixel) or "n/a".

    Args:
        folder: Where to write them.
        table: Its name is NAME.
    """
    write_markdown(folder, table)
    write_rows(folder / f"{table.name}.csv", list(table.records[0]), table.records)


def write_markdown(folder: Path, table: Table) -> None:
    """Write NAME.md.

    Args:
        folder: Where to write it.
        table: Its name is NAME.
    """
    write_text(folder / f"{table.name}.md", markdown(table))
