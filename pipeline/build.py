"""From parameters to the library's objects: a variant's network and objective."""

from dataclasses import asdict

from bpg.devices import Execution, choose_bf16, choose_device, set_up
from bpg.models.network import Architecture
from bpg.models.options import BRNArchitecture
from bpg.training.objective import Objective
from bpg.variants import Variant
from pipeline.dataset import describe
from pipeline.params import Parameters


def objective(parameters: Parameters, variant: Variant, boundary_weight: float) -> Objective:
    """Return what a variant minimises in this recipe.

    Args:
        parameters: Have the options of the regularisers.
        variant: Names its regularisers.
        boundary_weight: λ, the weight of the boundary loss.
    """
    sections = parameters.recipe.regularisers
    return Objective(
        boundary_weight,
        {name: getattr(sections, name) for name in variant.regularisers},
    )


def start_execution(parameters: Parameters, seed: int) -> Execution:
    """Choose where and how to train, and set PyTorch up for it.

    Args:
        parameters: Have the switches and the recipe's options.
        seed: Of PyTorch's random numbers.
    """
    machine = parameters.recipe.machine
    device = choose_device(parameters.switches.device)
    set_up(
        device,
        threads=machine.threads,
        seed=seed,
        deterministic=machine.deterministic,
        fixed_size=True,
    )
    bf16 = choose_bf16(machine.bf16, device)
    return Execution(device, bf16, compiled=machine.compile, captured=machine.capture)


def architecture(parameters: Parameters, variant: Variant) -> Architecture:
    """Return the network that `variant` asks for in this recipe."""
    model = parameters.recipe.model
    return Architecture(
        classes=describe(parameters).classes,
        backbone=model.backbone,
        backbone_options=model.options,
        frozen_norm=model.frozen_norm,
        aspp_rates=tuple(model.aspp_rates),
        prn=model.prn if variant.prn else None,
        brn=BRNArchitecture(**asdict(model.brn), channels=variant.brn) if variant.brn else None,
    )
