"""Draw the strokes as label maps."""

from tqdm import tqdm

from bpg.data.ids import read_ids
from bpg.data.masks import image_path, image_size, write_mask
from bpg.data.scribbles import label_map
from bpg.files import whole_directory
from stages.layout import data_layout
from stages.parameters import Parameters
from stages.stage import run_stage


def scribbles(parameters: Parameters) -> None:
    """Write `data/<dataset>/scribbles`: palette PNGs, 255 where nothing is drawn."""
    data = data_layout(parameters.switches.dataset)
    options = parameters.dataset.scribbles
    labelled, pixels = 0, 0
    with whole_directory(data.scribbles) as folder:
        for name in tqdm(read_ids(data.train), unit="image", desc="scribbles", mininterval=2):
            path = image_path(data.images, name)
            size = image_size(path.read_bytes(), str(path))
            labels = label_map(
                data.strokes / f"{name}.xml", size, parameters.dataset.classes, options.line_width
            )
            write_mask(folder / f"{name}.png", labels)
            labelled += int((labels != 255).sum())
            pixels += labels.size
    print(f"{100 * labelled / pixels:.1f} % of the pixels are labelled")


if __name__ == "__main__":
    run_stage("scribbles", scribbles)
