"""Propagate the strokes with the network so far: the other half of a ScribbleSup round."""

from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from bpg.constants import IGNORE
from bpg.data.ids import read_ids
from bpg.data.masks import image_path, read_image, read_mask, write_mask
from bpg.devices import choose_bf16, choose_device, set_up
from bpg.errors import BPGError
from bpg.inference.multiscale import multiscale_probabilities
from bpg.inference.options import PLAIN
from bpg.models.network import Network, load_network
from bpg.propagation.options import PropagationOptions
from bpg.propagation.propagate import propagate as propagate_strokes
from bpg.resumable import Work
from pipeline.params import Parameters
from pipeline.paths import DataLayout, data_layout, run_layout
from pipeline.provenance import rounding
from pipeline.resume import unfinished
from pipeline.run_stage import run_stage


def propagate(parameters: Parameters, variant: str, seed: int) -> None:
    """Write `runs/<variant>/<seed>/propagated`: a label for every pixel of the training images.

    The network is that of the variant which this one is fine-tuned from; it sees each image once.
    """
    start = parameters.variants[variant].init_from
    if parameters.variants[variant].supervision != "propagated" or start is None:
        raise BPGError(f"{variant} is not trained on propagated labels")
    data = data_layout(parameters.switches.dataset)
    machine = parameters.recipe.machine
    device = choose_device(parameters.switches.device)
    set_up(device, threads=machine.threads, seed=seed)
    bf16 = choose_bf16(machine.bf16, device)
    made_on = rounding(device, machine, bf16=bf16)
    with unfinished("propagate", parameters, variant, seed, rounding=made_on) as work:
        network = load_network(run_layout(start, seed).model).to(device)
        _propagate(parameters, data, network, work, f"propagate for {variant}, seed {seed}", bf16)
        work.publish({"propagated": run_layout(variant, seed).propagated})


def _propagate(
    parameters: Parameters, data: DataLayout, network: Network, work: Work, title: str, bf16: bool
) -> None:
    names = read_ids(data.train)
    left = [name for name in names if not work.done(f"propagated/{name}.png")]
    device = next(network.parameters()).device
    options = parameters.recipe.propagation

    def problems():
        for name in left:
            image = read_image(image_path(data.images, name))
            path = data.scribbles / f"{name}.png"
            scribble = read_mask(path)
            if scribble.shape != image.shape[:2]:
                raise BPGError(f"{path}: not of its image's size; draw the scribbles anew")
            _check_labels(path, scribble, len(network.architecture.classes))
            probabilities = multiscale_probabilities(
                network, image, PLAIN, device=device, bf16=bf16
            )
            yield name, image, scribble, probabilities.float().cpu().numpy()

    jobs = (
        delayed(_named)(name, image, scribble, probabilities, options)
        for name, image, scribble, probabilities in problems()
    )
    # Threads: superpixels and cuts, nearly all of the work, let go of Python's lock.
    found = Parallel(n_jobs=-1, prefer="threads", return_as="generator")(jobs)
    bar = tqdm(
        found,
        total=len(names),
        initial=len(names) - len(left),
        unit="image",
        desc=title,
        mininterval=2,
    )
    for name, labels in bar:
        file = f"propagated/{name}.png"
        (path,) = work.begin(file)
        write_mask(path, labels)
        work.add(file)


def _check_labels(path: Path, scribble: np.ndarray, classes: int) -> None:
    drawn = scribble[scribble != IGNORE]
    if not drawn.size:
        raise BPGError(f"{path}: no pixel is labelled; draw the scribbles anew")
    if drawn.max() >= classes:
        raise BPGError(f"{path}: label {drawn.max()}; only 0..{classes - 1} and 255 are known")


def _named(
    name: str,
    image: np.ndarray,
    scribble: np.ndarray,
    probabilities: np.ndarray,
    options: PropagationOptions,
) -> tuple[str, np.ndarray]:
    try:
        return name, propagate_strokes(image, scribble, probabilities, options)
    except BPGError as error:
        raise BPGError(f"{name}: {error}") from error


if __name__ == "__main__":
    run_stage("propagate", propagate, of_run=True)
