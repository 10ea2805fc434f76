"""Train a variant from the start and without boundary loss: neither edges nor lambda are read."""

from stages.parameters import Parameters
from stages.stage import run_stage
from stages.training import train_variant


def train(parameters: Parameters, variant: str, seed: int) -> None:
    """Write `runs/<variant>/<seed>/{model.safetensors,curves,training.json}`."""
    train_variant(parameters, variant, seed, "train")


if __name__ == "__main__":
    run_stage("train", train, of_run=True)
