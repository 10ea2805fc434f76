"""Go on from the network that propagated the labels, on these labels."""

from stages.parameters import Parameters
from stages.stage import run_stage
from stages.training import train_variant


def train_propagated(parameters: Parameters, variant: str, seed: int) -> None:
    """Write `runs/<variant>/<seed>/{model.safetensors,curves,training.json}`."""
    train_variant(parameters, variant, seed, "train_propagated")


if __name__ == "__main__":
    run_stage("train_propagated", train_propagated, of_run=True)
