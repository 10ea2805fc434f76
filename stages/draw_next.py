"""Say on which images, and where in them, new strokes would teach the networks most."""

from urllib.parse import unquote

import torch
from tqdm import tqdm

from bpg.atomic import whole_directory, write_rows
from bpg.data.ids import read_ids
from bpg.data.masks import image_path, read_image, write_grey
from bpg.devices import choose_bf16, choose_device, set_up
from bpg.inference.multiscale import multiscale_probabilities
from bpg.inference.uncertainty import uncertain_regions, uncertainty
from bpg.variants import reference_variant
from pipeline.dataset import describe
from pipeline.params import Parameters
from pipeline.paths import DRAW_NEXT, data_layout
from pipeline.run_stage import run_stage
from pipeline.trained import load_trained
from pipeline.variants import networks

LOOKED_AT = 100
"""The most images that the networks are run on: first those without strokes."""

LISTED, REGIONS = 30, 3
"""Images in the list, and regions of each."""


def draw_next(parameters: Parameters) -> None:
    """Write `results/draw_next/{draw_next.csv,ID.png}`: a list, and maps of the uncertainty.

    The networks are those of all seeds of one variant, whose probabilities are averaged: what they
    disagree on is uncertain, too.
    """
    switches = parameters.switches
    data = data_layout(switches.dataset)
    variant = reference_variant(networks(switches.variants.all, parameters.variants))
    device = choose_device(switches.device)
    set_up(device, threads=parameters.recipe.machine.threads, seed=0)
    bf16 = choose_bf16(parameters.recipe.machine.bf16, device)
    trained = [load_trained(parameters, variant, seed).to(device) for seed in switches.seeds]
    classes = describe(parameters).classes
    pool = read_ids(data.pool, empty=True)
    without = set(pool)
    names = [*pool, *(name for name in read_ids(data.train) if name not in without)]
    found = []
    with whole_directory(DRAW_NEXT) as folder:
        for name in tqdm(names[:LOOKED_AT], "draw next", unit="image", mininterval=2):
            image = read_image(image_path(data.images, name))
            each = [
                multiscale_probabilities(
                    network, image, parameters.recipe.inference, device=device, bf16=bf16
                )
                for network in trained
            ]
            probabilities = torch.stack(each).mean(0).float().cpu().numpy()
            unsure = uncertainty(probabilities)
            found.append((float(unsure.mean()), name, uncertain_regions(probabilities, REGIONS)))
            write_grey(folder / f"{name}.png", (255 * unsure).round().astype("uint8"))
        found.sort(key=lambda one: (-one[0], one[1]))
        rows = [
            {
                "rank": rank,
                "image": unquote(name),
                "id": name,
                "strokes": "no" if name in pool else "yes",
                "variant": variant,
                "uncertainty": f"{100 * mean:.1f}",
                "left": region.left,
                "top": region.top,
                "width": region.width,
                "height": region.height,
                "region_uncertainty": f"{100 * region.uncertainty:.1f}",
                "likely": " or ".join(classes[label] for label in region.labels),
            }
            for rank, (mean, name, regions) in enumerate(found[:LISTED], 1)
            for region in regions
        ]
        for _, name, _ in found[LISTED:]:
            (folder / f"{name}.png").unlink()
        write_rows(folder / "draw_next.csv", list(rows[0]), rows)


if __name__ == "__main__":
    run_stage("draw_next", draw_next)
