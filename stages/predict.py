"""Segment the validation images; a network averages over scales and flips."""

from collections.abc import Iterator, Sequence

import torch
from joblib import Parallel, delayed

from bpg.data.ids import read_ids
from bpg.data.masks import image_path, read_image, write_mask
from bpg.devices import choose_bf16, choose_device, set_up
from bpg.inference.probabilities import SUFFIX, write_probabilities
from bpg.models.network import Network
from pipeline.params import Parameters
from pipeline.paths import data_layout, run_layout
from pipeline.provenance import rounding
from pipeline.resume import images_left, resumable
from pipeline.run_stage import run_stage
from pipeline.segment import class_probabilities, load_model


def predict(parameters: Parameters, variant: str, seed: int) -> None:
    """Write `runs/<variant>/<seed>/{probabilities,masks}`."""
    data = data_layout(parameters.switches.dataset)
    run = run_layout(variant, seed)
    machine = parameters.recipe.machine
    device = choose_device(parameters.switches.device)
    set_up(device, threads=machine.threads, seed=seed)
    names = read_ids(data.val)
    bf16 = choose_bf16(machine.bf16, device)
    made_on = rounding(device, machine, bf16=bf16)
    with resumable("predict", parameters, variant, seed, rounding=made_on) as work:
        model = load_model(parameters, variant, seed)
        if isinstance(model, Network):
            model.to(device)
        inference = parameters.recipe.inference

        def segmented(left: Sequence[str]) -> Iterator[torch.Tensor]:
            def of(name: str) -> torch.Tensor:
                image = read_image(image_path(data.images, name))
                return class_probabilities(model, image, inference, device=device, bf16=bf16)

            if isinstance(model, Network):
                return map(of, left)
            # Threads: NumPy, which does nearly all of a forest's work, releases the GIL.
            parallel = Parallel(n_jobs=-1, prefer="threads", return_as="generator")
            return parallel(delayed(of)(name) for name in left)

        files, title = ["masks/{}.png", f"probabilities/{{}}{SUFFIX}"], f"predict {variant} {seed}"
        for _, probabilities, paths in images_left(work, names, files, segmented, title):
            mask, stored = paths
            write_mask(mask, probabilities.argmax(0).byte().cpu().numpy())
            write_probabilities(stored, probabilities.cpu().numpy())
        work.publish({"probabilities": run.probabilities, "masks": run.masks})
    written = sum(path.stat().st_size for path in run.probabilities.iterdir())
    print(f"probability files: {written / len(names):,.0f} bytes per image")


if __name__ == "__main__":
    run_stage("predict", predict, of_run=True)
