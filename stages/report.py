"""Draw the figures and the page."""

from pathlib import Path
from typing import Any

from bpg.atomic import whole_directory
from bpg.data.ids import read_ids
from bpg.evaluation.comparison import MEASURES
from bpg.evaluation.score import KINDS
from bpg.report.charts import Bar, bar_chart, curve_chart, difference_chart, trimap_chart
from bpg.report.claims import pair_label
from bpg.report.draw_next import Row, draw_next_figure, draw_next_table, read_rows
from bpg.report.examples import choose_images, rule
from bpg.report.figures import figure1, figure4, figure5, figure6, propagated_figure
from bpg.report.page import Figure, write_page
from bpg.report.provenance import lines, read_records
from bpg.report.runs import Runs, gather_curves, read_runs
from pipeline.dataset import describe
from pipeline.params import Parameters
from pipeline.paths import (
    DRAW_NEXT,
    PROVENANCE,
    RESULTS,
    RUNS,
    SAMPLE_IMAGES,
    SAMPLES,
    data_layout,
    models,
    run_layout,
)
from pipeline.run_stage import run_stage
from pipeline.tables import Comparisons, compare_runs, make_setting, make_tables
from pipeline.variants import networks

ROWS = 6  # of Figures 4 and 6


def report(parameters: Parameters) -> None:
    """Write `results/report`: index.html and its images."""
    switches = parameters.switches
    runs = read_runs(RUNS, switches.variants.all, switches.seeds)
    made_with = lines(read_records(PROVENANCE, models(switches.variants.all, switches.seeds)))
    found = compare_runs(parameters, runs)
    with whole_directory(RESULTS / "report") as folder:
        figures = [*_grids(folder, parameters), *_charts(folder, parameters, runs, found)]
        tables = make_tables(parameters, runs, found)
        rows = read_rows(DRAW_NEXT / "draw_next.csv")
        tables.append(draw_next_table(rows, make_setting(parameters)))
        figures.append(_draw_next(folder, parameters, rows))
        write_page(folder, make_setting(parameters), tables, figures, made_with)
    print(f"the page: {RESULTS / 'report' / 'index.html'}")


def _draw_next(folder: Path, parameters: Parameters, rows: list[Row]) -> Figure:
    images = data_layout(parameters.switches.dataset).images
    draw_next_figure(folder / "draw_next.png", rows, images=images, maps=DRAW_NEXT)
    text = "The images on which the networks are least sure. The list is above."
    return Figure("draw_next.png", "Where to draw next", text)


def _grids(folder: Path, parameters: Parameters) -> list[Figure]:
    """Draw the paper's Figures 1, 4, 5 and 6, and the labels that strokes were propagated to."""
    switches = parameters.switches
    data = data_layout(switches.dataset)
    common: dict[str, Any] = {
        "images": data.images,
        "masks": data.masks,
        "variants": switches.variants.all,
        "classes": describe(parameters).classes,
    }
    seed = switches.seeds[0]
    trained = read_ids(SAMPLES / "train.txt")
    ids = read_ids(data.val)
    rows = min(ROWS, len(ids))
    # Figure 6 shows other images than Figure 4, unless there are too few.
    others = choose_images(ids, data.masks, rows, nth=1)
    nth = 1 if others else 0
    shown = choose_images(ids, data.masks, rows)
    samples = {**common, "samples": SAMPLES}
    predictions = {**common, "runs": RUNS, "seed": seed}
    figure1(folder / "figure1.png", trained, **samples, scribbles=data.scribbles)
    figure4(folder / "figure4.png", shown, **predictions, labels=parameters.labels)
    figure5(folder / "figure5.png", trained, **samples, edges=data.edges)
    figure6(folder / "figure6.png", others or shown, **predictions)
    runs = min(SAMPLE_IMAGES, len(read_ids(data.train)))
    on_train = f"Training images, by rule: {rule(runs)}. Seed {seed}."
    figures = [
        Figure("figure1.png", "Figure 1: what is learnt from what", on_train),
        Figure(
            "figure4.png",
            "Figure 4: what each part adds",
            f"Validation images, by rule: {rule(rows)}. Seed {seed}.",
        ),
        Figure(
            "figure5.png",
            "Figure 5: edge predictions of the two BRN settings",
            f"Edge label: {parameters.dataset.edges.source}. {on_train}",
        ),
        Figure(
            "figure6.png",
            "Figure 6: masks, baseline, BPG and CRF",
            f"Validation images, by rule: {rule(rows, nth)}. Seed {seed}.",
        ),
    ]
    return figures + _propagated(folder, parameters, trained, on_train)


def _propagated(folder: Path, parameters: Parameters, ids: list[str], caption: str) -> list[Figure]:
    """Draw the labels that GrabCut's and ScribbleSup's networks are trained on, if any."""
    switches = parameters.switches
    data = data_layout(switches.dataset)
    rounds = [
        (parameters.labels[one.name], run_layout(one.name, switches.seeds[0]).propagated)
        for one in switches.variants.rounds
    ]
    grabcut = [("GrabCut", data.grabcut)] if switches.variants.train_grabcut else []
    if not rounds and not grabcut:
        return []
    propagated_figure(
        folder / "propagated.png",
        ids,
        images=data.images,
        masks=data.masks,
        scribbles=data.scribbles,
        propagated=[*grabcut, *rounds],
        classes=describe(parameters).classes,
    )
    title = "Strokes propagated to all pixels"
    text = f"What the networks of these rows are trained on. {caption}"
    return [Figure("propagated.png", title, text)]


def _charts(folder: Path, parameters: Parameters, runs: Runs, found: Comparisons) -> list[Figure]:
    switches = parameters.switches
    setting, labels = make_setting(parameters), parameters.labels
    bar_chart(folder / "miou.png", runs, labels)
    groups = {
        title: [
            Bar(pair_label(one, setting), one.found, one.printed)
            for one in found.claims
            if one.measure == measure and one.found is not None
        ]
        for measure, title in MEASURES.items()
    }
    figures = [Figure("miou.png", "mIoU by variant", "Before and after the dense CRF.")]
    if all(groups.values()):
        difference_chart(folder / "claims.png", groups)
        figures.append(
            Figure("claims.png", "What each step gains", "With 95 % intervals, in points.")
        )
    if len(found.ranking) > 1:
        against = {
            f"mIoU, {'with' if kind == 'crf' else 'without'} CRF": [
                Bar(setting.label(one.variant), one.differences[kind])
                for one in found.ranking
                if kind in one.differences
            ]
            for kind in KINDS
        }
        difference_chart(folder / "ranking.png", against)
        reference = setting.label(found.ranking[0].reference)
        figures.append(
            Figure(
                "ranking.png",
                "The ranking",
                f"Each variant's mIoU minus that of {reference}, with 95 % intervals, in points.",
            )
        )
    if describe(parameters).truth == "masks":
        trimap_chart(folder / "trimap.png", runs, labels)
        text = "Over the pixels within so many pixels of a true boundary."
        figures.append(Figure("trimap.png", "mIoU near the boundaries", text))
    trained = networks(switches.variants.all, parameters.variants)
    curves = gather_curves(RUNS, trained, switches.seeds)
    curve_chart(folder / "curves.png", curves, labels)
    return [
        *figures,
        Figure(
            "curves.png",
            "Training",
            "By epoch, averaged over the seeds: loss = semantic + lambda * boundary + each "
            "regulariser's weight * its value; the panels show the values without weights. "
            "edge_loss is the squared error per pixel, as in Table 2.",
        ),
    ]


if __name__ == "__main__":
    run_stage("report", report)
