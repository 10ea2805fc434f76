"""A training step of ResNet-101 at 321 pixels: `python -m bench.resnet_step`.

Against the loop as deeplab-pytorch has it (fp32, contiguous, four dilated convolutions, labels
brought to the logits' size; without its three input scales), and BPG's step against the
baseline's. Floor: three times the forward pass's multiply-accumulates at the rate of a large bf16
matrix product.
"""

import timm
import torch
import torch.nn.functional as F
from torch import nn

from bench.measure import Row, in_turns, matrix_rate, show
from bench.memory_traffic import make
from bench.training_step import read
from bpg.cost import affordable_batch, macs, peak_memory
from bpg.devices import set_up
from bpg.models.network import Network
from pipeline.build import architecture
from stages.cost import LABELLED

CPU = torch.device("cpu")
CROP, CLASSES = 321, 21


class Textbook(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = timm.create_model(
            "resnet101", features_only=True, output_stride=8, out_indices=(-1,)
        )
        self.branches = nn.ModuleList(
            nn.Conv2d(2048, CLASSES, 3, padding=rate, dilation=rate) for rate in (6, 12, 18, 24)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.backbone(images)[0]
        return sum(branch(features) for branch in self.branches)


def textbook_step(batch: int, device: torch.device = CPU):
    torch.manual_seed(0)
    network = Textbook().to(device).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval().requires_grad_(False)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=2.5e-4, momentum=0.9, weight_decay=5e-4)
    images = torch.randn(batch, 3, CROP, CROP)
    labels = torch.randint(0, CLASSES, (batch, CROP, CROP))
    labels[torch.rand(labels.shape) >= LABELLED] = 255
    images, labels = images.to(device), labels.to(device)

    def step() -> None:
        optimizer.zero_grad()
        logits = network(images)
        small = F.interpolate(labels[:, None].float(), logits.shape[2:])[:, 0].long()
        F.cross_entropy(logits, small, ignore_index=255).backward()
        optimizer.step()

    return step


def our_step(variant: str):
    return make(read("paper"), variant)


def rows() -> list[Row]:
    set_up(CPU, threads=0, seed=0, deterministic=True, fixed_size=True)
    batch = affordable_batch(10, CROP, CPU)
    baseline = our_step("scribble")
    ours, theirs = in_turns(baseline, textbook_step(batch), rounds=3)
    with torch.device("meta"):
        forward = macs(
            Network(architecture(read("paper"), read("paper").variants["scribble"])), CROP
        )
    floor = 3 * batch * forward / matrix_rate(torch.bfloat16)
    found = [
        Row(
            f"training step, ResNet-101, {CROP} pixels, batch {batch}",
            ours,
            theirs,
            "≥ 3 (CPU)",
            f"{floor:.0f} ms: {3 * batch * forward / 1e9:.0f} GMAC in bf16",
            "the recipe's optimizer, schedule and loss are tested against the published ones",
        )
    ]
    first, second = in_turns(baseline, our_step("bpg"), rounds=3)
    del baseline
    memory = [peak_memory(lambda name=name: our_step(name), CPU) for name in ("scribble", "bpg")]
    found.append(
        Row(
            "baseline's step beside BPG's, ResNet-101: time",
            first,
            second,
            "≤ 1.10",
            "1",
            "docs/results has what BPG gains",
        )
    )
    found.append(
        Row(
            "baseline's step beside BPG's, ResNet-101: peak memory",
            memory[0] / 1e6,
            memory[1] / 1e6,
            "≤ 1.10",
            "1",
            "the same",
            unit="MB",
        )
    )
    return found


if __name__ == "__main__":
    show(rows())
