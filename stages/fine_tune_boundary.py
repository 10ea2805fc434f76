"""Go on from the warm start with the boundary loss and, as a rule, a regulariser."""

from stages.layout import data_layout
from stages.parameters import Parameters
from stages.stage import run_stage
from stages.training import train_variant


def fine_tune_boundary(parameters: Parameters, variant: str, seed: int) -> None:
    """Write `runs/<variant>/<seed>/{model.safetensors,curves,training.json}`."""
    switches = parameters.switches
    train_variant(
        parameters,
        variant,
        seed,
        "fine_tune_boundary",
        boundary_weight=switches.boundary_weight,
        edges=data_layout(switches.dataset).edges,
    )


if __name__ == "__main__":
    run_stage("fine_tune_boundary", fine_tune_boundary, of_run=True)
