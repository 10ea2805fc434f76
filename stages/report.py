"""Draw the figures and the page."""

from bpg.data.ids import read_ids
from bpg.files import whole_directory
from bpg.report.figures import RULE, bar_chart, choose_images, curve_chart, figure4
from bpg.report.page import Picture, write_page
from bpg.report.runs import gather_curves, read_runs
from stages.layout import RESULTS, RUNS, data_layout
from stages.parameters import Parameters
from stages.setting import make_setting, make_tables
from stages.stage import run_stage

ROWS = 6  # of Figure 4


def report(parameters: Parameters) -> None:
    """Write `results/report`: index.html and its pictures."""
    switches = parameters.switches
    data = data_layout(switches.dataset)
    runs = read_runs(RUNS, switches.variants.all, switches.seeds)
    curves = gather_curves(RUNS, switches.variants.all, switches.seeds)
    ids = read_ids(data.val)
    rows = min(ROWS, len(ids))
    chosen = choose_images(ids, data.masks, rows)
    seed = switches.seeds[0]
    with whole_directory(RESULTS / "report") as folder:
        bar_chart(folder / "miou.png", runs)
        curve_chart(folder / "curves.png", curves)
        figure4(
            folder / "figure4.png",
            chosen,
            images=data.images,
            masks=data.masks,
            scribbles=data.scribbles,
            runs=RUNS,
            variants=switches.variants.all,
            seed=seed,
            classes=parameters.dataset.classes,
        )
        pictures = [
            Picture("miou.png", "mIoU by variant", "Before and after the dense CRF."),
            Picture(
                "figure4.png",
                "Figure 4: segmentation examples",
                f"Chosen by rule: {RULE.format(count=rows)}. Seed {seed}.",
            ),
            Picture(
                "curves.png",
                "Training",
                "By epoch, averaged over the seeds: loss = semantic + lambda * boundary; edge_loss "
                "is the squared error per pixel, as in Table 2.",
            ),
        ]
        write_page(folder, make_setting(parameters), make_tables(parameters, runs), pictures)
    print(f"the page: {RESULTS / 'report' / 'index.html'}")


if __name__ == "__main__":
    run_stage("report", report)
