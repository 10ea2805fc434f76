"""Read what the stage cost measured."""

import csv
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bpg.errors import BPGError
from bpg.options import Count, Positive

Name = Annotated[str, Field(min_length=1)]


class CostRow(BaseModel):
    """One variant's row of results/cost.csv: its cost, then the setting that all rows share.

    Counts are of one network, MACs of one image's forward pass, memory (bytes) and time (seconds)
    of a training step; ratios are relative to the variant `baseline`. See `bpg.cost`.
    """

    model_config = ConfigDict(extra="forbid")

    variant: Name
    parameters: Count
    parameters_at_test: Count
    macs: Count
    peak_memory_bytes: Count
    step_seconds: Positive
    macs_ratio: Positive
    memory_ratio: Positive
    time_ratio: Positive
    baseline: Name
    recipe: Name
    classes: Count
    crop: Count
    batch: Count
    device: Name
    hardware: Name
    torch: Name
    threads: Count
    precision: Literal["fp32", "tf32", "bf16"]


class CountRow(BaseModel):
    """The same where all rows are only counted, and nothing measured: for a user's own images."""

    model_config = ConfigDict(extra="forbid")

    variant: Name
    parameters: Count
    parameters_at_test: Count
    macs: Count
    macs_ratio: Positive
    baseline: Name
    recipe: Name
    classes: Count
    crop: Count


SETTING = (
    "baseline",
    "recipe",
    "classes",
    "crop",
    "batch",
    "device",
    "hardware",
    "torch",
    "threads",
    "precision",
)


def read_costs(path: Path) -> list[dict[str, Any]]:
    """Read results/cost.csv.

    Returns:
        One dict per variant, keys and types as in `CostRow`, or `CountRow` if nothing was measured.

    Raises:
        BPGError: Something is missing or ill-formed, a variant is listed twice, rows are of
            different settings, or the baseline has no row. The message names the file and, if there
            is one, the line and column.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file, restkey="beyond the last column", strict=True))
    except FileNotFoundError:
        raise BPGError(f"{path}: missing; run the stage cost") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BPGError(f"{path}: cannot be read as CSV ({error}); run the stage cost") from None
    if not lines:
        raise BPGError(f"{path}: no rows; run the stage cost")
    measured = lines[0].keys() & (CostRow.model_fields.keys() - CountRow.model_fields.keys())
    kind = CostRow if measured else CountRow
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=2):
        try:
            row = kind.model_validate(line).model_dump()
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise BPGError(
                f"{path}, line {number}: {place}: {first['msg']}; run the stage cost"
            ) from None
        if row["variant"] in {other["variant"] for other in rows}:
            raise BPGError(f"{path}, line {number}: {row['variant']} twice; run the stage cost")
        for key in SETTING:
            if rows and row.get(key) != rows[0].get(key):
                raise BPGError(
                    f"{path}, line {number}: {key} {row[key]}, in the rows above {rows[0][key]}; "
                    "run the stage cost"
                )
        rows.append(row)
    if rows[0]["baseline"] not in {row["variant"] for row in rows}:
        raise BPGError(f"{path}: no row for the baseline {rows[0]['baseline']}; run the stage cost")
    return rows
