"""Train a variant. dvc.yaml has several such stages, which differ in what DVC lets them read."""

from contextlib import nullcontext
from pathlib import Path

from bpg.atomic import write_json
from bpg.constants import MEAN
from bpg.data.dataset import TrainingImages
from bpg.data.ids import read_ids
from bpg.distributed import joined
from bpg.download.weights import BACKBONES
from bpg.errors import BPGError
from bpg.models.backbone import load_imagenet
from bpg.models.network import Network, load_network, save_network
from bpg.ranks import rank
from bpg.training.train import train
from bpg.variants import Variant, epochs
from pipeline.build import architecture, objective, start_execution
from pipeline.dataset import describe
from pipeline.params import Parameters
from pipeline.paths import DataLayout, RunLayout, backbone_folder, data_layout, run_layout
from pipeline.provenance import file_provenance, provenance, rounding
from pipeline.resume import resumable
from pipeline.run_stage import run_stage

FEW_STEPS = 200
"""Of the optimizer: below, a network has hardly begun to learn."""


def train_variant(parameters: Parameters, name: str, seed: int) -> None:
    """Write `runs/<variant>/<seed>/{model.safetensors,curves,training.json}`.

    Lambda is read with a BRN only; the edge maps, with a BRN or a regulariser that looks at them.

    Args:
        parameters: Have the data set and the recipe.
        name: A variant that is a network.
        seed: Of the training.

    Raises:
        BPGError: The variant is a forest, or a file is missing or broken.
    """
    variant = parameters.variants[name]
    if variant.classifier == "forest":
        raise BPGError(f"{name} is not a network; run python -m stages.forest {name} {seed}")
    data = data_layout(parameters.switches.dataset)
    run = run_layout(name, seed)
    switches = parameters.switches
    recipe = parameters.recipe
    machine = recipe.machine
    execution = start_execution(parameters, seed)
    made_with = provenance(execution.device, bf16=execution.bf16)
    made_on = rounding(execution.device, machine, bf16=execution.bf16, training=True)
    if variant.supervision == "masks" and describe(parameters).truth != "masks":
        raise BPGError(
            f"{switches.dataset}: has strokes and no masks, so that {name} cannot be trained; "
            "leave it out, as python -m pipeline.choose does"
        )
    boundary_weight = switches.boundary_weight if variant.brn else 0.0
    with (
        joined(execution.device),
        # Process 0 has the work; the others have what it sends them.
        resumable("train", parameters, name, seed, rounding=made_on)
        if rank() == 0
        else nullcontext() as work,
    ):
        network = Network(architecture(parameters, variant))
        if variant.init_from is not None:
            network.init_from(load_network(run_layout(variant.init_from, seed).model))
        elif recipe.model.weights:
            folder = backbone_folder(switches.recipe)
            load_imagenet(network.backbone, BACKBONES[recipe.model.weights].verified(folder))
        *before, own = epochs(name, parameters.variants, recipe.training.epochs)
        red, green, blue = (round(255 * mean) for mean in MEAN)
        images = TrainingImages(
            read_ids(data.train),
            data.images,
            _labels(variant, data, run),
            data.edges if variant.reads_edges else None,
            recipe.training.augmentation,
            classes=len(network.architecture.classes),
            seed=seed,
            fill=(red, green, blue),
            cache=machine.cache,
        )
        batch_size = recipe.training.batch_size
        if len(images) < batch_size:
            batch_size = len(images)
            if rank() == 0:
                print(
                    f"train: note: {len(images)} images are fewer than training.batch_size; "
                    "each step has all of them"
                )
        steps = own * (len(images) // batch_size)
        if steps < FEW_STEPS and rank() == 0:
            print(
                f"train: warning: {own} epochs of {len(images)} images are {steps} steps, which is "
                "little; more epochs: -S params/recipe/RECIPE.yaml:training.epochs=…"
            )
        summary = train(
            network,
            images,
            run.curves,
            objective=objective(parameters, variant, boundary_weight),
            options=recipe.training,
            epochs=own,
            first_epoch=sum(before),
            batch_size=batch_size,
            execution=execution,
            num_workers=machine.num_workers,
            seed=seed,
            title=f"{name}, seed {seed}",
            checkpoint=None if work is None else work.checkpoint,
            checkpoint_seconds=machine.checkpoint_seconds,
        )
        if work is None:
            return
        seconds = round(summary.pop("seconds"), 1)
        save_network(network, run.model)
        write_json(run.training, summary)
        file_provenance(run.model, made_with | {"seconds": seconds})


def _labels(variant: Variant, data: DataLayout, run: RunLayout) -> Path:
    match variant.supervision:
        case "masks":
            return data.masks
        case "scribbles":
            return data.scribbles
        case "grabcut":
            return data.grabcut
        case "propagated":
            return run.propagated


if __name__ == "__main__":
    run_stage("train", train_variant, of_run=True, shared=True)
