"""A network in plain operations, for files that other programs run."""

from copy import deepcopy
from typing import cast

import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import nn

from bpg.grid import halve
from bpg.models.deeplab import ASPP
from bpg.models.fast_convolutions import FoldedConv2d
from bpg.models.network import Network
from bpg.models.prn import PRN


class Portable(nn.Module):
    """A trained network for one purpose: logits and probabilities of images of any size.

    Maps images (N, H, W, 3), RGB, 0..255, uint8 or float, to logits and probabilities, both
    (N, K+1, H, W). The normalisation is inside, the BRN, which is for training, is not.

    The numbers are those of the network up to rounding. What is different is what an exporter
    cannot follow: our own convolutions become PyTorch's, with a folded norm's numbers in them, and
    no step depends on the size: the network leaves out what it needs not do for some sizes.

    Args:
        network: In evaluation mode; is copied.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, network: Network):
        super().__init__()
        source = deepcopy(network).cpu().eval().requires_grad_(False)
        _with_plain_convolutions(source.backbone)
        self.backbone = source.backbone.net
        self.head = _plain_head(cast(ASPP, source.head))
        self.prn = source.prn
        self.register_buffer("mean", source.mean.clone())
        self.register_buffer("deviation", source.deviation.clone())
        self.eval()

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (logits, probabilities)."""
        height, width = images.shape[1:3]
        pixels = (images.permute(0, 3, 1, 2).to(self.mean.dtype) - self.mean) / self.deviation
        # 8n+1 in positive numbers: ONNX's division rounds towards zero, Python's down.
        rows, columns = ((size + 6) // 8 * 8 + 1 for size in (height, width))
        pixels = F.pad(pixels, (0, columns - width, 0, rows - height))
        features = self.backbone(pixels)[0]
        coarse = sum(branch(features) for branch in self.head)
        if self.prn is None:
            logits = _enlarged(coarse, (rows, columns))
        else:
            logits = _refined(self.prn, pixels, coarse, (rows, columns))
        logits = logits[:, :, :height, :width]
        return logits, logits.softmax(1)


def _with_plain_convolutions(network: nn.Module) -> None:
    """Replace our own convolutions and those of timm that pad by the image's size, in place.

    On the grid of 8n+1, TensorFlow's "same" padding of an odd kernel is the same on all sides and
    for all sizes: with it as a function of the size, an export takes minutes to hours.
    """
    for parent in list(network.modules()):
        for name, module in list(parent.named_children()):
            if isinstance(module, FoldedConv2d):
                padding = cast(tuple[int, int], module.padding)
                setattr(parent, name, _plain(module, *module.weight_and_bias(), padding))
            elif isinstance(module, Conv2dSame) and all(k % 2 for k in module.kernel_size):
                sizes = zip(module.kernel_size, module.dilation, strict=True)
                around = tuple(size // 2 * dilation for size, dilation in sizes)
                padding = cast(tuple[int, int], around)
                setattr(parent, name, _plain(module, module.weight, module.bias, padding))


def _plain(
    module: nn.Conv2d,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    padding: tuple[int, int],
) -> nn.Conv2d:
    plain = nn.Conv2d(
        module.in_channels,
        module.out_channels,
        cast(tuple[int, int], module.kernel_size),
        cast(tuple[int, int], module.stride),
        padding,
        cast(tuple[int, int], module.dilation),
        module.groups,
        bias=bias is not None,
    )
    plain.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    if bias is not None:
        plain.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return plain


def _plain_head(head: ASPP) -> nn.ModuleList:
    """Return its dilated convolutions, which `ASPP` computes in another way."""
    return cast(nn.ModuleList, head.branches)


def _refined(
    prn: PRN, pixels: torch.Tensor, coarse: torch.Tensor, size: tuple[int, int]
) -> torch.Tensor:
    """Do what `PRN.forward` does."""
    refined = coarse
    # (n - 1) / 8 · 2^step + 1: sizes of the grids, all from the largest.
    grids = [[(n - 1) // 8 * 2**step + 1 for n in size] for step in (1, 2, 3)]
    pyramid = [prn.low_level.convolutions[0](pixels)]
    for convolution in prn.low_level.convolutions[1:]:
        pyramid = [convolution(F.relu(pyramid[0]))]
    for _ in range(prn.low_level.scales - 1):
        pyramid.insert(0, halve(pyramid[0]))
    for refine, low, grid in zip(prn.refine, pyramid, grids, strict=False):
        refined = refine(_enlarged(refined, grid), low) + _enlarged(coarse, grid)
    return refined if len(prn.refine) == len(grids) else _enlarged(refined, size)


def _enlarged(maps: torch.Tensor, size: tuple[int, int] | list[int]) -> torch.Tensor:
    return F.interpolate(maps, size, mode="bilinear", align_corners=True)
