"""Segment the validation pictures by voting over scales and flips."""

from tqdm import tqdm

from bpg.data.ids import read_ids
from bpg.data.masks import image_path, read_image, write_mask
from bpg.files import whole_directory
from bpg.inference.probabilities import write_probabilities
from bpg.inference.voting import vote
from bpg.models.network import load_network
from bpg.training.devices import choose_bf16, choose_device, set_up
from stages.layout import data_layout, run_layout
from stages.parameters import Parameters
from stages.stage import run_stage


def predict(parameters: Parameters, variant: str, seed: int) -> None:
    """Write `runs/<variant>/<seed>/{probabilities,masks}`."""
    data = data_layout(parameters.switches.dataset)
    run = run_layout(variant, seed)
    machine = parameters.recipe.machine
    device = choose_device(parameters.switches.device)
    set_up(device, threads=machine.threads, seed=seed, deterministic=machine.deterministic)
    network = load_network(run.model).to(device)
    names = read_ids(data.val)
    bf16 = choose_bf16(machine.bf16, device)
    written = 0
    with (
        whole_directory(run.probabilities) as probability_folder,
        whole_directory(run.masks) as mask_folder,
    ):
        for name in tqdm(names, unit="image", desc=f"predict {variant} {seed}", mininterval=2):
            probabilities = vote(
                network,
                read_image(image_path(data.images, name)),
                **parameters.recipe.inference.model_dump(),
                device=device,
                bf16=bf16,
            )
            labels = probabilities.argmax(0).byte().cpu().numpy()
            write_mask(mask_folder / f"{name}.png", labels)
            file = probability_folder / f"{name}.png"
            write_probabilities(file, probabilities.cpu().numpy())
            written += file.stat().st_size
    print(f"probability files: {written / len(names):,.0f} bytes an image")


if __name__ == "__main__":
    run_stage("predict", predict, of_run=True)
