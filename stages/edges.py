"""Make the edge maps for the boundary loss: HED's, or those that they are tested against."""

from collections.abc import Iterator

import numpy as np
import torch
from joblib import Parallel, delayed
from tqdm import tqdm

from bpg.data.ids import read_ids
from bpg.data.masks import image_path, image_size, read_image, read_mask, write_grey
from bpg.devices import choose_bf16, choose_device, set_up
from bpg.download.weights import HED
from bpg.edges.controls import fit, shuffled, true_edges
from bpg.edges.hed import edge_map, load_hed
from pipeline.params import Parameters
from pipeline.paths import HED_WEIGHTS, DataLayout, data_layout
from pipeline.provenance import rounding
from pipeline.resume import unfinished
from pipeline.run_stage import run_stage


def edges(parameters: Parameters) -> None:
    """Write `data/<dataset>/edges`: 8-bit grey PNGs, 255 = certainly an edge."""
    data = data_layout(parameters.switches.dataset)
    source = parameters.dataset.edges.source
    names = read_ids(data.train)
    receivers = shuffled(names) if source == "shuffled" else {}
    device = choose_device(parameters.switches.device)
    bf16 = choose_bf16(parameters.recipe.machine.bf16, device)
    # Images side by side, a core each: one image over two cores takes nearly as long as over one.
    set_up(device, threads=1, seed=0)
    made_on = rounding(device, parameters.recipe.machine, bf16=bf16)
    with unfinished("edges", parameters, rounding=made_on) as work:

        def file(name: str) -> str:
            return f"edges/{receivers.get(name, name)}.png"

        left = [name for name in names if not work.done(file(name))]
        upscale = parameters.dataset.edges.upscale
        truth = source == "truth"
        maps = _contours(data, left) if truth else _hed(data, left, upscale, device, bf16)
        bar = tqdm(
            maps,
            total=len(names),
            initial=len(names) - len(left),
            unit="image",
            desc=f"edges: {source}",
            mininterval=2,
        )
        for name, edge in bar:
            receiver = receivers.get(name, name)
            if receiver != name:
                path = image_path(data.images, receiver)
                edge = fit(edge, image_size(path.read_bytes(), str(path)))  # noqa: PLW2901
            (target,) = work.begin(file(name))
            write_grey(target, edge)
            work.add(file(name))
        work.publish({"edges": data.edges})


def _contours(data: DataLayout, names: list[str]) -> Iterator[tuple[str, np.ndarray]]:
    for name in names:
        yield name, true_edges(read_mask(data.masks / f"{name}.png"))


def _hed(
    data: DataLayout, names: list[str], upscale: int, device: torch.device, bf16: bool
) -> Iterator[tuple[str, np.ndarray]]:
    model = load_hed(HED.verified(HED_WEIGHTS)).to(device)

    def detect(name: str) -> tuple[str, np.ndarray]:
        image = read_image(image_path(data.images, name))
        return name, edge_map(model, image, upscale=upscale, precision="bf16" if bf16 else "fp32")

    # Threads: PyTorch lets go of Python's lock. A GPU is busy with one image.
    jobs = -1 if device.type == "cpu" else 1
    parallel = Parallel(n_jobs=jobs, prefer="threads", return_as="generator")
    yield from parallel(delayed(detect)(name) for name in names)


if __name__ == "__main__":
    run_stage("edges", edges)
