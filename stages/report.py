"""Draw the figures and the page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bpg.atomic import whole_directory
from bpg.constants import IGNORE
from bpg.data.ids import read_ids
from bpg.data.masks import PALETTE, image_path
from bpg.evaluation.comparison import MEASURES
from bpg.evaluation.score import KINDS
from bpg.report.answer import answer, own_answer
from bpg.report.charts import (
    Bar,
    bar_chart,
    class_chart,
    cost_chart,
    curve_chart,
    difference_chart,
    trimap_chart,
)
from bpg.report.claims import pair_label
from bpg.report.columns import Table
from bpg.report.costs import read_costs
from bpg.report.draw_next import Row, draw_next_figure, draw_next_table, read_rows
from bpg.report.examples import choose_images, rule
from bpg.report.figures import (
    figure1,
    figure4,
    figure5,
    figure6,
    propagated_figure,
    results_figure,
    strokes_figure,
)
from bpg.report.page import Figure, Section, Viewer, write_page
from bpg.report.provenance import lines, read_records
from bpg.report.ranking import featured
from bpg.report.runs import Runs, gather_curves, over_seeds, read_runs
from bpg.report.studies import read_studies
from bpg.report.viewer import Shot, choose, scores_by_image, shot
from bpg.report.viewer import rule as viewer_rule
from bpg.variants import reference_variant
from pipeline.dataset import describe
from pipeline.params import Parameters
from pipeline.paths import (
    COSTS,
    DRAW_NEXT,
    PROVENANCE,
    RESULTS,
    RUNS,
    SAMPLE_IMAGES,
    SAMPLES,
    STUDIES,
    data_layout,
    models,
    run_layout,
)
from pipeline.run_stage import run_stage
from pipeline.tables import (
    Comparisons,
    compare_runs,
    make_setting,
    make_tables,
    read_all_counts,
)
from pipeline.variants import networks

ROWS = 6  # of Figures 4 and 6
BASELINE = "scribble"


def report(parameters: Parameters) -> None:
    """Write `results/report`: index.html, and its figures as PNG."""
    switches = parameters.switches
    runs = read_runs(RUNS, switches.variants.all, switches.seeds)
    made_with = lines(read_records(PROVENANCE, models(switches.variants.all, switches.seeds)))
    found = compare_runs(parameters, runs)
    setting = make_setting(parameters)
    with whole_directory(RESULTS / "report") as folder:
        tables = {table.name: table for table in make_tables(parameters, runs, found)}
        rows = read_rows(DRAW_NEXT / "draw_next.csv")
        tables["draw_next"] = draw_next_table(rows, setting)
        charts = _charts(folder, parameters, runs, found)
        charts["draw_next"] = _draw_next(folder, parameters, rows)
        if setting.own:
            figures = _own_grids(folder, parameters)
            opens = own_answer(found.ranking, setting)
        else:
            figures = _grids(folder, parameters)
            opens = answer(found.claims, found.ranking, setting) or own_answer(
                found.ranking, setting
            )
        # At the top, so not once more below.
        hero = charts.pop("claims" if "claims" in charts else "miou")
        arranged = _own_sections if setting.own else _sections
        sections = arranged(tables, charts, figures)
        # Before what is folded.
        place = next((n for n, one in enumerate(sections) if one.folded), len(sections))
        sections[place:place] = _studies(folder, parameters)
        viewer = _viewer(parameters)
        write_page(folder, setting, opens, hero, viewer, sections, made_with)
    print(f"the page: {RESULTS / 'report' / 'index.html'}")


def _sections(
    tables: Mapping[str, Table], charts: Mapping[str, Figure], figures: Sequence[Figure]
) -> list[Section]:
    return [
        _section("All variants", tables, charts, "ranking", "miou"),
        _section("The paper's tables", tables, charts, "table1", "classes", "table2", "table3"),
        _section("The paper's claims", tables, charts, "claims"),
        _section("What each loss and part adds", tables, charts, "gains"),
        _section("Boundaries", tables, charts, "boundaries", "trimap"),
        _section("Cost beside gain", tables, charts, "cost", "cost_gain"),
        Section("The paper's figures", tuple(figures), folded=True),
        _section("Where to draw next", tables, charts, "draw_next", folded=True),
        _section("Training curves", tables, charts, "curves", folded=True),
    ]


def _own_sections(
    tables: Mapping[str, Table], charts: Mapping[str, Figure], figures: Sequence[Figure]
) -> list[Section]:
    named = ("ranking", "table1", "classes", "boundaries", "trimap")
    return [
        _section("Results", tables, charts, *named),
        # This is what to do next.
        _section("Where to draw next", tables, charts, "draw_next"),
        Section("Figures", tuple(figures)),
        _section("Cost", tables, charts, "cost", "cost_gain", folded=True),
        _section("Training curves", tables, charts, "curves", folded=True),
    ]


def _studies(folder: Path, parameters: Parameters) -> list[Section]:
    """Show the studies of this data set and recipe, those of annotation effort first."""
    switches, labels = parameters.switches, parameters.labels
    effort: list[Table | Figure] = []
    others: list[Table | Figure] = []
    for one in read_studies(STUDIES, switches.dataset, switches.recipe):
        file = f"study_{one.name}.png"
        chart = Figure(file, f"Chart: {one.title}", one.command, one.chart(folder / file, labels))
        parts = effort if one.name.startswith("effort_") else others
        parts.append(one.table(labels))
        if one.differences:
            parts.append(one.differences_table(labels))
        parts.append(chart)
    sections = [
        Section("How much annotation is enough", tuple(effort)),
        Section("Studies", tuple(others), folded=True),
    ]
    return [section for section in sections if section.parts]


def _section(
    title: str,
    tables: Mapping[str, Table],
    charts: Mapping[str, Figure],
    *names: str,
    folded: bool = False,
) -> Section:
    """Gather what there is under these names: each table, and its chart beside it."""
    found = [part for name in names for kind in (tables, charts) if (part := kind.get(name))]
    return Section(title, tuple(found), folded)


def _draw_next(folder: Path, parameters: Parameters, rows: list[Row]) -> Figure:
    images = data_layout(parameters.switches.dataset).images
    draw_next_figure(folder / "draw_next.png", rows, images=images, maps=DRAW_NEXT)
    text = "The images on which the networks are least sure. The list is above."
    return Figure("draw_next.png", "The least sure images", text)


def _viewer(parameters: Parameters) -> Viewer:
    """Gather images that are scored on, by how well BPG does on them, and some with strokes."""
    switches = parameters.switches
    names, data = switches.variants.all, data_layout(switches.dataset)
    labels, seed = parameters.labels, switches.seeds[0]
    reference = reference_variant(names)
    baseline = BASELINE if BASELINE in names and reference != BASELINE else None
    counts = read_all_counts(parameters)
    ids = read_ids(data.val)
    scores = {name: scores_by_image(counts[name]) for name in names}
    shots: list[Shot] = []
    for one in choose(counts, reference, baseline):
        image_id = ids[one.place]
        maps, notes = {"truth": data.masks / f"{image_id}.png"}, {}
        for name in names:
            notes[labels[name]] = f"mIoU of the image {scores[name][one.place]:.1f}"
            run = run_layout(name, seed)
            maps[labels[name]] = run.masks / f"{image_id}.png"
            maps[f"{labels[name]} + CRF"] = run.masks_crf / f"{image_id}.png"
        shots.append(shot(image_id, one.why, image_path(data.images, image_id), maps, notes))
    for image_id in read_ids(SAMPLES / "train.txt"):
        maps = {"strokes": data.scribbles / f"{image_id}.png"}
        if describe(parameters).truth == "masks":
            maps["truth"] = data.masks / f"{image_id}.png"
        maps["edges"] = data.edges / f"{image_id}.png"
        for name in names:
            maps[labels[name]] = SAMPLES / "masks" / name / f"{image_id}.png"
        shots.append(shot(image_id, "trained on", image_path(data.images, image_id), maps))
    classes = describe(parameters).classes
    colours = [
        "#{:02x}{:02x}{:02x}".format(*PALETTE[label]) for label in (*range(len(classes)), IGNORE)
    ]
    text = viewer_rule(labels[reference], None if baseline is None else labels[baseline])
    return Viewer(
        tuple(shots),
        f"{text} Then training images, which have strokes. Labels of seed {seed}; mIoU of an image "
        "without CRF, over all seeds.",
        labels[reference],
        tuple(zip((*classes, "no label"), colours, strict=True)),
    )


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


def _own_grids(folder: Path, parameters: Parameters) -> list[Figure]:
    """Draw what all variants predict for a user's images, and the labels that strokes became."""
    switches, description = parameters.switches, describe(parameters)
    data = data_layout(switches.dataset)
    seed = switches.seeds[0]
    common: dict[str, Any] = {"images": data.images, "classes": description.classes}
    names = {name: parameters.labels[name] for name in switches.variants.all}
    ids, trained = read_ids(data.val), read_ids(SAMPLES / "train.txt")
    rows = min(ROWS, len(ids))
    shown = choose_images(ids, data.masks, rows)
    predictions = [(label, run_layout(name, seed).masks) for name, label in names.items()]
    truth = (description.truth, data.masks)
    results_figure(folder / "results.png", shown, **common, truth=truth, predictions=predictions)
    learnt = [(label, SAMPLES / "masks" / name) for name, label in names.items()]
    strokes_figure(
        folder / "strokes.png", trained, **common, scribbles=data.scribbles, predictions=learnt
    )
    on_train = f"Training images, by rule: {rule(min(SAMPLE_IMAGES, len(read_ids(data.train))))}."
    return [
        Figure(
            "results.png",
            "What is predicted",
            f"Images that are scored on, by rule: {rule(rows)}. Seed {seed}.",
        ),
        Figure("strokes.png", "What is learnt from your strokes", f"{on_train} Seed {seed}."),
        *_propagated(folder, parameters, trained, on_train),
    ]


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


def _charts(
    folder: Path, parameters: Parameters, runs: Runs, found: Comparisons
) -> dict[str, Figure]:
    """Draw the charts: {name of the table that each belongs to, or its own: figure}."""
    switches = parameters.switches
    setting, labels = make_setting(parameters), parameters.labels
    few = featured(found.ranking)
    shown = {name: runs[name] for name in few}
    left_out = ""
    if len(few) < len(runs):
        which = "" if setting.own else ": the paper's and the best"
        left_out = f" {len(few)} of {len(runs)} variants{which}."
    charts = {
        "miou": Figure(
            "miou.png",
            "mIoU by variant",
            "Before and after the dense CRF.",
            bar_chart(folder / "miou.png", runs, labels),
        ),
        "classes": Figure(
            "classes.png",
            "IoU by class",
            f"Without CRF, mean over the seeds.{left_out}",
            class_chart(folder / "classes.png", shown, labels),
        ),
    }
    groups = {
        title: [
            Bar(pair_label(one, setting), one.found, one.printed)
            for one in found.claims
            if one.measure == measure and one.found is not None
        ]
        for measure, title in MEASURES.items()
    }
    if all(groups.values()) and not setting.own:
        charts["claims"] = Figure(
            "claims.png",
            "What each step gains",
            "With 95 % intervals, in points.",
            difference_chart(folder / "claims.png", groups),
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
        reference = setting.label(found.ranking[0].reference)
        charts["ranking"] = Figure(
            "ranking.png",
            "The ranking",
            f"Each variant's mIoU minus that of {reference}, with 95 % intervals, in points.",
            difference_chart(folder / "ranking.png", against),
        )
    if describe(parameters).truth == "masks":
        charts["trimap"] = Figure(
            "trimap.png",
            "mIoU near the boundaries",
            f"Over the pixels within so many pixels of a true boundary.{left_out}",
            trimap_chart(folder / "trimap.png", shown, labels),
        )
    points = _cost_points(runs, labels)
    if len(points) > 1:
        charts["cost_gain"] = Figure(
            "cost.png",
            "mIoU beside the time of a training step",
            "Without CRF, mean over the seeds. Blue: networks with PRN or BRN.",
            cost_chart(
                folder / "cost.png",
                points,
                [
                    labels[name]
                    for name in runs
                    if parameters.variants[name].prn or parameters.variants[name].brn
                ],
            ),
        )
    trained = networks(switches.variants.all, parameters.variants)
    curves = gather_curves(RUNS, [name for name in few if name in trained], switches.seeds)
    charts["curves"] = Figure(
        "curves.png",
        "Training",
        "By epoch, averaged over the seeds: loss = semantic + lambda * boundary + each "
        "regulariser's weight * its value; the panels show the values without weights. "
        f"edge_loss is the squared error per pixel{'' if setting.own else ', as in Table 2'}."
        f"{left_out}",
        curve_chart(folder / "curves.png", curves, labels),
    )
    return charts


def _cost_points(runs: Runs, labels: Mapping[str, str]) -> dict[str, tuple[float, float]]:
    """Return the time ratio and mIoU of the networks whose steps were timed."""
    points = {}
    for row in read_costs(COSTS):
        if "time_ratio" in row and row["variant"] in runs:
            mean = over_seeds([seed["raw"]["miou"] for seed in runs[row["variant"]]])
            if not isinstance(mean, str):
                points[labels[row["variant"]]] = (row["time_ratio"], mean[0])
    return points


if __name__ == "__main__":
    run_stage("report", report)
