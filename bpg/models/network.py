"""The whole network of Figure 2, and its model file."""

import json
from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from pydantic.dataclasses import dataclass
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from bpg.atomic import whole_file
from bpg.constants import DEVIATION, MEAN
from bpg.errors import BPGError
from bpg.grid import padded_size, upsample
from bpg.models.backbone import Backbone
from bpg.models.brn import BRN
from bpg.models.deeplab import ASPP, PUBLISHED_RATES
from bpg.models.options import AsppRate, BRNArchitecture, PRNOptions
from bpg.models.prn import PRN
from bpg.options import NO_EXTRA

LARGEST = 4096
"""The largest number allowed in a stored architecture (ResNet-101 has layers of 2048 channels)."""


_PARTS = ("classes", "backbone", "backbone_options", "frozen_norm", "aspp_rates", "prn", "brn")


@dataclass(frozen=True, config=NO_EXTRA)
class Architecture:
    """All that is needed to rebuild the network; stored with its weights."""

    classes: tuple[str, ...]
    backbone: str
    backbone_options: dict[str, Any] = field(default_factory=dict)
    frozen_norm: bool = False
    aspp_rates: Annotated[tuple[AsppRate, ...], Field(min_length=1)] = PUBLISHED_RATES
    prn: PRNOptions | None = None
    brn: BRNArchitecture | None = None

    @classmethod
    def from_json(cls, text: str) -> "Architecture":
        """Read what `to_json` wrote.

        Numbers above `LARGEST` are refused: no layer is that wide and no stack that deep, and
        building one would take all memory or never end.

        Args:
            text: A JSON object with a key for each field.

        Raises:
            TypeError: It is not such an object.
            ValueError: It is not JSON, or a value is out of range.
        """
        values = json.loads(text, parse_int=_moderate, parse_constant=_no_number)
        return cls(**values)

    def to_json(self) -> str:
        """Return the fields as a JSON object with sorted keys."""
        return json.dumps(asdict(self), sort_keys=True)


def _moderate(digits: str) -> int:
    if len(digits) > 4 or abs(int(digits)) > LARGEST:
        raise ValueError(f"{digits[:20]} is too large")
    return int(digits)


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number")


class Output(NamedTuple):
    """What the network returns for images (N, 3, H, W).

    Attributes:
        logits: (N, K+1, H, W).
        edges: Edge logits (N, 1, H, W); None without a BRN and in evaluation mode.
        features: The backbone's last feature map (N, F, h, w), at stride 8.
    """

    logits: torch.Tensor
    edges: torch.Tensor | None
    features: torch.Tensor


class Network(nn.Module):
    """DeepLab-v2, with PRN and BRN where the architecture has them.

    Maps images (N, 3, H, W), RGB, 0..255, of any size, to an `Output`.

    Args:
        architecture: The parts and their options.

    Raises:
        BPGError: timm cannot build the backbone.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, architecture: Architecture):
        super().__init__()
        self.architecture = architecture
        classes = len(architecture.classes)
        self.backbone = Backbone(
            architecture.backbone,
            architecture.backbone_options,
            frozen_norm=architecture.frozen_norm,
        )
        self.head = ASPP(self.backbone.features, classes, architecture.aspp_rates)
        self.prn = PRN(classes, **asdict(architecture.prn)) if architecture.prn else None
        self.brn = BRN(classes, **asdict(architecture.brn)) if architecture.brn else None
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer(
            "deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1) * 255, persistent=False
        )

    def forward(self, images: torch.Tensor) -> Output:
        """Return logits and, in training mode, edge logits, both at the size of the images."""
        logits, features = self._logits(images)
        edges = self.brn(logits) if self.brn is not None and self.training else None
        return Output(logits, edges, features)

    def predict_edges(self, images: torch.Tensor) -> torch.Tensor:
        """Predict the BRN's edge probabilities, in either mode.

        Args:
            images: (N, 3, H, W), RGB, 0..255, any size.

        Returns:
            Float32 (N, 1, H, W) in 0..1.

        Raises:
            ValueError: The network has no BRN.
        """
        if self.brn is None:
            raise ValueError("this network has no Boundary Regression Network")
        return self.brn(self._logits(images)[0]).float().sigmoid()

    def _logits(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        height, width = images.shape[2:]
        pixels = (images - self.mean) / self.deviation
        # Zero is the mean colour here: the padding of the published solver.
        pixels = F.pad(pixels, (0, padded_size(width) - width, 0, padded_size(height) - height))
        features = self.backbone(pixels)
        coarse = self.head(features)
        if self.prn is None:
            logits = upsample(coarse, pixels.shape[2:])
        else:
            logits = self.prn(pixels, coarse)
        if logits.shape[2:] != images.shape[2:]:
            logits = logits[:, :, :height, :width]
        return logits, features

    def init_from(self, start: "Network") -> None:
        """Copy the weights of every part that both networks have; other parts stay as they are.

        Args:
            start: The network to fine-tune from. PRN and BRN may be missing in either one.

        Raises:
            BPGError: The two differ in classes, backbone, ASPP rates, or in the options of a part
                that both have.
        """
        for part in _PARTS:
            ours, theirs = getattr(self.architecture, part), getattr(start.architecture, part)
            optional = part in ("prn", "brn") and None in (ours, theirs)
            if ours != theirs and not optional:
                raise BPGError(
                    f"the network to start from has another {part}: {theirs}, not {ours}"
                )
        for name in ("backbone", "head", "prn", "brn"):
            own, given = getattr(self, name), getattr(start, name)
            if own is not None and given is not None:
                own.load_state_dict(given.state_dict())


def save_network(network: Network, path: Path) -> None:
    """Write weights and architecture to one safetensors file, whole or not at all.

    The bytes depend on weights and architecture alone: tensors are ordered by name, and the
    metadata are sorted.

    Args:
        network: On any device.
        path: The model file.
    """
    tensors = {k: v.detach().cpu().contiguous() for k, v in sorted(network.state_dict().items())}
    with whole_file(path) as partial:
        partial.write_bytes(save(tensors, {"architecture": network.architecture.to_json()}))


def load_network(path: Path) -> Network:
    """Read a network written by `save_network`.

    Args:
        path: The model file.

    Returns:
        The network on the CPU, in evaluation mode, its weights in the layout `channels_last`.

    Raises:
        BPGError: The file is missing, truncated, not a model file, or contains NaN or infinity.
    """
    if not path.is_file():
        raise BPGError(f"{path}: no such model; run its training stage first")
    try:
        with safe_open(path, framework="pt") as file:
            architecture = Architecture.from_json((file.metadata() or {})["architecture"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise BPGError(f"{path}: not a model of this program; train it again") from error
    try:
        # Thousands of blocks take minutes to build, of any size; each has a weight or more.
        if sum(architecture.backbone_options.get("layers", ())) > len(tensors):
            raise ValueError("more blocks than weights")
        # First on the meta device: a forged architecture may ask for any amount of memory.
        with torch.device("meta"):
            expected = Network(architecture).state_dict()
        if any(tensors[name].shape != value.shape for name, value in expected.items()):
            raise ValueError("other shapes")
        network = Network(architecture)
        network.load_state_dict(tensors)
    except Exception as error:  # timm raises almost anything for unknown options
        raise BPGError(f"{path}: weights do not fit their architecture; train again") from error
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise BPGError(f"{path}: {name} holds NaN or infinity; train it again")
    return network.eval().to(memory_format=torch.channels_last)
