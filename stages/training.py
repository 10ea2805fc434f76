"""What the training stages share: they differ in what DVC lets them read."""

from pathlib import Path

from bpg.data.dataset import Augmentation, TrainingPictures
from bpg.data.ids import read_ids
from bpg.data.pretrained import BACKBONES
from bpg.errors import BPGError
from bpg.files import write_json
from bpg.losses.terms import OPTIONS
from bpg.models.backbone import load_imagenet
from bpg.models.network import (
    MEAN,
    Architecture,
    BRNOptions,
    Network,
    PRNOptions,
    load_network,
    save_network,
)
from bpg.training.devices import choose_bf16, choose_device, set_up
from bpg.training.train import Objective, train
from bpg.variants import VARIANTS, Stage, Variant, budget
from stages.layout import RunLayout, backbone_folder, data_layout, run_layout
from stages.parameters import Parameters
from stages.provenance import file_provenance, provenance, rounding
from stages.unfinished import unfinished


def train_variant(
    parameters: Parameters,
    variant_name: str,
    seed: int,
    stage: Stage,
    *,
    boundary_weight: float = 0.0,
    edges: Path | None = None,
) -> None:
    """Train one variant with one seed and write its model, curves and summary.

    `boundary_weight` is λ; `edges` the folder of edge maps, None for a variant without a BRN.
    Raises BPGError for a variant of another training stage and for bad input.
    """
    variant = VARIANTS[variant_name]
    if variant.stage != stage:
        raise BPGError(f"{variant_name} is trained by another stage: {variant.stage}")
    data = data_layout(parameters.switches.dataset)
    run = run_layout(variant_name, seed)
    recipe, machine = parameters.recipe, parameters.recipe.machine
    device = choose_device(parameters.switches.device)
    set_up(
        device,
        threads=machine.threads,
        seed=seed,
        deterministic=machine.deterministic,
        fixed_size=True,
    )
    bf16 = choose_bf16(machine.bf16, device)
    made_with = provenance(device, bf16=bf16)
    made_on = rounding(device, machine, bf16=bf16, training=True)
    with unfinished(stage, parameters, variant_name, seed, rounding=made_on) as work:
        network = Network(architecture(parameters, variant))
        if variant.start is not None:
            network.go_on_from(load_network(run_layout(variant.start, seed).model))
        elif recipe.model.weights:
            folder = backbone_folder(parameters.switches.recipe)
            load_imagenet(network.backbone, BACKBONES[recipe.model.weights].verified(folder))
        epochs = budget(variant, recipe.training.epochs, recipe.fine_tuning.warm_epochs)
        pictures = TrainingPictures(
            read_ids(data.train),
            data.images,
            _labels(variant, data.masks, data.scribbles, run),
            edges,
            Augmentation(**recipe.training.augmentation.model_dump()),
            classes=len(parameters.dataset.classes),
            seed=seed,
            fill=tuple(round(255 * mean) for mean in MEAN),
            cache=machine.cache,
        )
        summary = train(
            network,
            pictures,
            run.curves,
            objective=objective(parameters, variant, boundary_weight),
            epochs=epochs[-1],
            first_epoch=sum(epochs[:-1]),
            **recipe.training.model_dump(exclude={"augmentation", "epochs"}),
            device=device,
            bf16=bf16,
            compiled=machine.compile,
            captured=machine.capture,
            workers=machine.workers,
            seed=seed,
            title=f"{variant_name}, seed {seed}",
            checkpoint=work.checkpoint,
            checkpoint_seconds=machine.checkpoint_seconds,
        )
        seconds = round(summary.pop("seconds"), 1)
        save_network(network, run.model)
        write_json(run.training, summary)
        file_provenance(run.model, made_with | {"seconds": seconds})


def _labels(variant: Variant, masks: Path, scribbles: Path, run: RunLayout) -> Path:
    match variant.supervision:
        case "masks":
            return masks
        case "scribbles":
            return scribbles
        case "propagated":
            return run.propagated


def objective(parameters: Parameters, variant: Variant, boundary_weight: float) -> Objective:
    """Return what `variant` minimises in this recipe; `boundary_weight` is λ."""
    sections = parameters.recipe.regularisers
    return Objective(
        boundary_weight,
        {
            term: OPTIONS[term](**getattr(sections, term).model_dump())
            for term in variant.regularisers
        },
    )


def architecture(parameters: Parameters, variant: Variant) -> Architecture:
    """Return the network that `variant` asks for in this recipe."""
    model = parameters.recipe.model
    return Architecture(
        classes=tuple(parameters.dataset.classes),
        backbone=model.backbone,
        backbone_options=model.options,
        frozen_norm=model.frozen_norm,
        aspp_rates=tuple(model.aspp_rates),
        prn=PRNOptions(**model.prn.model_dump()) if variant.prn else None,
        brn=BRNOptions(channels=variant.brn, **model.brn.model_dump()) if variant.brn else None,
    )
