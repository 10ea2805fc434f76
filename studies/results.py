"""The files of a study."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from bpg.atomic import write_json, write_rows, write_text
from bpg.report.columns import grid
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
        differences=measure_differences(
            {setting: found[setting].counts for setting in study.settings}, study.reference
        ),
        trained_with=trained_with,
    )
    table, differences = result.table(labels), result.differences_table(labels)
    for end, one in (("", table), ("_differences", differences)):
        write_rows(folder / f"{name}{end}.csv", list(one.records[0]), one.records)
    result.chart(folder / f"{name}.png", labels)
    path = folder / f"{name}.md"
    notes = "".join(f"\n{note}\n" for note in (*differences.notes, *table.notes))
    write_text(
        path,
        f"# {table.title}\n\n{table.caption}\n\n    {result.command}\n\n"
        f"{grid(table.header, table.rows)}\n\n"
        f"Differences in points of IoU, means over the seeds:\n\n"
        f"{grid(differences.header, differences.rows)}\n{notes}",
    )
    # Last: whoever finds it finds the others.
    write_json(folder / f"{name}.json", result.model_dump())
    return path
