"""The files of a study."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from bpg.atomic import write_json, write_rows, write_text
from bpg.report.columns import Table, grid
from bpg.report.studies import StudyResult, StudyRow, measure_differences
from pipeline.params import Switches
from studies.run import Found, Study


def write_study(
    folder: Path,
    name: str,
    study: Study,
    found: Mapping[str, Found],
    switches: Switches,
    extra: Sequence[str],
    labels: Mapping[str, str],
) -> Path:
    """Write NAME.csv, NAME_differences.csv, NAME.md, NAME.png and, for the page, NAME.json.

    Without anything to compare there is no NAME_differences.csv.

    Args:
        folder: Where to write them.
        name: NAME of the study.
        study: Its settings and variants.
        found: {setting: its results}.
        switches: What the settings were run with.
        extra: Further `-S` arguments they were run with, KEY=VALUE each.
        labels: {variant: its name in table and chart}.

    Returns:
        Path of the table, NAME.md.
    """
    trained_with: dict[str, list[str]] = {}
    for setting, one in found.items():
        for text in one.trained_with:
            trained_with.setdefault(text, []).append(setting)
    result = StudyResult(
        name=name,
        title=study.title,
        command=" ".join([f"python -m studies {name}", *(f"-S '{one}'" for one in extra)]),
        dataset=switches.dataset,
        recipe=switches.recipe,
        seeds=list(switches.seeds),
        rows=[
            StudyRow(setting=setting, variant=variant, metrics=found[setting].metrics[variant])
            for setting in study.settings
            for variant in study.variants
        ],
        reference=study.reference,
        differences=measure_differences(
            {setting: found[setting].counts for setting in study.settings}, study.reference
        ),
        trained_with=trained_with,
    )
    table = result.table(labels)
    write_rows(folder / f"{name}.csv", list(table.records[0]), table.records)
    text = f"# {table.title}\n\n{table.caption}\n\n    {result.command}\n\n{_grid(table)}"
    if result.differences:
        differences = result.differences_table(labels)
        rows = differences.records
        write_rows(folder / f"{name}_differences.csv", list(rows[0]), rows)
        text += f"\nDifferences in points of IoU:\n\n{_grid(differences)}{_notes(differences)}"
    result.chart(folder / f"{name}.png", labels)
    path = folder / f"{name}.md"
    write_text(path, text + _notes(table))
    # Last: whoever finds it finds the others.
    write_json(folder / f"{name}.json", result.model_dump())
    return path


def _grid(table: Table) -> str:
    return f"{grid(table.header, table.rows)}\n"


def _notes(table: Table) -> str:
    return "".join(f"\n{note}\n" for note in table.notes)
