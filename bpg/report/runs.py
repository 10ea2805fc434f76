"""Read what the runs left behind and average it over seeds."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from pydantic import BaseModel, Field, FiniteFloat, ValidationError

from bpg.errors import BPGError
from bpg.evaluation.boundary import RADII

NOT_AVAILABLE = "n/a"
Metrics = dict[str, Any]
Runs = Mapping[str, Sequence[Metrics]]
Value = tuple[float, float | None]
"""Mean over the seeds and, where there are several, standard deviation."""


class _Scores(BaseModel):
    iou: list[FiniteFloat | None]
    miou: FiniteFloat
    pixel_accuracy: FiniteFloat
    boundary_iou: FiniteFloat | None
    trimap: list[FiniteFloat | None] = Field(min_length=RADII, max_length=RADII)


class _Metrics(BaseModel):
    """What the tables rely on; a file may hold more."""

    classes: list[str]
    variant: str
    seed: int
    edge_loss: FiniteFloat | None
    raw: _Scores
    crf: _Scores


def read_runs(
    runs: Path, variants: Sequence[str], seeds: Sequence[int]
) -> dict[str, list[Metrics]]:
    """Read runs/VARIANT/SEED/metrics.json for every variant and seed.

    Args:
        runs: The folder `runs`.
        variants: Names of the variants.
        seeds: Seeds of each variant.

    Returns:
        {variant: metrics of each seed}. Each holds what `bpg.evaluation.score` returns (percent),
        "variant", "seed" and "edge_loss" (mean squared error per pixel, or None).

    Raises:
        BPGError: `variants` or `seeds` is empty; or a file is missing, ill-formed or scored on
            other classes than the first one. The message names the file.
    """
    if not variants or not seeds:
        raise BPGError("no runs to tabulate: the lists of variants and of seeds must not be empty")
    result: dict[str, list[Metrics]] = {variant: [] for variant in variants}
    expected: list[str] | None = None
    for variant in variants:
        for seed in seeds:
            path = runs / variant / str(seed) / "metrics.json"
            metrics = _read_metrics(path, variant, seed)
            if expected is not None and metrics["classes"] != expected:
                raise BPGError(f"{path}: its classes differ from the other runs'; rerun evaluate")
            expected = metrics["classes"]
            result[variant].append(metrics)
    return result


def spread(values: Sequence[float]) -> Value:
    """Return mean and sample standard deviation (divisor n - 1), which is None for one value."""
    return fmean(values), stdev(values) if len(values) > 1 else None


def over_seeds(values: Sequence[float | None]) -> Value | str:
    """Return mean and deviation over the seeds, "n/a" if one has no value."""
    known = [value for value in values if value is not None]
    return NOT_AVAILABLE if len(known) < len(values) else spread(known)


def summarise(runs: Runs) -> dict[str, dict[str, float]]:
    """Average each variant over its seeds, for results/metrics.json.

    Returns:
        {variant: {"miou", "miou_crf", "boundary_iou", "boundary_iou_crf", "pixel_accuracy",
        "pixel_accuracy_crf"}} in percent, two decimals; with several seeds also "miou_std",
        "miou_crf_std", "boundary_iou_std" and "boundary_iou_crf_std" (n - 1); "edge_loss" and, with
        several seeds, "edge_loss_std", four decimals. A boundary IoU or edge loss that a run does
        not have is left out.
    """
    summary: dict[str, dict[str, float]] = {}
    for variant, seeds in runs.items():
        numbers: dict[str, float] = {}
        for key in ("miou", "boundary_iou", "pixel_accuracy"):
            for suffix, kind in (("", "raw"), ("_crf", "crf")):
                values = [metrics[kind][key] for metrics in seeds]
                if None in values:
                    continue
                mean, deviation = spread(values)
                numbers[key + suffix] = round(mean, 2)
                if key != "pixel_accuracy" and deviation is not None:
                    numbers[f"{key}{suffix}_std"] = round(deviation, 2)
        edge_losses = [metrics["edge_loss"] for metrics in seeds]
        if None not in edge_losses:
            mean, deviation = spread(edge_losses)
            numbers["edge_loss"] = round(mean, 4)
            if deviation is not None:
                numbers["edge_loss_std"] = round(deviation, 4)
        summary[variant] = numbers
    return summary


def class_iou_rows(runs: Runs, kind: str) -> dict[str, list[dict[str, Any]]]:
    """Return IoU by class for `dvc plots`.

    Args:
        runs: What `read_runs` returns.
        kind: "raw" or "crf".

    Returns:
        {variant: rows "class", "iou"} (percent, seed mean); absent classes are left out.
    """
    return {
        variant: [
            {"class": name, "iou": round(fmean(values), 2)}
            for index, name in enumerate(seeds[0]["classes"])
            if None not in (values := [metrics[kind]["iou"][index] for metrics in seeds])
        ]
        for variant, seeds in runs.items()
    }


def trimap_rows(runs: Runs, kind: str) -> dict[str, list[dict[str, Any]]]:
    """Return mIoU near the true boundaries by radius for `dvc plots`.

    Args:
        runs: What `read_runs` returns.
        kind: "raw" or "crf".

    Returns:
        {variant: rows "radius", "miou"} (pixels; percent, seed mean).
    """
    return {
        variant: [
            {"radius": radius, "miou": round(fmean(values), 2)}
            for radius, values in enumerate(
                zip(*(metrics[kind]["trimap"] for metrics in seeds), strict=True), start=1
            )
            if None not in values
        ]
        for variant, seeds in runs.items()
    }


def gather_curves(
    runs: Path, variants: Sequence[str], seeds: Sequence[int]
) -> list[dict[str, Any]]:
    """Join DVCLive's training curves into rows.

    Reads runs/VARIANT/SEED/curves/plots/metrics/train/METRIC.tsv.

    Args:
        runs: The folder `runs`.
        variants: Names of the variants.
        seeds: Seeds of each variant.

    Returns:
        One row per variant, seed and step, one column per metric. Every row has every metric of any
        run, None if its own run does not have it.

    Raises:
        BPGError: A run has no curves, or a file is broken; the message names it.
    """
    rows: list[dict[str, Any]] = []
    for variant in variants:
        for seed in seeds:
            folder = runs / variant / str(seed) / "curves" / "plots" / "metrics" / "train"
            for step, values in sorted(_read_curves(folder).items()):
                rows.append({"variant": variant, "seed": seed, "step": step} | values)
    names = {name for row in rows for name in row} - {"variant", "seed", "step"}
    columns = ["variant", "seed", "step", *sorted(names, key=lambda name: (name != "loss", name))]
    return [{column: row.get(column) for column in columns} for row in rows]


def mean_curves(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Average training curves over the seeds.

    Args:
        rows: What `gather_curves` returns.

    Returns:
        {variant: rows by step}. A metric that a variant does not have is left out of its rows; one
        that it lacks at a step is None there.
    """
    groups: dict[str, dict[int, list[Mapping[str, Any]]]] = {}
    for row in rows:
        groups.setdefault(row["variant"], {}).setdefault(row["step"], []).append(row)
    metrics = [name for name in rows[0] if name not in ("variant", "seed", "step")]
    curves = {}
    for variant, steps in groups.items():
        own = [
            n
            for n in metrics
            if any(row[n] is not None for group in steps.values() for row in group)
        ]
        curves[variant] = [
            {"step": step} | {name: _mean(row[name] for row in group) for name in own}
            for step, group in sorted(steps.items())
        ]
    return curves


def _mean(values: Iterable[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return fmean(present) if present else None


def _read_metrics(path: Path, variant: str, seed: int) -> Metrics:
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
        checked = _Metrics.model_validate(metrics)
    except FileNotFoundError:
        raise BPGError(f"{path}: missing; run the stage evaluate for {variant}, {seed}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "top level"
        raise BPGError(f"{path}: {place}: {first['msg']}; rerun evaluate") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BPGError(f"{path}: cannot be read as JSON ({error})") from None
    if (checked.variant, checked.seed) != (variant, seed):
        raise BPGError(f"{path}: made by {checked.variant}, {checked.seed}; rerun evaluate")
    if {len(checked.raw.iou), len(checked.crf.iou)} != {len(checked.classes)}:
        raise BPGError(f"{path}: not one IoU per class; rerun evaluate")
    return metrics


def _read_curves(folder: Path) -> dict[int, dict[str, float]]:
    """Return {step: {metric: value}} of one run."""
    steps: dict[int, dict[str, float]] = {}
    for path in sorted(folder.glob("*.tsv")):
        try:
            with path.open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file, delimiter="\t"))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise BPGError(f"{path}: cannot be read as a table ({error}); train it again") from None
        for number, row in enumerate(rows, start=2):
            try:
                step, value = int(row["step"]), float(row[path.stem])
            except (KeyError, TypeError, ValueError):
                raise BPGError(f"{path}, line {number}: expected step and value") from None
            steps.setdefault(step, {})[path.stem] = value
    if not steps:
        raise BPGError(f"{folder}: no training curve (*.tsv) with values; train this run again")
    return steps
