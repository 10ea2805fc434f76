"""A trained run's network, with what its labels mean checked."""

from pathlib import Path

from bpg.errors import BPGError
from bpg.models.network import Network, load_network
from pipeline.dataset import describe
from pipeline.params import Parameters
from pipeline.paths import run_layout


def load_trained(parameters: Parameters, variant: str, seed: int) -> Network:
    """Load a trained run's network, in evaluation mode.

    Args:
        parameters: The parameters of the run.
        variant: The run's variant.
        seed: The run's seed.

    Raises:
        BPGError: The model is missing or broken, or was trained on other classes, so that its
            labels mean something else now.
    """
    path = run_layout(variant, seed).model
    network = load_network(path)
    check_classes(parameters, path, network.architecture.classes)
    return network


def check_classes(parameters: Parameters, path: Path, classes: tuple[str, ...]) -> None:
    """Check that a model's labels mean what they mean in this data set.

    Args:
        parameters: The parameters of the run.
        path: The model file.
        classes: What it was trained on.

    Raises:
        BPGError: They differ.
    """
    wanted = describe(parameters).classes
    if classes != wanted:
        raise BPGError(
            f"{path}: was trained on the classes {', '.join(classes)}, not {', '.join(wanted)}; "
            "train it again"
        )
