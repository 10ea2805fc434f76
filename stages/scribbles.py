"""Draw the strokes as label maps."""

from tqdm import tqdm

from bpg.constants import IGNORE
from bpg.data.ids import read_ids
from bpg.data.masks import image_path, image_size, read_mask, write_mask
from bpg.data.scribbles import label_map
from pipeline.params import Parameters
from pipeline.paths import data_layout
from pipeline.resume import unfinished
from pipeline.run_stage import run_stage


def scribbles(parameters: Parameters) -> None:
    """Write `data/<dataset>/scribbles`: palette PNGs, 255 where nothing is drawn."""
    data = data_layout(parameters.switches.dataset)
    options = parameters.dataset.scribbles
    labelled, pixels = 0, 0
    with unfinished("scribbles", parameters) as work:
        for name in tqdm(read_ids(data.train), unit="image", desc="scribbles", mininterval=2):
            file = f"scribbles/{name}.png"
            if not work.done(file):
                path = image_path(data.images, name)
                size = image_size(path.read_bytes(), str(path))
                strokes = data.strokes / f"{name}.xml"
                labels = label_map(strokes, size, parameters.dataset.classes, options.line_width)
                (target,) = work.begin(file)
                write_mask(target, labels)
                work.add(file)
            else:
                labels = read_mask(work.path(file))
            labelled += int((labels != IGNORE).sum())
            pixels += labels.size
        work.publish({"scribbles": data.scribbles})
    print(f"{100 * labelled / pixels:.1f} % of the pixels are labelled")


if __name__ == "__main__":
    run_stage("scribbles", scribbles)
