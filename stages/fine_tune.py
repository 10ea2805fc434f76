"""Go on from the warm start on the strokes, as a rule with a regulariser."""

from stages.parameters import Parameters
from stages.stage import run_stage
from stages.training import train_variant


def fine_tune(parameters: Parameters, variant: str, seed: int) -> None:
    """Write `runs/<variant>/<seed>/{model.safetensors,curves,training.json}`."""
    train_variant(parameters, variant, seed, "fine_tune")


if __name__ == "__main__":
    run_stage("fine_tune", fine_tune, of_run=True)
