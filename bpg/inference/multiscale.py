"""What a network predicts for an image: classes over scales and flips (section 4.1), edges."""

import numpy as np
import torch
import torch.nn.functional as F

from bpg.inference.options import InferenceOptions
from bpg.models.network import Network


@torch.inference_mode()
def multiscale_probabilities(
    network: Network,
    image: np.ndarray,
    options: InferenceOptions,
    *,
    device: torch.device,
    bf16: bool,
) -> torch.Tensor:
    """Average class probabilities over scales and flips.

    At each scale, the logits are resized to the original size and turned into probabilities, which
    are averaged.

    Args:
        network: In evaluation mode, on the device.
        image: uint8 (H, W, 3), RGB.
        options: The scales, and whether to add the mirror images.
        device: Where to run.
        bf16: Whether to run under bf16 autocast.

    Returns:
        float32 (K+1, H, W) in 0..1, on the device.
    """
    pixels = torch.tensor(image, device=device).permute(2, 0, 1)[None].float()
    size = pixels.shape[2:]
    total = torch.zeros((), device=device)
    for scale in options.scales:
        scaled_size = [max(1, round(extent * scale)) for extent in size]
        scaled = pixels
        if scaled_size != list(size):
            scaled = F.interpolate(
                pixels, scaled_size, mode="bilinear", align_corners=False, antialias=scale < 1
            )
        if options.flip:
            scaled = torch.cat([scaled, scaled.flip(3)])
        scaled = scaled.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits = network(scaled).logits
        logits = F.interpolate(logits.float(), size, mode="bilinear", align_corners=False)
        probabilities = logits.softmax(dim=1)
        if options.flip:
            probabilities[1] = probabilities[1].flip(2)
        total = total + probabilities.mean(0)
    return total / len(options.scales)


@torch.inference_mode()
def predict_edges(
    network: Network, image: np.ndarray, *, device: torch.device, bf16: bool
) -> np.ndarray:
    """Predict the BRN's edge map, at the image's own size only: averaging over scales blurs lines.

    Args:
        network: In evaluation mode, on the device.
        image: uint8 (H, W, 3), RGB.
        device: Where to run.
        bf16: Whether to run under bf16 autocast.

    Returns:
        uint8 (H, W); 255 = certainly an edge.

    Raises:
        ValueError: The network has no BRN.
    """
    pixels = torch.tensor(image, device=device).permute(2, 0, 1)[None].float()
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        probability = network.predict_edges(pixels)
    return probability[0, 0].mul(255).round().byte().cpu().numpy()
