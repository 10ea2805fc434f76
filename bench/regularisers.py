"""Time and memory of each regulariser, forward and backward: `python -m bench.regularisers [SIDE]`.

SIDE (default 97) is the crop's side in pixels, 8n+1; a batch of 8 with 7 classes, one thread.
For the dense Gaussian sums the floor is printed, too: the exponentials of half of the affinity
matrix, measured alone, and what the sums take as a multiple of it.
"""

import sys
import time
from statistics import median

import torch
from torch.profiler import ProfilerActivity, profile

from bpg.losses.gaussian_filter import TILE
from bpg.losses.inputs import make_inputs
from bpg.losses.options import (
    DenseOptions,
    GatedOptions,
    MeanTeacherOptions,
    SoftLabelOptions,
    TreeOptions,
)
from bpg.losses.regularisers import regularise

BATCH, CLASSES, ROUNDS = 8, 7, 7


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    side = int(sys.argv[1]) if len(sys.argv) > 1 else 97
    cells = (side - 1) // 8 + 1
    logits = torch.randn(BATCH, CLASSES, side, side, requires_grad=True)
    images = torch.rand(BATCH, 3, side, side) * 255
    labels = torch.full((BATCH, side, side), 255)
    valid = torch.ones(BATCH, side, side, dtype=torch.bool)
    features = torch.randn(BATCH, 96, cells, cells)
    edges, taught = torch.rand(BATCH, side, side), torch.randn(BATCH, CLASSES, side, side)

    dense = DenseOptions(1.0, 2, 20, 15)
    for name, options in {
        "normalized_cut": {"normalized_cut": dense},
        "dense_crf": {"dense_crf": dense},
        "both (kernelcut)": {"normalized_cut": dense, "dense_crf": dense},
        "gated_crf": {"gated_crf": GatedOptions(1.0, 2, 5, 6, 0.1)},
        "tree_energy": {"tree_energy": TreeOptions(1.0, 4, 0.02, 1.0)},
        "soft_label": {"soft_label": SoftLabelOptions(1.0, 2, 20, 0.2, 50)},
        "mean_teacher": {"mean_teacher": MeanTeacherOptions(1.0, 2, 0.99)},
    }.items():

        def step(options: dict = options) -> None:
            field = make_inputs(logits, images, labels, valid, features, edges, taught)
            torch.autograd.grad(sum(regularise(options, field).values()), logits)

        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            step()
        largest = max(event.cpu_memory_usage for event in profiler.events())
        print(f"{name:18}{1000 * timed(step):8.1f} ms, largest tensor {largest / 2**20:6.2f} MiB")
    samples = ((side - 1) // 2 + 1) ** 2
    tile = torch.rand(TILE["cpu"], TILE["cpu"])
    exponentials = timed(tile.exp) / tile.numel() * BATCH * samples**2 / 2
    print(f"{'floor of dense':18}{1000 * exponentials:8.1f} ms: {samples} samples, half of A")


def timed(work) -> float:
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return median(seconds)


if __name__ == "__main__":
    main()
