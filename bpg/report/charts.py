"""The charts of the page, drawn from the pipeline's own results; equal input gives equal bytes.

Each is written as a PNG and returned as SVG to be part of a page, whose ink and ground it has. A
variant has the same colour and line style in every chart.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import chain
from pathlib import Path
from statistics import fmean
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bpg.atomic import whole_file
from bpg.evaluation.bootstrap import Difference
from bpg.report.runs import Runs, mean_curves, spread

# Okabe and Ito, "Color Universal Design", 2008: colour-blind readers can tell them apart. Without
# their yellow, which is too light for a line on white.
COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#D55E00", "#CC79A7", "#0072B2")
FILLS = ("full", "none", "left", "right")
DASHES, MARKERS = ("-", "--", ":", "-."), "oDsv^PX"
OURS = "#0072B2"
DIAMOND: dict[str, Any] = {
    "color": "#777777",
    "linestyle": "none",
    "marker": "D",
    "markersize": 8,
    "markerfacecolor": "none",
    "markeredgewidth": 1.6,
}
mpl.rcParams["text.parse_math"] = False  # the names of classes and variants are no formulas
KINDS = {"raw": "without CRF", "crf": "with CRF"}


@dataclass(frozen=True)
class Bar:
    """A difference between two systems, in percentage points.

    `printed` is the paper's difference, None if it has none.
    """

    label: str
    found: Difference
    printed: float | None = None


def bar_chart(path: Path, runs: Runs, labels: Mapping[str, str]) -> str:
    """Draw a bar chart of mIoU per variant, before and after the CRF.

    With several seeds, error bars extend one standard deviation to each side.

    Args:
        path: PNG file to write.
        runs: What `bpg.report.runs.read_runs` returns.
        labels: {variant: its name in the chart}.
    """
    figure = Figure(figsize=(8, 0.62 * len(runs) + 1.3), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(runs))
    for shift, kind, colour in ((-0.2, "raw", "#4477aa"), (0.2, "crf", "#ccbb44")):
        values = [spread([seed[kind]["miou"] for seed in seeds]) for seeds in runs.values()]
        means = [mean for mean, _ in values]
        errors = [deviation or 0.0 for _, deviation in values]
        axes.barh(places + shift, means, 0.38, label=KINDS[kind], color=colour)
        if any(errors):
            axes.errorbar(
                means, places + shift, xerr=errors, fmt="none", ecolor="#333333", capsize=3
            )
        for place, mean, error in zip(places + shift, means, errors, strict=True):
            axes.text(mean + error + 0.6, place, f"{mean:.1f}", va="center", fontsize=9)
    axes.set_yticks(places, [labels.get(variant, variant) for variant in runs])
    axes.invert_yaxis()
    axes.set_xlabel("mIoU in %")
    axes.margins(x=0.1)
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside upper right", ncols=2, frameon=False
    )
    _plain(axes)
    axes.grid(visible=False, axis="y")
    return _save(figure, path)


def curve_chart(path: Path, rows: Sequence[Mapping[str, Any]], labels: Mapping[str, str]) -> str:
    """Draw the training curves: a panel per metric, a line per variant (seed mean).

    Args:
        path: PNG file to write.
        rows: What `bpg.report.runs.gather_curves` returns, where a step is an epoch.
        labels: {variant: its name in the legend}.
    """
    metrics = [name for name in rows[0] if name not in ("variant", "seed", "step")]
    curves = mean_curves(rows)
    styles = _styles(curves, labels)
    across = 2 if len(metrics) == 4 else min(3, len(metrics))
    down = -(-len(metrics) // across)
    figure = Figure(figsize=(4 * across, 2.9 * down + 0.5), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).flat
    for metric, axes in zip(metrics, panels, strict=False):
        for variant, points in curves.items():
            there = [row for row in points if row.get(metric) is not None]
            if there:
                steps, values = zip(*((row["step"], row[metric]) for row in there), strict=True)
                axes.plot(steps, values, **styles[variant])
        axes.set_title(metric, fontsize=10)
        axes.set_xlabel("epoch", fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylim(bottom=0)
        _plain(axes)
    for axes in panels:
        axes.set_visible(False)
    _variant_legend(figure, styles, labels, 2 * across)
    return _save(figure, path)


def trimap_chart(path: Path, runs: Runs, labels: Mapping[str, str]) -> str:
    """Draw mIoU near the true boundaries by width of the band, without and with CRF.

    A line per variant (seed mean). A width that is None in any seed is left out.

    Args:
        path: PNG file to write.
        runs: As for `bar_chart`. Each seed's ["raw"]["trimap"] and ["crf"]["trimap"] list the
            percent in bands of 1, 2, ... pixels.
        labels: {variant: its name in the legend}.
    """
    styles = _styles(runs, labels)
    figure = Figure(figsize=(9, 3.9), layout="constrained")
    for axes, (kind, title) in zip(figure.subplots(1, 2, sharey=True), KINDS.items(), strict=True):
        for variant, seeds in runs.items():
            by_width = enumerate(zip(*(seed[kind]["trimap"] for seed in seeds), strict=True), 1)
            points = [(width, fmean(values)) for width, values in by_width if None not in values]
            axes.plot([x for x, _ in points], [y for _, y in points], **styles[variant])
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("width of the band around the true boundary in pixels", fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _plain(axes)
        if kind == "raw":
            axes.set_ylabel("mIoU in the band in %")
    _variant_legend(figure, styles, labels, 6)
    return _save(figure, path)


def class_chart(path: Path, runs: Runs, labels: Mapping[str, str]) -> str:
    """Draw each class's IoU without CRF: a row per class, a point per variant (seed mean).

    Args:
        path: PNG file to write.
        runs: As for `bar_chart`. A class that is absent in any seed has no point, one
            without any point no row.
        labels: {variant: its name in the legend}.
    """
    styles = _styles(runs, labels, marked=True)
    for style in styles.values():
        style["linestyle"] = "none"
    classes = next(iter(runs.values()))[0]["classes"]
    means = {
        variant: [
            None if None in values else fmean(values)
            for values in zip(*(seed["raw"]["iou"] for seed in seeds), strict=True)
        ]
        for variant, seeds in runs.items()
    }
    present = [
        number for number, ious in enumerate(zip(*means.values(), strict=True)) if {*ious} != {None}
    ]
    figure = Figure(figsize=(8, 0.34 * len(present) + 1.5), layout="constrained")
    axes = figure.subplots()
    for variant, ious in means.items():
        rows = enumerate(ious[number] for number in present)
        points = [(iou, row) for row, iou in rows if iou is not None]
        axes.plot([x for x, _ in points], [y for _, y in points], **styles[variant])
    axes.set_yticks(range(len(present)), [classes[number] for number in present])
    axes.set_ylim(len(present) - 0.5, -0.5)
    axes.set_xlabel("IoU in %", fontsize=9)
    _plain(axes)
    _variant_legend(figure, styles, labels, 3)
    return _save(figure, path)


def cost_chart(path: Path, points: Mapping[str, tuple[float, float]], ours: Iterable[str]) -> str:
    """Draw mIoU against the time of a training step, a point for each system.

    Args:
        path: PNG file to write.
        points: {name of the system: (time of a step over the baseline's, mIoU in percent)}.
        ours: Names of the systems that are emphasised.
    """
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.subplots()
    emphasised = set(ours)
    for name, (x, y) in points.items():
        ours_too = name in emphasised
        axes.plot(x, y, "o", color=OURS if ours_too else "#777777", markersize=7 if ours_too else 5)
    axes.set_xlabel("time of a training step, the baseline's = 1", fontsize=9)
    axes.set_ylabel("mIoU in %", fontsize=9)
    axes.margins(x=0.18, y=0.1)
    _plain(axes)
    figure.draw_without_rendering()  # from here on, where points are is known
    at = axes.transData.transform([*points.values()])
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in at.tolist()]
    for name, place in sorted(points.items(), key=lambda item: item[1]):
        (x, y), width = axes.transData.transform(place), _LETTER * len(name)
        # Beside the point, or above or below it: where no other name is, if there is such a place.
        sides = {
            (7, -3, "left"): (x + 7, y - 5, x + 7 + width, y + 8),
            (-7, -3, "right"): (x - 7 - width, y - 5, x - 7, y + 8),
            (0, 7, "center"): (x - width / 2, y + 5, x + width / 2, y + 18),
            (0, -14, "center"): (x - width / 2, y - 18, x + width / 2, y - 5),
        }
        across, up, side = min(sides, key=lambda one: _overlaps(sides[one], taken))
        taken.append(sides[across, up, side])
        axes.annotate(
            name,
            place,
            (across, up),
            textcoords="offset points",
            ha=side,
            fontsize=8,
            color=OURS if name in emphasised else "#777777",
        )
    return _save(figure, path)


_LETTER = 6.6  # pixels of the name of a point, at matplotlib's usual 100 per inch


def _overlaps(
    box: tuple[float, float, float, float], others: Iterable[tuple[float, float, float, float]]
) -> int:
    left, low, right, high = box
    return sum(left < r and le < right and low < h and lo < high for le, lo, r, h in others)


def difference_chart(path: Path, groups: Mapping[str, Sequence[Bar]]) -> str:
    """Draw differences with their 95 % intervals, a panel per group.

    The panels share a line per label, in order of first appearance. The paper's differences are
    hollow diamonds.

    Args:
        path: PNG file to write.
        groups: {title of the panel: its differences}; labels differ within a group.
    """
    labels = list(dict.fromkeys(row.label for row in chain(*groups.values())))
    size = (2.4 + 3.6 * len(groups), 0.5 * len(labels) + 1.6)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(groups), sharey=True, squeeze=False).flat
    for axes, (title, rows) in zip(panels, groups.items(), strict=True):
        axes.axvline(0, color="#333333", linewidth=1, zorder=1)
        for row in rows:
            place = labels.index(row.label)
            if row.printed is not None:
                axes.plot(row.printed, place, zorder=3, **DIAMOND)
            ends = [row.found.low, row.found.high]
            axes.plot(ends, [place, place], color=OURS, linewidth=2)
            axes.plot(row.found.value, place, "o", color=OURS, markersize=7)
            axes.annotate(
                f"{row.found.value:+.1f}".replace("-", "−"),
                (row.found.value, place),
                (0, 9),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
            )
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("difference in percentage points", fontsize=9)
        axes.margins(x=0.08)
        _plain(axes)
        axes.grid(visible=False, axis="y")
    figure.axes[0].set_yticks(range(len(labels)), labels)
    figure.axes[0].set_ylim(len(labels) - 0.5, -0.7)
    handles = [Line2D([], [], color=OURS, linewidth=2, marker="o", markersize=7)]
    names = ["ours, with its 95 % interval"]
    if any(row.printed is not None for row in chain(*groups.values())):
        handles.append(Line2D([], [], **DIAMOND))
        names.append("the paper's difference")
    figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return _save(figure, path)


def study_chart(
    path: Path,
    title: str,
    settings: Sequence[str],
    series: Mapping[str, Sequence[tuple[float, float | None]]],
    labels: Mapping[str, str],
) -> str:
    """Draw an ablation: mIoU by setting, a line per variant.

    Error bars extend one standard deviation to each side.

    Args:
        path: PNG file to write.
        title: Above the chart.
        settings: Names of the settings, in the order of the axis.
        series: {variant: (mean, standard deviation or None) of each setting}, in percent.
        labels: {variant: its name in the legend}.
    """
    styles = _styles(series, labels, marked=True)
    longest = max(map(len, settings))
    width = max(5.5, len(settings) * max(0.9, 0.1 * longest) + 1.2)
    figure = Figure(figsize=(width, 3.9), layout="constrained")
    axes = figure.subplots()
    for index, (variant, points) in enumerate(series.items()):
        # Side by side, so that error bars do not cover each other.
        shift = 0.06 * (index - (len(series) - 1) / 2)
        places = [place + shift for place in range(len(settings))]
        means = [mean for mean, _ in points]
        errors = [deviation or 0.0 for _, deviation in points]
        if any(errors):
            colour = styles[variant]["color"]
            axes.errorbar(places, means, yerr=errors, fmt="none", ecolor=colour, capsize=3)
        axes.plot(places, means, **styles[variant])
    axes.set_xticks(range(len(settings)), settings)
    axes.set_xlim(-0.4, len(settings) - 0.6)
    axes.set_title(fill(title, int(11 * width)), fontsize=10)
    axes.set_ylabel("mIoU in %")
    _plain(axes)
    _variant_legend(figure, styles, labels, 3)
    return _save(figure, path)


def _styles(
    variants: Iterable[str], labels: Mapping[str, str], *, marked: bool = False
) -> dict[str, dict[str, Any]]:
    """Return {variant: arguments of Line2D}.

    Colours follow the order in `labels`; names that it lacks come after.
    """
    variants = list(variants)
    order = [*labels, *(variant for variant in variants if variant not in labels)]
    styles = {}
    for variant in variants:
        turn, index = divmod(order.index(variant), len(COLOURS))
        style: dict[str, Any] = {
            "color": COLOURS[index],
            "linestyle": DASHES[turn % len(DASHES)],
            "linewidth": 1.6,
        }
        if marked:
            style |= {
                "marker": MARKERS[index],
                "markersize": 6,
                "fillstyle": FILLS[turn % len(FILLS)],
            }
        styles[variant] = style
    return styles


def _variant_legend(
    figure: Figure,
    styles: Mapping[str, Mapping[str, Any]],
    labels: Mapping[str, str],
    across: int,
) -> None:
    """Name the lines below the panels, `across` per row."""
    handles = [Line2D([], [], **style) for style in styles.values()]
    names = [labels.get(variant, variant) for variant in styles]
    columns = min(across, len(names))
    figure.legend(
        handles, names, loc="outside lower center", ncols=columns, frameon=False, fontsize=9
    )


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)


def _save(figure: Figure, path: Path) -> str:
    # Software holds matplotlib's version, which would change the bytes and not the image.
    with whole_file(path) as partial:
        figure.savefig(partial, format="png", dpi=130, metadata={"Software": None})
    return _svg(figure, path.stem)


def _svg(figure: Figure, name: str) -> str:
    """Return the figure as an SVG element without size, whose ids begin with its name."""
    drawn = StringIO()
    # Letters as text, in the page's font; ids that follow from the content.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None})
    text = drawn.getvalue()
    text = text[text.index("<svg") :]
    for part in ("metadata", "style"):  # a style would be the whole page's
        text = re.sub(rf"<{part}\b.*?</{part}>\s*", "", text, flags=re.DOTALL)
    width = round(4 / 3 * float(figure.get_figwidth()) * 72)
    text = re.sub(
        r'(<svg[^>]*?) width="[^"]*"| height="[\d.]+pt"',
        lambda match: match[1] or "",
        text,
        count=2,
    )
    text = text.replace("<svg ", f'<svg style="max-width: {width}px" ', 1)

    def of_page(tag: re.Match[str]) -> str:
        own = re.sub(r'\bid="', f'id="{name}-', tag[0])
        own = re.sub(r'url\(#|href="#', lambda match: f"{match[0]}{name}-", own)
        own = own.replace("fill: #ffffff", "fill: var(--ground)")
        return re.sub("#(000000|333333)", "currentColor", own)

    return re.sub("<[^>]+>", of_page, text)  # not what it says
