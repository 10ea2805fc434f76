"""A trained run's model, be it a network or a forest, and what it predicts for an image."""

import numpy as np
import torch

from bpg.forest.forest import Forest, is_forest, load_forest
from bpg.inference.multiscale import multiscale_probabilities
from bpg.inference.options import InferenceOptions
from bpg.models.network import Network
from pipeline.params import Parameters
from pipeline.paths import run_layout
from pipeline.trained import check_classes, load_trained


def load_model(parameters: Parameters, variant: str, seed: int) -> Network | Forest:
    """Load a trained run's network or forest; its file says which it is.

    Args:
        parameters: The parameters of the run.
        variant: The run's variant.
        seed: The run's seed.

    Raises:
        BPGError: As for `load_trained`.
    """
    path = run_layout(variant, seed).model
    if not is_forest(path):
        return load_trained(parameters, variant, seed)
    forest = load_forest(path)
    check_classes(parameters, path, forest.classes)
    return forest


def class_probabilities(
    model: Network | Forest,
    image: np.ndarray,
    options: InferenceOptions,
    *,
    device: torch.device,
    bf16: bool,
) -> torch.Tensor:
    """Predict class probabilities; a forest sees the image once, on the CPU.

    Args:
        model: A network in evaluation mode, on the device; or a forest.
        image: uint8 (H, W, 3), RGB.
        options: The scales, and whether to add the mirror images, for a network.
        device: Where a network runs.
        bf16: Whether a network runs under bf16 autocast.

    Returns:
        float32 (K+1, H, W) in 0..1.
    """
    if isinstance(model, Forest):
        return torch.from_numpy(model.probabilities(image))
    return multiscale_probabilities(model, image, options, device=device, bf16=bf16)
