"""Train a variant with the boundary loss on HED's edge maps, weighed by lambda."""

from stages.layout import data_layout
from stages.parameters import Parameters
from stages.stage import run_stage
from stages.training import train_variant


def train_boundary(parameters: Parameters, variant: str, seed: int) -> None:
    """Write `runs/<variant>/<seed>/{model.safetensors,curves,training.json}`."""
    switches = parameters.switches
    train_variant(
        parameters,
        variant,
        seed,
        "train_boundary",
        boundary_weight=switches.boundary_weight,
        edges=data_layout(switches.dataset).edges,
    )


if __name__ == "__main__":
    run_stage("train_boundary", train_boundary, of_run=True)
