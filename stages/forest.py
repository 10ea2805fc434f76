"""Fit a random forest on the pixels of the strokes: what one would do without a network."""

import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version

import numpy as np
import torch
from joblib import Parallel, delayed

from bpg.atomic import write_json
from bpg.data.ids import read_ids
from bpg.data.scribbled import read_scribble, read_scribbled
from bpg.errors import BPGError
from bpg.forest.features import Features, pixel_features
from bpg.forest.fit import draw_pixels, fit_forest, labelled_pixels
from bpg.forest.forest import LEAF, save_forest
from pipeline.dataset import describe
from pipeline.params import Parameters
from pipeline.paths import data_layout, run_layout
from pipeline.provenance import file_provenance, provenance
from pipeline.resume import images_left, resumable
from pipeline.run_stage import run_stage


def forest(parameters: Parameters, name: str, seed: int) -> None:
    """Write `runs/<variant>/<seed>/{model.safetensors,training.json}`.

    Args:
        parameters: Have the data set and the recipe.
        name: A variant whose classifier is a forest.
        seed: Of the drawn pixels and of the trees.

    Raises:
        BPGError: The variant is no forest, or a file is missing or broken.
    """
    if parameters.variants[name].classifier != "forest":
        raise BPGError(f"{name} is not a forest; run python -m stages.train {name} {seed}")
    started = time.monotonic()
    made_with = provenance(torch.device("cpu"), bf16=False)
    data, run = data_layout(parameters.switches.dataset), run_layout(name, seed)
    classes, options = describe(parameters).classes, parameters.recipe.forest
    strokes = {
        one: labelled_pixels(read_scribble(data.scribbles / f"{one}.png", len(classes)))
        for one in read_ids(data.train)
    }
    drawn = draw_pixels(strokes, options.pixels_per_class, seed)
    with resumable("forest", parameters, name, seed) as work:

        def computed(left: Sequence[str]) -> Iterator[Features]:
            def of(image_id: str) -> Features:
                image, _ = read_scribbled(data.images, data.scribbles, image_id, len(classes))
                found = pixel_features(image, options.sigma_min, options.sigma_max)
                return found.reshape(-1, found.shape[2])[drawn[image_id].pixels]

            parallel = Parallel(n_jobs=-1, prefer="threads", return_as="generator")
            return parallel(delayed(of)(image_id) for image_id in left)

        names, files, title = list(drawn), ["features/{}.npy"], f"features for {name}, seed {seed}"
        for _, found, (path,) in images_left(work, names, files, computed, title):
            np.save(path, found)
        features = np.concatenate([np.load(work.path(f"features/{one}.npy")) for one in names])
        labels = np.concatenate([drawn[one].labels for one in names])
        fitted = fit_forest(features, labels, classes, options, seed)
        counts = np.bincount(labels, minlength=len(classes))
        save_forest(fitted, run.model)
        summary = {
            "pixels": len(labels),
            "trees": len(fitted.roots),
            "leaves": int((fitted.features == LEAF).sum()),
            "unseen_classes": [one for one, n in zip(classes, counts, strict=True) if not n],
            "edge_loss": None,
        }
        write_json(run.training, summary)
        made_with |= {"scikit-learn": version("scikit-learn")}
        seconds = round(time.monotonic() - started, 3)
        file_provenance(run.model, made_with | {"seconds": seconds})


if __name__ == "__main__":
    run_stage("forest", forest, of_run=True)
