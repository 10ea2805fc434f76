"""Segment the validation images, averaging over scales and flips."""

from tqdm import tqdm

from bpg.data.ids import read_ids
from bpg.data.masks import image_path, read_image, write_mask
from bpg.devices import choose_bf16, choose_device, set_up
from bpg.inference.multiscale import multiscale_probabilities
from bpg.inference.probabilities import SUFFIX, write_probabilities
from bpg.models.network import load_network
from pipeline.params import Parameters
from pipeline.paths import data_layout, run_layout
from pipeline.provenance import rounding
from pipeline.resume import unfinished
from pipeline.run_stage import run_stage


def predict(parameters: Parameters, variant: str, seed: int) -> None:
    """Write `runs/<variant>/<seed>/{probabilities,masks}`."""
    data = data_layout(parameters.switches.dataset)
    run = run_layout(variant, seed)
    machine = parameters.recipe.machine
    device = choose_device(parameters.switches.device)
    set_up(device, threads=machine.threads, seed=seed)
    names = read_ids(data.val)
    bf16 = choose_bf16(machine.bf16, device)
    written = 0
    made_on = rounding(device, machine, bf16=bf16)
    with unfinished("predict", parameters, variant, seed, rounding=made_on) as work:
        network = load_network(run.model).to(device)
        for name in tqdm(names, unit="image", desc=f"predict {variant} {seed}", mininterval=2):
            files = [f"masks/{name}.png", f"probabilities/{name}{SUFFIX}"]
            if work.done(*files):
                written += work.path(files[1]).stat().st_size
                continue
            probabilities = multiscale_probabilities(
                network,
                read_image(image_path(data.images, name)),
                parameters.recipe.inference,
                device=device,
                bf16=bf16,
            )
            labels = probabilities.argmax(0).byte().cpu().numpy()
            mask, stored = work.begin(*files)
            write_mask(mask, labels)
            write_probabilities(stored, probabilities.cpu().numpy())
            work.add(*files)
            written += stored.stat().st_size
        work.publish({"probabilities": run.probabilities, "masks": run.masks})
    print(f"probability files: {written / len(names):,.0f} bytes an image")


if __name__ == "__main__":
    run_stage("predict", predict, of_run=True)
