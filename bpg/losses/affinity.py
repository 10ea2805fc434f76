"""The dense Gaussian affinity of a batch, which normalized cut and dense CRF loss share."""

from dataclasses import dataclass

import torch

from bpg.losses.gaussian_filter import gaussian_sums, pixel_features
from bpg.losses.inputs import Inputs


@dataclass(frozen=True)
class Affinity:
    """What the losses need of the affinity matrix A of P pixels, which is never stored whole.

    Attributes:
        probabilities: S (N, K+1, P), zero at invalid pixels.
        sums: S·A (N, K+1, P), zero at invalid pixels.
        degrees: 1·A (N, 1, P), summed over valid pixels only; zero at invalid pixels.
    """

    probabilities: torch.Tensor
    sums: torch.Tensor
    degrees: torch.Tensor


@torch.no_grad()
def dense_affinity(inputs: Inputs, *, xy: float, rgb: float) -> Affinity:
    """Sum the Gaussian affinities between all pixels of each image (Tang et al., CVPR, ECCV 2018).

    Time grows with the square of the number of pixels, memory does not: see
    `bpg.losses.gaussian_filter`. No gradient flows through the result.

    Args:
        inputs: The batch, at full or reduced size.
        xy: Standard deviation of the kernel in position, in pixels of the full size.
        rgb: Standard deviation of the kernel in colour, on the scale 0..255.

    Returns:
        The affinities of the P = h·w pixels.
    """
    valid = inputs.valid[:, None].flatten(2).to(inputs.probabilities.dtype)
    probabilities = inputs.probabilities.flatten(2) * valid
    images = inputs.images.to(inputs.probabilities.dtype)
    features = pixel_features(images, xy=xy, rgb=rgb, spacing=inputs.spacing)
    sums = gaussian_sums(features, torch.cat([probabilities, valid], dim=1)) * valid
    return Affinity(probabilities, sums[:, :-1], sums[:, -1:])
