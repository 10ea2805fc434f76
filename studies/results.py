"""The table and the chart of a study."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bpg.atomic import write_rows, write_text
from bpg.report.charts import study_chart
from pipeline.params import Switches
from studies.run import Found, Study

MEASURES = {
    "miou": "mIoU",
    "miou_crf": "with CRF",
    "boundary_iou": "Boundary IoU",
    "boundary_iou_crf": "with CRF",
    "edge_loss": "edge loss",
}


def write_study(
    folder: Path,
    name: str,
    study: Study,
    found: Mapping[str, Found],
    switches: Switches,
    extra: Sequence[str],
    labels: Mapping[str, str],
) -> Path:
    """Write NAME.csv, NAME.md and NAME.png from the results of the settings.

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
    rows = [
        {"setting": setting, "variant": variant} | dict(found[setting].metrics[variant])
        for setting in study.settings
        for variant in study.variants
    ]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    write_rows(folder / f"{name}.csv", columns, rows)
    series = {
        variant: [(row["miou"], row.get("miou_std")) for row in rows if row["variant"] == variant]
        for variant in study.variants
    }
    study_chart(folder / f"{name}.png", study.title, list(study.settings), series, labels)
    path = folder / f"{name}.md"
    write_text(path, _markdown(name, study, rows, found, switches, extra, labels))
    return path


def _markdown(
    name: str,
    study: Study,
    rows: Sequence[Mapping[str, Any]],
    found: Mapping[str, Found],
    switches: Switches,
    extra: Sequence[str],
    labels: Mapping[str, str],
) -> str:
    command = " ".join([f"python -m studies {name}", *(f"-S '{change}'" for change in extra)])
    seeds = f"seed {switches.seeds[0]}"
    if len(switches.seeds) > 1:
        listed = ", ".join(map(str, switches.seeds))
        seeds = f"seeds {listed} (mean ± sample standard deviation)"
    lines = [
        ["setting", "variant", *MEASURES.values()],
        ["---", "---", *(["---:"] * len(MEASURES))],
    ]
    for row in rows:
        label = labels[row["variant"]]
        lines.append([row["setting"], label, *(_show(row, key) for key in MEASURES)])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return (
        f"# {study.title}\n\n"
        f"Data set {switches.dataset}, recipe {switches.recipe}, {seeds}; "
        "IoU in %, edge loss as squared error per pixel against the edges of the setting.\n\n"
        f"    {command}\n\n{table}\n\n{_trained_with(found)}"
    )


def _trained_with(found: Mapping[str, Found]) -> str:
    settings: dict[str, list[str]] = {}
    for setting, one in found.items():
        for text in one.trained_with:
            settings.setdefault(text, []).append(setting)
    return "".join(f"Trained with ({', '.join(of)}): {text}.\n" for text, of in settings.items())


def _show(row: Mapping[str, Any], key: str) -> str:
    if key not in row:
        return ""
    digits = 3 if key == "edge_loss" else 1
    deviation = row.get(f"{key}_std")
    return f"{row[key]:.{digits}f}" + ("" if deviation is None else f" ± {deviation:.{digits}f}")
