"""Score the masks of one run, raw and with CRF."""

import json
import math
from pathlib import Path

from bpg.atomic import write_json, write_text
from bpg.data.ids import read_ids
from bpg.errors import BPGError
from bpg.evaluation.iou import write_counts
from bpg.evaluation.score import score
from bpg.inference.card import Card, Scores
from pipeline.dataset import describe
from pipeline.params import Parameters
from pipeline.paths import data_layout, run_layout
from pipeline.run_stage import run_stage


def evaluate(parameters: Parameters, variant: str, seed: int) -> None:
    """Write `runs/<variant>/<seed>/metrics.json`, `counts.npy` and `card.json`."""
    data = data_layout(parameters.switches.dataset)
    run = run_layout(variant, seed)
    edge_loss = read_edge_loss(run.training)
    description = describe(parameters)
    names = read_ids(data.val)
    metrics, counts = score(
        names,
        data.masks,
        run.masks,
        run.masks_crf,
        description.classes,
        boundaries=description.truth == "masks",
    )
    write_counts(run.counts, counts)
    write_json(run.metrics, {"variant": variant, "seed": seed, **metrics, "edge_loss": edge_loss})
    raw, crf = metrics["raw"], metrics["crf"]
    card = Card(
        classes=description.classes,
        colours=description.rgb(),
        longest_side=parameters.dataset.longest_side,
        inference=parameters.recipe.inference,
        crf=parameters.recipe.crf,
        dataset=parameters.switches.dataset,
        variant=variant,
        recipe=parameters.switches.recipe,
        seed=seed,
        scores=Scores(raw["miou"], crf["miou"], description.truth, len(names)),
    )
    write_text(run.card, card.to_json())
    said = f"{variant}, seed {seed}: mIoU {raw['miou']:.1f}, with CRF {crf['miou']:.1f}"
    if None not in (raw["boundary_iou"], crf["boundary_iou"]):
        said += f"; boundary IoU {raw['boundary_iou']:.1f}, {crf['boundary_iou']:.1f}"
    print(said)


def read_edge_loss(path: Path) -> float | None:
    """Return the edge loss of a training summary, None for a network without a BRN.

    Raises:
        BPGError: The file is not a training summary.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))["edge_loss"]
        if value is not None and not math.isfinite(value):
            raise ValueError("not finite")
    except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise BPGError(f"{path}: not a training summary; train again") from error
    return value


if __name__ == "__main__":
    run_stage("evaluate", evaluate, of_run=True, by_image=True)
