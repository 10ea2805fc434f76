"""Sharpen the predictions with the dense CRF, over all cores."""

from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from bpg.data.ids import read_ids
from bpg.data.masks import image_path, read_image, write_mask
from bpg.errors import BPGError
from bpg.inference.crf import dense_crf
from bpg.inference.options import CRFOptions
from bpg.inference.probabilities import SUFFIX, read_probabilities
from pipeline.params import Parameters
from pipeline.paths import data_layout, run_layout
from pipeline.resume import unfinished
from pipeline.run_stage import run_stage


def crf(parameters: Parameters, variant: str, seed: int) -> None:
    """Write `runs/<variant>/<seed>/masks_crf`."""
    data = data_layout(parameters.switches.dataset)
    run = run_layout(variant, seed)
    options = parameters.recipe.crf
    names = read_ids(data.val)
    with unfinished("crf", parameters, variant, seed) as work:
        left = [name for name in names if not work.done(f"masks_crf/{name}.png")]
        jobs = (delayed(_refine)(data.images, run.probabilities, name, options) for name in left)
        # Threads: the mean field, nearly all of the work, lets go of Python's lock.
        found = Parallel(n_jobs=-1, prefer="threads", return_as="generator")(jobs)
        bar = tqdm(
            found,
            total=len(names),
            initial=len(names) - len(left),
            unit="image",
            desc=f"crf {variant} {seed}",
            mininterval=2,
        )
        # Written here, not by the workers: after a fault of one, others would still be writing.
        for name, labels in zip(left, bar, strict=True):
            file = f"masks_crf/{name}.png"
            (path,) = work.begin(file)
            write_mask(path, labels)
            work.add(file)
        work.publish({"masks_crf": run.masks_crf})


def _refine(images: Path, probabilities: Path, name: str, options: CRFOptions) -> np.ndarray:
    image = read_image(image_path(images, name))
    path = probabilities / f"{name}{SUFFIX}"
    classes, stored = read_probabilities(path)
    if stored.shape[1:] != image.shape[:2]:
        sizes = [f"{width}x{height}" for height, width in (stored.shape[1:], image.shape[:2])]
        raise BPGError(f"{path}: {sizes[0]} pixels, its image {sizes[1]}; predict again")
    return dense_crf(image, classes, stored, options)


if __name__ == "__main__":
    run_stage("crf", crf, of_run=True)
