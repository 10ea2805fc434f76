"""Turn the data set into images, masks, strokes and id lists."""

from collections.abc import Sequence
from pathlib import Path

from bpg.atomic import write_text
from bpg.data.shapes import CLASSES, prepare_shapes
from bpg.data.survey import survey, survey_table
from bpg.data.voc import prepare_voc
from bpg.errors import BPGError
from bpg.resumable import Work
from pipeline.params import Parameters, ShapesSource
from pipeline.paths import data_layout
from pipeline.resume import resumable
from pipeline.run_stage import run_stage


def prepare(parameters: Parameters) -> None:
    """Write `data/<dataset>/{images,masks,strokes,train.txt,val.txt}`.

    Raises:
        BPGError: An archive lacks something, or the classes of the generated data set are not those
            that it draws.
    """
    data = data_layout(parameters.switches.dataset)
    dataset = parameters.dataset
    if isinstance(dataset.source, ShapesSource) and tuple(dataset.classes) != CLASSES:
        raise BPGError(
            f"params/dataset/{parameters.switches.dataset}.yaml: classes: the generated data set "
            f"draws {', '.join(CLASSES)}, in this order"
        )
    with resumable("prepare", parameters) as work:
        if isinstance(dataset.source, ShapesSource):
            train, val = prepare_shapes(work, **dataset.source.model_dump())
        else:
            train, val = prepare_voc(
                data.archives,
                work,
                classes=dataset.classes,
                voc=dataset.source.voc.name,
                sbd=dataset.source.sbd.name,
                scribbles=dataset.source.scribbles.name,
            )
        check_masks(work, data.masks, dataset.classes, train, val)
        work.publish({"images": data.images, "masks": data.masks, "strokes": data.strokes})
        # Last, so that a list never names an image that is not there.
        for path, ids in ((data.train, train), (data.val, val)):
            write_text(path, "".join(f"{name}\n" for name in ids))
    print(f"{len(train):,} training and {len(val):,} validation images")


def check_masks(
    work: Work, masks: Path, classes: Sequence[str], train: Sequence[str], val: Sequence[str]
) -> None:
    """Print what the masks hold, warn of what is odd, and refuse what cannot be scored or trained.

    Args:
        work: Where the masks are.
        masks: Where they are going to be, for messages.
        classes: Class names, background first.
        train: Ids of the training images.
        val: Ids of the validation images.

    Raises:
        BPGError: The validation masks, or the training masks, hold one class alone. Training masks
            may all be 255: a data set of strokes.
    """
    found = {
        f"{split} masks": survey((work.path(f"masks/{name}.png") for name in ids), classes)
        for split, ids in (("training", train), ("validation", val))
    }
    print(survey_table(found))
    for split, one in found.items():
        if split == "training masks" and not one.present:
            print(f"warning: the {split} are all 255: the variant mask cannot be trained")
        elif mistake := one.mistake():
            raise BPGError(f"{masks}: {split}: {mistake}")
        elif one.absent:
            print(f"warning: no pixel of {', '.join(one.absent)} in the {split}")


if __name__ == "__main__":
    run_stage("prepare", prepare)
