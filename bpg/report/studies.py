"""What a study has found: a file that it leaves, and the table and the chart made of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bpg.errors import BPGError
from bpg.report.charts import study_chart
from bpg.report.columns import Cell, Column, Table, label, make_table, ours
from bpg.report.runs import NOT_AVAILABLE, Value

MEASURES = {
    "miou": ("mIoU", 1),
    "miou_crf": ("with CRF", 1),
    "boundary_iou": ("Boundary IoU", 1),
    "boundary_iou_crf": ("with CRF", 1),
    "edge_loss": ("edge loss", 3),
}
"""{key of results/metrics.json: (heading, decimals)}."""


class StudyRow(BaseModel):
    """One setting of one variant.

    `metrics` are those of results/metrics.json: means over the seeds and, as KEY_std, their sample
    standard deviations if there are several seeds; IoU in percent.
    """

    model_config = ConfigDict(extra="forbid")

    setting: str
    variant: str
    metrics: dict[str, float]


class StudyResult(BaseModel):
    """NAME.json of results/studies/.

    `command` makes it again; `trained_with` has the settings of each {commit, versions, hardware}.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    title: str
    command: str
    dataset: str
    recipe: str
    seeds: Annotated[list[int], Field(min_length=1)]
    rows: Annotated[list[StudyRow], Field(min_length=1)]
    trained_with: dict[str, list[str]]

    @property
    def caption(self) -> str:
        """What the numbers were made on."""
        seeds = f"seed {self.seeds[0]}"
        if len(self.seeds) > 1:
            listed = ", ".join(map(str, self.seeds))
            seeds = f"seeds {listed} (mean ± sample standard deviation)"
        return (
            f"Data set {self.dataset}, recipe {self.recipe}, {seeds}; "
            "IoU in %, edge loss as squared error per pixel against the edges of the setting."
        )

    def table(self, labels: Mapping[str, str]) -> Table:
        """Lay out the rows: settings, then the variants of each.

        Args:
            labels: {variant: its name}; one that it lacks keeps its own.
        """
        notes = [
            f"Trained with ({', '.join(settings)}): {text}."
            for text, settings in self.trained_with.items()
        ]
        columns: list[Column[StudyRow]] = [
            label("setting", "setting", lambda row: row.setting),
            Column(
                "variant",
                lambda row: Cell(labels.get(row.variant, row.variant), "label"),
                lambda row: {"variant": row.variant},
            ),
        ]
        for key, (heading, digits) in MEASURES.items():
            if any(key in row.metrics for row in self.rows):
                columns.append(_measure(heading, key, digits))
        made_on = {
            "dataset": self.dataset,
            "recipe": self.recipe,
            "seeds": " ".join(map(str, self.seeds)),
        }
        return make_table(
            f"study_{self.name}", self.title, self.caption, columns, self.rows, notes, made_on
        )

    def chart(self, path: Path, labels: Mapping[str, str]) -> str:
        """Draw mIoU by setting, a line per variant.

        Args:
            path: PNG file to write.
            labels: As for `table`.

        Returns:
            The chart as an SVG element.
        """
        settings = list(dict.fromkeys(row.setting for row in self.rows))
        series: dict[str, list[tuple[float, float | None]]] = {}
        for row in self.rows:
            mean, deviation = row.metrics["miou"], row.metrics.get("miou_std")
            series.setdefault(row.variant, []).append((mean, deviation))
        names = {name: labels.get(name, name) for name in series}
        return study_chart(path, self.title, settings, series, names)


def _measure(heading: str, key: str, digits: int) -> Column[StudyRow]:
    def value(row: StudyRow) -> Value | str:
        if key not in row.metrics:
            return NOT_AVAILABLE
        return row.metrics[key], row.metrics.get(f"{key}_std")

    return ours(heading, key, value, digits)


def read_studies(folder: Path, dataset: str, recipe: str) -> Sequence[StudyResult]:
    """Read the studies that were made on a data set with a recipe, by name.

    Args:
        folder: Of the files NAME.json.
        dataset: Name of the data set.
        recipe: Name of the recipe.

    Raises:
        BPGError: A file is no study's; the message names it.
    """
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            result = StudyResult.model_validate_json(path.read_bytes())
        except ValidationError as error:
            first: Any = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise BPGError(
                f"{path}: {place}: {first['msg']}; run python -m studies {path.stem}, or delete it"
            ) from error
        if (result.dataset, result.recipe) == (dataset, recipe):
            found.append(result)
    return found
