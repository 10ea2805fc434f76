"""Run HED over the training pictures."""

from PIL import Image
from tqdm import tqdm

from bpg.data.ids import read_ids
from bpg.data.masks import image_path, read_image
from bpg.edges.hed import edge_map, load_hed
from bpg.files import whole_directory
from bpg.training.devices import choose_bf16, choose_device, set_up
from stages.layout import HED_WEIGHTS, data_layout
from stages.parameters import Parameters
from stages.stage import run_stage


def edges(parameters: Parameters) -> None:
    """Write `data/<dataset>/edges`: 8-bit grey PNGs, 255 = certainly an edge."""
    data = data_layout(parameters.switches.dataset)
    device = choose_device(parameters.switches.device)
    # Nothing else runs beside this stage: all cores.
    set_up(device, threads=0, seed=0, deterministic=parameters.recipe.machine.deterministic)
    bf16 = choose_bf16(parameters.recipe.machine.bf16, device)
    model = load_hed(HED_WEIGHTS).to(device)
    with whole_directory(data.edges) as folder:
        for name in tqdm(read_ids(data.train), unit="image", desc="edges", mininterval=2):
            edge = edge_map(
                model,
                read_image(image_path(data.images, name)),
                upscale=parameters.dataset.edges.upscale,
                precision="bf16" if bf16 else "fp32",
            )
            Image.fromarray(edge).save(folder / f"{name}.png")


if __name__ == "__main__":
    run_stage("edges", edges)
