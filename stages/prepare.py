"""Turn the data set into images, masks, strokes and id lists."""

from bpg.atomic import write_text
from bpg.data.shapes import CLASSES, prepare_shapes
from bpg.data.voc import prepare_voc
from bpg.errors import BPGError
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
        work.publish({"images": data.images, "masks": data.masks, "strokes": data.strokes})
        # Last, so that a list never names an image that is not there.
        for path, ids in ((data.train, train), (data.val, val)):
            write_text(path, "".join(f"{name}\n" for name in ids))
    print(f"{len(train):,} training and {len(val):,} validation images")


if __name__ == "__main__":
    run_stage("prepare", prepare)
