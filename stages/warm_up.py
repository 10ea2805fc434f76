"""Train by partial cross-entropy alone what fine-tuning goes on from, once for all."""

from stages.parameters import Parameters
from stages.stage import run_stage
from stages.training import train_variant


def warm_up(parameters: Parameters, variant: str, seed: int) -> None:
    """Write `runs/<variant>/<seed>/{model.safetensors,curves,training.json}`."""
    train_variant(parameters, variant, seed, "warm_up")


if __name__ == "__main__":
    run_stage("warm_up", warm_up, of_run=True)
