"""Propagate the strokes with the network so far: the other half of a ScribbleSup round."""

from collections.abc import Iterator, Sequence

import numpy as np
from joblib import Parallel, delayed

from bpg.constants import IGNORE
from bpg.data.ids import read_ids
from bpg.data.masks import write_mask
from bpg.data.scribbled import read_scribbled
from bpg.devices import choose_bf16, choose_device, set_up
from bpg.errors import BPGError
from bpg.inference.multiscale import multiscale_probabilities
from bpg.inference.options import InferenceOptions
from bpg.models.network import Network
from bpg.propagation.propagate import propagate as propagate_strokes
from pipeline.params import Parameters
from pipeline.paths import DataLayout, data_layout, run_layout
from pipeline.provenance import rounding
from pipeline.resume import images_left, resumable
from pipeline.run_stage import run_stage
from pipeline.trained import load_trained

PLAIN = InferenceOptions((1.0,), flip=False)  # each image once, as it is


def propagate(parameters: Parameters, variant: str, seed: int) -> None:
    """Write `runs/<variant>/<seed>/propagated`: a label for every pixel of the training images.

    The network is that of the variant which this one is fine-tuned from; it sees each image once.

    Args:
        parameters: Have the data set and the recipe.
        variant: One that is trained on propagated labels.
        seed: Training seed of both networks.

    Raises:
        BPGError: The variant is not trained on propagated labels, or a file is missing or broken.
    """
    start = parameters.variants[variant].init_from
    if parameters.variants[variant].supervision != "propagated" or start is None:
        raise BPGError(f"{variant} is not trained on propagated labels")
    data = data_layout(parameters.switches.dataset)
    names = read_ids(data.train)
    machine = parameters.recipe.machine
    device = choose_device(parameters.switches.device)
    set_up(device, threads=machine.threads, seed=seed)
    bf16 = choose_bf16(machine.bf16, device)
    made_on = rounding(device, machine, bf16=bf16)
    with resumable("propagate", parameters, variant, seed, rounding=made_on) as work:
        network = load_trained(parameters, start, seed).to(device)

        def propagated(left: Sequence[str]) -> Iterator[np.ndarray]:
            return _propagated(parameters, data, network, left, bf16)

        files, title = ["propagated/{}.png"], f"propagate for {variant}, seed {seed}"
        for _, labels, (path,) in images_left(work, names, files, propagated, title):
            write_mask(path, labels)
        work.publish({"propagated": run_layout(variant, seed).propagated})


def _propagated(
    parameters: Parameters, data: DataLayout, network: Network, names: Sequence[str], bf16: bool
) -> Iterator[np.ndarray]:
    device = next(network.parameters()).device
    classes = len(network.architecture.classes)

    def problems() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for name in names:
            image, scribble = read_scribbled(data.images, data.scribbles, name, classes)
            if (scribble == IGNORE).all():
                path = data.scribbles / f"{name}.png"
                raise BPGError(f"{path}: no pixel is labelled; run the stage scribbles again")
            probabilities = multiscale_probabilities(
                network, image, PLAIN, device=device, bf16=bf16
            )
            yield image, scribble, probabilities.float().cpu().numpy()

    def solve(
        name: str, image: np.ndarray, scribble: np.ndarray, probabilities: np.ndarray
    ) -> np.ndarray:
        try:
            return propagate_strokes(image, scribble, probabilities, parameters.recipe.propagation)
        except BPGError as error:
            raise BPGError(f"{name}: {error}") from error

    # Threads: superpixels and cuts, which are nearly all of the work, release the GIL.
    parallel = Parallel(n_jobs=-1, prefer="threads", return_as="generator")
    return parallel(
        delayed(solve)(name, *problem) for name, problem in zip(names, problems(), strict=True)
    )


if __name__ == "__main__":
    run_stage("propagate", propagate, of_run=True, by_image=True)
