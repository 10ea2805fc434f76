"""Label the training images by GrabCut from their strokes, over all cores."""

from collections.abc import Iterator, Sequence

import numpy as np
from joblib import Parallel, delayed

from bpg.data.ids import read_ids
from bpg.data.masks import write_mask
from bpg.data.scribbled import read_scribbled
from bpg.propagation.grabcut import grabcut_labels
from pipeline.dataset import describe
from pipeline.params import Parameters
from pipeline.paths import data_layout
from pipeline.resume import images_left, resumable
from pipeline.run_stage import run_stage


def grabcut(parameters: Parameters) -> None:
    """Write `data/<dataset>/grabcut`: labels of the training images, 255 where none is known.

    Where no variant is trained on them, the folder is empty: DVC cannot leave a stage out.
    """
    data = data_layout(parameters.switches.dataset)
    names = read_ids(data.train) if parameters.switches.variants.train_grabcut else []
    classes, options = len(describe(parameters).classes), parameters.recipe.grabcut
    with resumable("grabcut", parameters) as work:

        def labelled(left: Sequence[str]) -> Iterator[np.ndarray]:
            def label(name: str) -> np.ndarray:
                image, scribble = read_scribbled(data.images, data.scribbles, name, classes)
                return grabcut_labels(image, scribble, options)

            # Threads: OpenCV, which does nearly all of the work, releases the GIL.
            parallel = Parallel(n_jobs=-1, prefer="threads", return_as="generator")
            return parallel(delayed(label)(name) for name in left)

        files, title = ["grabcut/{}.png"], "grabcut"
        for _, labels, (path,) in images_left(work, names, files, labelled, title):
            write_mask(path, labels)
        work.publish({"grabcut": data.grabcut})


if __name__ == "__main__":
    run_stage("grabcut", grabcut, by_image=True)
