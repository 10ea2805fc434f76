"""Draw the strokes as label maps."""

from collections.abc import Iterator, Sequence

import numpy as np
from joblib import Parallel, delayed

from bpg.data.ids import read_ids
from bpg.data.masks import image_path, image_size, write_mask
from bpg.data.scribbles import label_map, strokes_path
from bpg.data.survey import survey, survey_table
from bpg.errors import BPGError
from pipeline.dataset import describe
from pipeline.params import Parameters
from pipeline.paths import data_layout
from pipeline.resume import images_left, resumable
from pipeline.run_stage import run_stage


def scribbles(parameters: Parameters) -> None:
    """Write `data/<dataset>/scribbles`: palette PNGs, 255 where nothing is drawn."""
    data = data_layout(parameters.switches.dataset)
    options = parameters.dataset.scribbles
    names = read_ids(data.train)
    classes = describe(parameters).classes
    with resumable("scribbles", parameters) as work:

        def drawn(left: Sequence[str]) -> Iterator[np.ndarray]:
            def draw(name: str) -> np.ndarray:
                image = image_path(data.images, name)
                size = image_size(image.read_bytes(), str(image))
                strokes = strokes_path(data.strokes, name)
                return label_map(strokes, size, classes, options.line_width, options.length)

            # Threads: reading and drawing, which are most of the work, release the GIL.
            parallel = Parallel(n_jobs=-1, prefer="threads", return_as="generator")
            return parallel(delayed(draw)(name) for name in left)

        for _, labels, (path,) in images_left(
            work, names, ["scribbles/{}.png"], drawn, "scribbles"
        ):
            write_mask(path, labels)
        found = survey((work.path(f"scribbles/{name}.png") for name in names), classes)
        print(survey_table({"strokes": found}))
        if mistake := found.mistake():
            raise BPGError(f"{data.strokes}: {mistake}")
        if found.absent:
            print(f"warning: no stroke of {', '.join(found.absent)}: never learnt from strokes")
        work.publish({"scribbles": data.scribbles})


if __name__ == "__main__":
    run_stage("scribbles", scribbles, by_image=True)
