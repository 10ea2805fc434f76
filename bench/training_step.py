"""Time one training step of each variant, as a ratio to the scribble baseline in the same run.

    python bench/training_step.py [RECIPE] [ROUNDS] [MIXING]

The variants take turns, so that a slow spell of the machine hits all of them alike; the figure
is the median over the rounds. The data set's classes are VOC's for recipes small and paper.
"""

import statistics
import sys
import time
from pathlib import Path

import torch

from bpg.losses.boundary import boundary_loss
from bpg.losses.partial_cross_entropy import partial_cross_entropy
from bpg.models.network import Network
from bpg.training.devices import choose_bf16, choose_device, set_up
from bpg.variants import VARIANTS
from stages.parameters import Dataset, Parameters, Recipe, Switches, read_section
from stages.training import architecture


def read(recipe: str) -> Parameters:
    root = Path(__file__).parent.parent
    dataset = "shapes" if recipe == "tiny" else "voc"
    return Parameters(
        switches=read_section(root / "params.yaml", Switches),
        dataset=read_section(root / f"params/dataset/{dataset}.yaml", Dataset),
        recipe=read_section(root / f"params/recipe/{recipe}.yaml", Recipe),
    )


def main() -> None:
    recipe = sys.argv[1] if len(sys.argv) > 1 else "tiny"
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 15
    parameters = read(recipe)
    mixing = sys.argv[3] if len(sys.argv) > 3 else parameters.recipe.model.prn.mixing
    prn = parameters.recipe.model.prn.model_copy(update={"mixing": mixing})
    model = parameters.recipe.model.model_copy(update={"prn": prn})
    parameters.recipe = parameters.recipe.model_copy(update={"model": model})
    device = choose_device("auto")
    machine = parameters.recipe.machine
    set_up(device, threads=machine.threads, seed=0, deterministic=machine.deterministic)
    bf16 = choose_bf16(machine.bf16, device)
    crop, batch = parameters.recipe.training.augmentation.crop, parameters.recipe.training.batch
    images = torch.randint(0, 256, (batch, 3, crop, crop), device=device).float()
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, len(parameters.dataset.classes), (batch, crop, crop), device=device)
    labels[torch.rand(labels.shape, device=device) > 0.03] = 255
    edges = torch.rand((batch, crop, crop), device=device)
    valid = torch.ones_like(edges, dtype=torch.bool)
    networks = {
        name: Network(architecture(parameters, variant))
        .to(device, memory_format=torch.channels_last)
        .train()
        for name, variant in VARIANTS.items()
        if variant.supervision == "scribbles"
    }

    def step(network: Network) -> float:
        if device.type == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            scores, edge_logits = network(images)
        loss = partial_cross_entropy(scores, labels)
        if edge_logits is not None:
            loss = loss + boundary_loss(edge_logits, edges, valid)
        network.zero_grad(set_to_none=True)
        loss.backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    times: dict[str, list[float]] = {name: [] for name in networks}
    for number in range(rounds + 2):
        for name, network in networks.items():
            seconds = step(network)
            if number >= 2:  # the first rounds choose kernels
                times[name].append(seconds)
    print(f"{recipe}, {device}, bf16 {bf16}, batch {batch}, crop {crop}, PRN {mixing}")
    for name, seconds in times.items():
        ratios = [a / b for a, b in zip(seconds, times["scribble"], strict=True)]
        print(
            f"{name:18} {1000 * statistics.median(seconds):8.1f} ms   "
            f"x {statistics.median(ratios):.2f} of the baseline   "
            f"{sum(p.numel() for p in networks[name].parameters()):,} parameters"
        )


if __name__ == "__main__":
    main()
