"""From parameters to the library's objects: a variant's network and objective."""

from bpg.losses.options import OPTIONS
from bpg.models.network import Architecture, BRNOptions, PRNOptions
from bpg.training.objective import Objective
from bpg.variants import Variant
from pipeline.params import Parameters


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
