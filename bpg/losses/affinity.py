"""The dense Gaussian affinity of a batch, which NormalizedCut and DenseCRF share."""

from dataclasses import dataclass

import torch

from bpg.losses.gaussian_filter import gaussian_sums, pixel_features
from bpg.losses.inputs import Inputs


@dataclass(frozen=True)
class Affinity:
    """Of S = the probabilities (N, K+1, P), zero at invalid pixels, and the affinity A:

    `sums` = S·A (N, K+1, P) and `degrees` = 1·A (N, 1, P), the sum over valid pixels alone. Both
    are zero at invalid pixels.
    """

    probabilities: torch.Tensor
    sums: torch.Tensor
    degrees: torch.Tensor


@torch.no_grad()
def dense_affinity(inputs: Inputs, *, xy: float, rgb: float) -> Affinity:
    """Sum the Gaussian affinities between all pixels of each image of `inputs`.

    `xy` is the deviation of the kernel in pixels of the full size, `rgb` in 0..255 (Tang et al.,
    CVPR and ECCV 2018). Time grows with the square of the number of pixels, memory does not: see
    `bpg.losses.gaussian_filter`.
    """
    valid = inputs.valid[:, None].flatten(2).to(inputs.probabilities.dtype)
    probabilities = inputs.probabilities.flatten(2) * valid
    images = inputs.images.to(inputs.probabilities.dtype)
    features = pixel_features(images, xy=xy, rgb=rgb, spacing=inputs.spacing)
    sums = gaussian_sums(features, torch.cat([probabilities, valid], dim=1)) * valid
    return Affinity(probabilities, sums[:, :-1], sums[:, -1:])
