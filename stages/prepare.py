"""Bring the data set into images, masks, strokes and id lists."""

from bpg.data.shapes import CLASSES, prepare_shapes
from bpg.data.voc import prepare_voc
from bpg.errors import BPGError
from stages.layout import data_layout
from stages.parameters import Parameters, VOCSource
from stages.stage import run_stage


def prepare(parameters: Parameters) -> None:
    """Write `data/<dataset>/{images,masks,strokes,train.txt,val.txt}`."""
    data = data_layout(parameters.switches.dataset)
    dataset = parameters.dataset
    if isinstance(dataset.source, VOCSource):
        train, val = prepare_voc(
            data.archives,
            data.folder,
            classes=dataset.classes,
            voc=dataset.source.voc.name,
            sbd=dataset.source.sbd.name,
            scribbles=dataset.source.scribbles.name,
        )
        print(f"{len(train):,} training and {len(val):,} validation pictures")
        return
    if tuple(dataset.classes) != CLASSES:
        raise BPGError(
            f"params/dataset/{parameters.switches.dataset}.yaml: classes: the generated data set "
            f"draws {', '.join(CLASSES)}, in this order"
        )
    prepare_shapes(data.folder, **dataset.source.model_dump())


if __name__ == "__main__":
    run_stage("prepare", prepare)
