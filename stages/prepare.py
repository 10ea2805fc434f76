"""Turn the data set into images, masks, strokes and id lists."""

from collections.abc import Callable, Sequence
from pathlib import Path

from bpg.atomic import write_text
from bpg.data.description import Description, write_description
from bpg.data.findings import Finding
from bpg.data.folder import read_folder
from bpg.data.folder_checks import check_folder
from bpg.data.folder_split import split_folder
from bpg.data.masks import default_colours
from bpg.data.options import FolderOptions
from bpg.data.prepare_folder import describe_folder, ids, prepare_folder
from bpg.data.shapes import CLASSES, prepare_shapes
from bpg.data.split import draw
from bpg.data.survey import survey, survey_table
from bpg.data.voc import prepare_voc
from bpg.errors import BPGError
from bpg.resumable import Work
from pipeline.params import Dataset, Parameters, ShapesSource, VOCSource
from pipeline.paths import DataLayout, data_layout
from pipeline.resume import resumable
from pipeline.run_stage import run_stage


def prepare(parameters: Parameters) -> None:
    """Write `data/<dataset>/{description.json,images,masks,strokes,train.txt,val.txt,pool.txt}`.

    Raises:
        BPGError: An archive lacks something, the classes of the generated data set are not those
            that it draws, or something is wrong with the user's folder.
    """
    data = data_layout(parameters.switches.dataset)
    with resumable("prepare", parameters) as work:
        match parameters.dataset.source:
            case ShapesSource():
                found = _shapes(work, parameters)
            case VOCSource() as source:
                found = _voc(work, parameters.dataset, source, data)
            case FolderOptions() as options:
                found = _folder(work, parameters.dataset, options, parameters.switches.recipe)
        description, train, val, pool = found
        if (share := parameters.dataset.train_share) < 1:
            train = sorted(draw(train, share, seed=0))
        check_masks(work, data.masks, description, train, val)
        work.publish({"images": data.images, "masks": data.masks, "strokes": data.strokes})
        write_description(data.description, description)
        # Last, so that a list never names an image that is not there.
        for path, names in ((data.pool, pool), (data.train, train), (data.val, val)):
            write_text(path, "".join(f"{name}\n" for name in names))
    print(f"{len(train):,} images to train on, {len(val):,} to score on")


Prepared = tuple[Description, list[str], list[str], list[str]]
"""What the labels mean, and the ids for training, validation, and to say where to draw next."""


def _shapes(work: Work, parameters: Parameters) -> Prepared:
    dataset = parameters.dataset
    assert isinstance(dataset.source, ShapesSource)
    if tuple(dataset.classes) != CLASSES:
        raise BPGError(
            f"params/dataset/{parameters.switches.dataset}.yaml: classes: the generated data set "
            f"draws {', '.join(CLASSES)}, in this order"
        )
    return _described(dataset, *prepare_shapes(work, **dataset.source.model_dump()))


def _voc(work: Work, dataset: Dataset, source: VOCSource, data: DataLayout) -> Prepared:
    train, val = prepare_voc(
        data.archives,
        work,
        classes=dataset.classes,
        voc=source.voc.name,
        sbd=source.sbd.name,
        scribbles=source.scribbles.name,
        longest_side=dataset.longest_side,
    )
    return _described(dataset, train, val)


def _described(dataset: Dataset, train: list[str], val: list[str]) -> Prepared:
    colours = default_colours(len(dataset.classes))
    return Description(tuple(dataset.classes), colours), train, val, []


def _folder(work: Work, dataset: Dataset, options: FolderOptions, recipe: str) -> Prepared:
    folder = read_folder(
        Path(dataset.root),
        options,
        classes=dataset.classes,
        line_width=dataset.scribbles.line_width,
        longest_side=dataset.longest_side,
    )
    refuse(folder.findings, dataset.root)
    split = split_folder(folder)
    findings = [*folder.findings, *check_folder(folder, split)]
    for finding in findings:
        if finding.level != "error":
            print(f"{finding.level}: {finding.text}")
    refuse(findings, dataset.root)
    prepare_folder(work, folder, split)
    if recipe == "tiny":
        print("warning: recipe tiny is for the generated images; for photographs: recipe small")
    listed: Callable[[Sequence[str]], list[str]] = lambda names: ids(folder, names)  # noqa: E731
    print(f"scored on {split.truth}")
    return (
        describe_folder(folder, split),
        listed(split.train),
        listed(split.val),
        listed(split.pool),
    )


def refuse(findings: Sequence[Finding], root: str) -> None:
    """End if a folder's findings have an error.

    Args:
        findings: What was found.
        root: The folder.

    Raises:
        BPGError: They have: the first one, and how many more there are.
    """
    errors = [finding.text for finding in findings if finding.level == "error"]
    if errors:
        more = f"; bpg check {root} lists {len(errors) - 1} more" if len(errors) > 1 else ""
        raise BPGError(errors[0] + more)


def check_masks(
    work: Work,
    masks: Path,
    description: Description,
    train: Sequence[str],
    val: Sequence[str],
) -> None:
    """Print what the masks hold, warn of what is odd, and refuse what cannot be scored or trained.

    Args:
        work: Where the masks are.
        masks: Where they are going to be, for messages.
        description: What their labels mean.
        train: Ids of the training images.
        val: Ids of the validation images.

    Raises:
        BPGError: The validation masks, or the training masks, hold one class alone. Training masks
            may all be 255: a data set of strokes.
    """
    kinds: dict[str, Sequence[str]] = {description.truth: val}
    if description.truth == "masks":
        kinds = {"training masks": train, "validation masks": val}
    found = {
        kind: survey((work.path(f"masks/{name}.png") for name in ids), description.classes)
        for kind, ids in kinds.items()
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
