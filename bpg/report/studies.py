"""What a study has found: a file that it leaves, and the table and the chart made of it."""

import json
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bpg.errors import BPGError
from bpg.evaluation.bootstrap import Difference
from bpg.evaluation.comparison import Counts, Measure, System, compare, measured
from bpg.evaluation.score import Kind
from bpg.report.charts import study_chart
from bpg.report.columns import Cell, Column, Table, difference, field, label, make_table, ours
from bpg.report.gains import MEASURED
from bpg.report.runs import NOT_AVAILABLE, Value
from bpg.report.setting import intervals
from bpg.strict_yaml import first_error

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


class StudyDifference(BaseModel):
    """Second minus first: two settings of one variant, or two variants of one setting.

    `first` and `second` are (setting, variant); `differences` are in points of IoU, by the keys of
    results/metrics.json.
    """

    model_config = ConfigDict(extra="forbid")

    first: tuple[str, str]
    second: tuple[str, str]
    differences: dict[str, Difference]

    def label(self, labels: Mapping[str, str]) -> str:
        """Name what changes, after what stays as it is."""
        (setting, variant), (other_setting, other) = self.first, self.second
        names = labels.get(variant, variant), labels.get(other, other)
        if variant == other:
            return f"{names[0]}: {setting} → {other_setting}"
        return f"{setting}: {names[0]} → {names[1]}"


class StudyResult(BaseModel):
    """NAME.json of results/studies/.

    `command` makes it again; `trained_with` has the settings of each {commit, versions, hardware}.
    `differences` are empty in a file of a version before they were measured, and where there was
    nothing to compare; `reference` is the setting that the others are compared to.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    title: str
    command: str
    dataset: str
    recipe: str
    seeds: Annotated[list[int], Field(min_length=1)]
    rows: Annotated[list[StudyRow], Field(min_length=1)]
    reference: str | None = None
    differences: list[StudyDifference] = []
    trained_with: dict[str, list[str]]

    @model_validator(mode="after")
    def _a_row_for_each(self) -> "StudyResult":
        rows = [(row.setting, row.variant) for row in self.rows]
        settings, variants = ({row[n]: None for row in rows} for n in (0, 1))
        if rows != list(product(settings, variants)):
            raise ValueError("rows: not one for each setting and variant, in their order")
        if any("miou" not in row.metrics for row in self.rows):
            raise ValueError("rows: one has no miou")
        return self

    @property
    def caption(self) -> str:
        """What the numbers were made on."""
        return (
            f"Data set {self.dataset}, recipe {self.recipe}, {self._seeds}; "
            "IoU in %, edge loss as squared error per pixel against the edges of the setting."
        )

    @property
    def _seeds(self) -> str:
        if len(self.seeds) == 1:
            return f"seed {self.seeds[0]}"
        return f"seeds {', '.join(map(str, self.seeds))} (mean ± sample standard deviation)"

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
        there = dict.fromkeys(key for row in self.rows for key in row.metrics)
        for key, (heading, digits) in MEASURES.items():
            if key in there:
                columns.append(_measure(heading, key, digits))
        for key in there:
            if key.removesuffix("_std") not in MEASURES:
                columns.append(_unshown(key))
        return make_table(
            f"study_{self.name}",
            self.title,
            self.caption,
            columns,
            self.rows,
            notes,
            self._made_on,
        )

    def differences_table(self, labels: Mapping[str, str]) -> Table:
        """Lay out the differences with their intervals; there must be some.

        Args:
            labels: As for `table`.
        """
        compared = {one.second[0] for one in self.differences if one.first[0] == self.reference}
        compared.add(self.reference or "")
        left_out = dict.fromkeys(one.setting for one in self.rows if one.setting not in compared)
        notes = [intervals(len(self.seeds)), "No interval is corrected for the number of rows."]
        if left_out:
            listed = ", ".join(left_out)
            notes.append(
                f"Scored on other images than {self.reference}, so not compared: {listed}."
            )
        columns: list[Column[StudyDifference]] = [
            label("from → to", "pair", lambda one: one.label(labels)),
            field("first_setting", lambda one: one.first[0]),
            field("first_variant", lambda one: one.first[1]),
            field("second_setting", lambda one: one.second[0]),
            field("second_variant", lambda one: one.second[1]),
            *(
                column
                for kind, measure, heading in MEASURED
                for column in _difference(heading, _key(kind, measure))
            ),
        ]
        return make_table(
            f"differences_{self.name}",
            f"{self.title}: differences in points of IoU",
            f"Data set {self.dataset}, recipe {self.recipe}, {self._seeds}.",
            columns,
            self.differences,
            notes,
            self._made_on,
        )

    @property
    def _made_on(self) -> dict[str, str]:
        return {
            "dataset": self.dataset,
            "recipe": self.recipe,
            "seeds": " ".join(map(str, self.seeds)),
        }

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


def measure_differences(counts: Mapping[str, Counts], reference: str) -> list[StudyDifference]:
    """Compare each setting with the reference, and in each setting the variants with the first.

    Settings that were scored on other images than the reference are not compared with it.

    Args:
        counts: {setting: counts of its variants}, in the order of the table.
        reference: The setting that the others are compared to.
    """
    variants = list(counts[reference])
    pairs = [
        ((reference, variant), (setting, variant))
        for setting in counts
        if setting != reference and _same_images(counts[setting], counts[reference])
        for variant in variants
    ]
    pairs += [
        ((setting, variants[0]), (setting, variant))
        for setting in counts
        for variant in variants[1:]
    ]
    found = []
    for first, second in pairs:
        both = {side: counts[one[0]][one[1]] for side, one in (("1", first), ("2", second))}
        differences = {
            _key(kind, measure): compare(both, System("1", kind), System("2", kind), measure)
            for kind, measure, _ in MEASURED
            if measure in measured(both)
        }
        found.append(StudyDifference(first=first, second=second, differences=differences))
    return found


def _same_images(first: Counts, second: Counts) -> bool:
    """Say whether the true pixels of each image are the same."""
    one, other = (next(iter(counts.values()))[0][..., 1, :] for counts in (first, second))
    return np.array_equal(one, other)


def _key(kind: Kind, measure: Measure) -> str:
    return measure if kind == "raw" else f"{measure}_{kind}"


def _measure(heading: str, key: str, digits: int) -> Column[StudyRow]:
    def value(row: StudyRow) -> Value | str:
        if key not in row.metrics:
            return NOT_AVAILABLE
        return row.metrics[key], row.metrics.get(f"{key}_std")

    return ours(heading, key, value, digits)


def _difference(heading: str, key: str) -> list[Column[StudyDifference]]:
    return difference(heading, key, lambda one: one.differences.get(key))


def _unshown(key: str) -> Column[StudyRow]:
    return field(key, lambda row: row.metrics.get(key, ""))


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
            if result.name != path.stem:
                raise BPGError(f"it is the study {result.name}")
        except (ValidationError, BPGError) as error:
            why = error if isinstance(error, BPGError) else first_error(error)
            raise BPGError(f"{path}: {why}; run {_command(path)}, or delete the file") from error
        if (result.dataset, result.recipe) == (dataset, recipe):
            found.append(result)
    return found


def _command(path: Path) -> str:
    """Return the command that a file says it was made with, if it says so."""
    try:
        return str(json.loads(path.read_bytes())["command"])
    except (ValueError, KeyError, TypeError):
        return f"python -m studies {path.stem}"
