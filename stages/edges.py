"""Make the edge maps for the boundary loss: HED's, or the controls they are compared to."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from joblib import Parallel, delayed

from bpg.data.ids import read_ids
from bpg.data.masks import image_path, image_size, read_grey, read_image, read_mask, write_grey
from bpg.devices import choose_bf16, choose_device, set_up
from bpg.download.weights import HED
from bpg.edges.controls import fit, shuffled, true_edges
from bpg.edges.hed import edge_map, load_hed
from bpg.errors import BPGError
from pipeline.params import Parameters
from pipeline.paths import HED_WEIGHTS, DataLayout, data_layout
from pipeline.provenance import rounding
from pipeline.resume import images_left, resumable
from pipeline.run_stage import run_stage


def edges(parameters: Parameters) -> None:
    """Write `data/<dataset>/edges`: 8-bit greyscale PNGs, 255 = certainly an edge."""
    data = data_layout(parameters.switches.dataset)
    source = parameters.dataset.edges.source
    names = read_ids(data.train)
    receivers = shuffled(names) if source == "shuffled" else {}
    giver = {receivers.get(name, name): name for name in names}
    device = choose_device(parameters.switches.device)
    bf16 = choose_bf16(parameters.recipe.machine.bf16, device)
    # Images in parallel, one core each: one image takes nearly as long on two cores as on one.
    set_up(device, threads=1, seed=0)
    made_on = rounding(device, parameters.recipe.machine, bf16=bf16)
    with resumable("edges", parameters, rounding=made_on) as work:

        def maps(left: Sequence[str]) -> Iterator[np.ndarray]:
            givers = [giver[name] for name in left]
            if source == "truth":
                return _contours(data, givers)
            return _hed(data, givers, parameters.dataset.edges.upscale, device, bf16)

        files, title = ["edges/{}.png"], f"edges: {source}"
        for name, edge, (path,) in images_left(work, list(giver), files, maps, title):
            if giver[name] != name:
                image = image_path(data.images, name)
                edge = fit(edge, image_size(image.read_bytes(), str(image)))  # noqa: PLW2901
            write_grey(path, edge)
        # One map may be empty; all of them mean that the source is broken.
        if not any(read_grey(work.path(f"edges/{name}.png")).any() for name in names):
            raise BPGError(f"{data.edges}: every edge map is empty; check edges.source ({source})")
        work.publish({"edges": data.edges})


def _contours(data: DataLayout, names: Sequence[str]) -> Iterator[np.ndarray]:
    for name in names:
        yield true_edges(read_mask(data.masks / f"{name}.png"))


def _hed(
    data: DataLayout, names: Sequence[str], upscale: int, device: torch.device, bf16: bool
) -> Iterator[np.ndarray]:
    model = load_hed(HED.verified(HED_WEIGHTS)).to(device)

    def detect(name: str) -> np.ndarray:
        image = read_image(image_path(data.images, name))
        return edge_map(model, image, upscale=upscale, precision="bf16" if bf16 else "fp32")

    # Threads: PyTorch releases the GIL. A single image keeps a GPU busy.
    jobs = -1 if device.type == "cpu" else 1
    parallel = Parallel(n_jobs=jobs, prefer="threads", return_as="generator")
    yield from parallel(delayed(detect)(name) for name in names)


if __name__ == "__main__":
    run_stage("edges", edges)
