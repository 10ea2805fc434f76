"""Draw the strokes as label maps."""

from collections.abc import Iterator, Sequence
from statistics import fmean

import numpy as np

from bpg.constants import IGNORE
from bpg.data.ids import read_ids
from bpg.data.masks import image_path, image_size, read_mask, write_mask
from bpg.data.scribbles import label_map
from pipeline.params import Parameters
from pipeline.paths import data_layout
from pipeline.resume import images_left, resumable
from pipeline.run_stage import run_stage


def scribbles(parameters: Parameters) -> None:
    """Write `data/<dataset>/scribbles`: palette PNGs, 255 where nothing is drawn."""
    data = data_layout(parameters.switches.dataset)
    options = parameters.dataset.scribbles
    names = read_ids(data.train)
    with resumable("scribbles", parameters) as work:

        def drawn(left: Sequence[str]) -> Iterator[np.ndarray]:
            for name in left:
                image = image_path(data.images, name)
                size = image_size(image.read_bytes(), str(image))
                strokes = data.strokes / f"{name}.xml"
                yield label_map(strokes, size, parameters.dataset.classes, options.line_width)

        for _, labels, (path,) in images_left(
            work, names, ["scribbles/{}.png"], drawn, "scribbles"
        ):
            write_mask(path, labels)
        work.publish({"scribbles": data.scribbles})
    drawn_maps = (read_mask(data.scribbles / f"{name}.png") for name in names)
    shares = [(labels != IGNORE).mean() for labels in drawn_maps]
    print(f"{100 * fmean(shares):.1f} % of an image's pixels are labelled")


if __name__ == "__main__":
    run_stage("scribbles", scribbles)
