"""Sharpen the predictions with the dense CRF, over all cores."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed

from bpg.data.ids import read_ids
from bpg.data.masks import image_path, read_image, write_mask
from bpg.errors import BPGError
from bpg.inference.crf import dense_crf
from bpg.inference.options import CRFOptions
from bpg.inference.probabilities import SUFFIX, read_probabilities
from pipeline.params import Parameters
from pipeline.paths import data_layout, run_layout
from pipeline.resume import images_left, resumable
from pipeline.run_stage import run_stage


def crf(parameters: Parameters, variant: str, seed: int) -> None:
    """Write `runs/<variant>/<seed>/masks_crf`."""
    data = data_layout(parameters.switches.dataset)
    run = run_layout(variant, seed)
    options = parameters.recipe.crf
    names = read_ids(data.val)
    with resumable("crf", parameters, variant, seed) as work:

        def refined(left: Sequence[str]) -> Iterator[np.ndarray]:
            # Threads: the mean field, which is nearly all of the work, releases the GIL.
            parallel = Parallel(n_jobs=-1, prefer="threads", return_as="generator")
            refine = delayed(_refine)
            return parallel(refine(data.images, run.probabilities, name, options) for name in left)

        files, title = ["masks_crf/{}.png"], f"crf {variant} {seed}"
        for _, labels, (path,) in images_left(work, names, files, refined, title):
            write_mask(path, labels)
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
    run_stage("crf", crf, of_run=True, by_image=True)
