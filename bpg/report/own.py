"""Results on a user's own images: their numbers alone, nothing of the paper's."""

from collections.abc import Sequence
from typing import NamedTuple

from bpg.evaluation.comparison import System
from bpg.evaluation.score import KINDS, Kind
from bpg.report.columns import (
    EXCLUDES,
    INTERVAL,
    Cell,
    Column,
    Table,
    cell,
    difference,
    field,
    grid,
    label,
    make_table,
    ours,
    record,
    score_interval,
)
from bpg.report.ranking import Ranked
from bpg.report.runs import Metrics, Runs, Value, over_seeds, spread
from bpg.report.setting import Setting

ABSENT = "absent"
FILES = ("table1", "table2", "table3", "ranking", "gains", "claims", "boundaries")
"""The tables that are written for every data set, because DVC expects their files."""


def results_table(ranked: Sequence[Ranked], runs: Runs, setting: Setting) -> Table:
    """Return each variant's mIoU with its interval and, if there are several, their differences.

    Args:
        ranked: What `bpg.report.ranking.rank` returns.
        runs: What `bpg.report.runs.read_runs` returns.
        setting: What the numbers were made on.
    """

    def mean(heading: str, key: str, kind: Kind, measure: str) -> Column[Ranked]:
        return ours(
            heading,
            key,
            lambda one: over_seeds([seed[kind][measure] for seed in runs[one.variant]]),
        )

    def ends(kind: Kind, key: str) -> Column[Ranked]:
        return Column(
            INTERVAL,
            lambda one: Cell(score_interval(one.scores[kind])),
            lambda one: {
                f"{key}_low": f"{one.scores[kind].low:.2f}",
                f"{key}_high": f"{one.scores[kind].high:.2f}",
            },
        )

    columns: list[Column[Ranked]] = [
        label("trained", "system", lambda one: setting.label(one.variant)),
        field("variant", lambda one: one.variant),
        mean("mIoU", "miou", "raw", "miou"),
        ends("raw", "miou"),
        mean("with CRF", "miou_crf", "crf", "miou"),
        ends("crf", "miou_crf"),
    ]
    if setting.truth == "masks":
        columns.append(mean("Boundary IoU", "boundary_iou", "raw", "boundary_iou"))
    notes = [setting.intervals()]
    if len(ranked) > 1:
        reference = setting.label(ranked[0].reference)
        columns += difference(
            f"mIoU − {reference}'s", "raw", lambda one: one.differences.get("raw")
        )
        notes.append(
            f'"no" under "{EXCLUDES}": these images do not tell which of the two is better.'
        )
    return make_table(
        "ranking",
        f"How well your images are segmented: mIoU in %, on {setting.truth}",
        f"{setting.whose}: {setting}.",
        columns,
        ranked,
        notes,
        setting.columns(),
    )


class _Predictions(NamedTuple):
    system: System
    scores: list[Metrics]  # seed by seed


def class_table(runs: Runs, setting: Setting) -> Table:
    """Return every variant's IoU of each class, raw and with CRF."""
    classes = next(iter(runs.values()))[0]["classes"]
    absent = [
        name
        for index, name in enumerate(classes)
        if any(seed["raw"]["iou"][index] is None for seeds in runs.values() for seed in seeds)
    ]

    def column(index: int, name: str) -> Column[_Predictions]:
        def value(one: _Predictions) -> Value | str:
            values = [seed["iou"][index] for seed in one.scores]
            return ABSENT if None in values else spread(values)

        def show(one: _Predictions) -> Cell:
            return Cell("–") if value(one) == ABSENT else cell(value(one))

        return Column(name, show, lambda one: record(f"iou_{name}", value(one), 2))

    columns: list[Column[_Predictions]] = [
        label("trained", "system", lambda one: setting.label(one.system)),
        field("variant", lambda one: one.system.variant),
        field("crf", lambda one: int(one.system.kind == "crf")),
        *(column(index, name) for index, name in enumerate(classes)),
        ours("mean", "iou_mean", lambda one: spread([seed["miou"] for seed in one.scores])),
    ]
    what = "no pixel of this class in the masks" if setting.truth == "masks" else "no stroke"
    return make_table(
        "table1",
        "Class by class: IoU in %",
        f"{setting.whose}: {setting}.",
        columns,
        [
            _Predictions(System(variant, kind), [seed[kind] for seed in seeds])
            for variant, seeds in runs.items()
            for kind in KINDS
        ],
        [f"–: {what} to score on ({', '.join(absent)}); the mean is over the others."]
        * bool(absent),
        setting.columns(),
    )


def left_out(made: Sequence[Table]) -> list[Table]:
    """Return a table that says so for each of `FILES` that is not made.

    Args:
        made: The tables that are made.
    """
    names = {table.name for table in made}
    columns: list[Column[str]] = [label("system", "system", str)]
    caption = "Not made for images of your own: it is about the paper's numbers, or needs masks."
    return [make_table(name, name, caption, columns, [], ()) for name in FILES if name not in names]


def own_summary(tables: Sequence[Table], setting: Setting) -> str:
    """Return results/summary.md for a user's own images.

    Args:
        tables: `results_table` and `class_table`, and others, which are not shown.
        setting: What the numbers were made on.
    """
    shown = [table for table in tables if table.name in ("ranking", "table1")]
    parts = [
        f"{table.title}\n\n{grid(table.header, table.rows)}\n\n" + "\n\n".join(table.notes)
        for table in shown
    ]
    return (
        f"# Results on your images\n\n{setting.whose}: {setting}.\n\n"
        + "".join(f"## {part.rstrip()}\n\n" for part in parts)
        + "Where to draw next: draw_next/draw_next.csv. Examples and all else: report/index.html.\n"
    )
