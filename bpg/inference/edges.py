"""What the boundary network sees in a picture (Figure 5)."""

import numpy as np
import torch

from bpg.models.network import Network


@torch.inference_mode()
def predict_edges(
    network: Network, image: np.ndarray, *, device: torch.device, bf16: bool
) -> np.ndarray:
    """Return the BRN's edge map uint8 (H, W), 255 = certainly an edge, of an image (H, W, 3).

    At the picture's own size, without voting: averaged over scales, lines would blur.
    """
    pixels = torch.tensor(image, device=device).permute(2, 0, 1)[None].float()
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        probability = network.predict_edges(pixels)
    return probability[0, 0].mul(255).round().byte().cpu().numpy()
