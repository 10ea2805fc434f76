"""Say what each variant that is a network costs beside the scribble baseline."""

import torch

from bpg.atomic import write_rows
from bpg.cost import Cost, affordable_batch, counts, measure
from bpg.devices import precision
from pipeline.build import architecture, objective, start_execution
from pipeline.dataset import describe
from pipeline.params import Parameters
from pipeline.paths import RESULTS
from pipeline.provenance import hardware
from pipeline.run_stage import run_stage
from pipeline.variants import networks

BASELINE = "scribble"
ROUNDS = 5
LABELLED = 0.03  # share of the pixels that scribbles label, as on VOC


def cost(parameters: Parameters) -> None:
    """Write `results/cost.csv`: one row per network, with the setting it was measured in.

    For a user's folder, what takes no time is counted, and nothing measured: with recipe small, the
    steps that are timed and weighed take minutes on a CPU, longer than training on a few images.
    """
    names = networks(parameters.switches.variants.all, parameters.variants)
    if parameters.dataset.kind == "folder":
        rows = count_variants(parameters, names)
    else:
        rows = measure_variants(parameters, names, ROUNDS)
    write_rows(RESULTS / "cost.csv", list(rows[0]), rows)


def count_variants(parameters: Parameters, names: list[str]) -> list[dict]:
    """Count what variants have and compute in this recipe.

    Args:
        parameters: Have the recipe.
        names: Variants; ratios are as for `measure_variants`.

    Returns:
        The rows of `results/cost.csv`, without what is measured.
    """
    crop = parameters.recipe.training.augmentation.crop
    found = {
        name: counts(architecture(parameters, parameters.variants[name]), crop) for name in names
    }
    baseline = BASELINE if BASELINE in names else names[0]
    setting = {
        "baseline": baseline,
        "recipe": parameters.switches.recipe,
        "classes": len(describe(parameters).classes),
        "crop": crop,
    }
    return [
        {"variant": name}
        | one._asdict()
        | {"macs_ratio": f"{one.macs / found[baseline].macs:.4f}"}
        | setting
        for name, one in found.items()
    ]


def measure_variants(parameters: Parameters, names: list[str], rounds: int) -> list[dict]:
    """Measure what variants cost in this recipe.

    The weights are random and the data made up: nothing is read. On the CPU, a batch of large crops
    is reduced (`bpg.cost.affordable_batch`); the rows hold the batch that was used.

    Args:
        parameters: Have the recipe.
        names: Variants to measure. Ratios are relative to `scribble`, or to the first one if that
            is not among them.
        rounds: How often each variant's step is timed.

    Returns:
        The rows of `results/cost.csv`.
    """
    baseline = BASELINE if BASELINE in names else names[0]
    training, variants = parameters.recipe.training, parameters.variants
    execution = start_execution(parameters, seed=0)
    device = execution.device
    crop = training.augmentation.crop
    batch_size = affordable_batch(training.batch_size, crop, device)
    costs = measure(
        {name: architecture(parameters, variants[name]) for name in names},
        baseline=baseline,
        labelled={
            name: LABELLED if variants[name].supervision == "scribbles" else 1.0 for name in names
        },
        objectives={
            name: objective(parameters, variants[name], boundary_weight=1.0) for name in names
        },
        rounds=rounds,
        batch_size=batch_size,
        crop=crop,
        execution=execution,
        options=training,
    )
    setting = {
        "baseline": baseline,
        "recipe": parameters.switches.recipe,
        "classes": len(describe(parameters).classes),
        "crop": crop,
        "batch": batch_size,
        "device": device.type,
        "hardware": hardware(device),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "precision": precision(device, bf16=execution.bf16),
    }
    reference = next(item for item in costs if item.variant == baseline)
    return [_row(item, reference) | setting for item in costs]


def _row(item: Cost, reference: Cost) -> dict:
    return {
        "variant": item.variant,
        "parameters": item.parameters,
        "parameters_at_test": item.parameters_at_test,
        "macs": item.macs,
        "peak_memory_bytes": item.memory,
        "step_seconds": f"{item.seconds:.5f}",
        "macs_ratio": f"{item.macs / reference.macs:.4f}",
        "memory_ratio": f"{item.memory / reference.memory:.4f}",
        "time_ratio": f"{item.ratio:.4f}",
    }


if __name__ == "__main__":
    run_stage("cost", cost)
