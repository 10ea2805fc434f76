"""Multi-scale flip inference, against separate fp32 passes: `python -m bench.inference`.

One photograph of 500×375, all cores; networks from scratch: their time is that of trained ones.
Where `make repro` has trained recipe tiny's BPG, its validation images show what either way is
worth. Floor: the multiply-accumulates of all passes at the rate of a large bf16 matrix product.
"""

import copy

import numpy as np
import torch
import torch.nn.functional as F

from bench.measure import Row, in_turns, matrix_rate, photographs, show
from bench.training_step import read
from bpg.cost import macs
from bpg.data.ids import read_ids
from bpg.data.masks import image_path, read_image, read_mask
from bpg.devices import choose_bf16, set_up
from bpg.evaluation.iou import confusion_matrix, iou_metrics
from bpg.inference.multiscale import multiscale_probabilities
from bpg.models.network import Network, load_network
from pipeline.build import architecture
from pipeline.paths import data_layout, run_layout

CPU = torch.device("cpu")


@torch.inference_mode()
def separately(network: Network, image: np.ndarray, scales: list[float]) -> torch.Tensor:
    size, total = image.shape[:2], torch.zeros(())
    for scale in scales:
        for flip in (False, True):
            pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
            scaled = [round(extent * scale) for extent in size]
            pixels = F.interpolate(pixels, scaled, mode="bilinear", align_corners=False)
            pixels = pixels.flip(3) if flip else pixels
            logits = F.interpolate(network(pixels.contiguous()).logits, size, mode="bilinear")
            share = logits.softmax(1)[0]
            total = total + (share.flip(2) if flip else share)
    return total / (2 * len(scales))


def measure(recipe: str) -> Row:
    parameters = read(recipe)
    torch.manual_seed(0)
    network = Network(architecture(parameters, parameters.variants["bpg"])).eval()
    options = parameters.recipe.inference
    ours = copy.deepcopy(network).to(memory_format=torch.channels_last)
    image = photographs()[0]
    set_up(CPU, threads=0, seed=0, deterministic=True)
    bf16 = choose_bf16("auto", CPU)
    times = in_turns(
        lambda: multiscale_probabilities(ours, image, options, device=CPU, bf16=bf16),
        lambda: separately(network, image, options.scales),
        rounds=3,
    )
    pixels = sum((s * 375) * (s * 500) for s in options.scales) * (2 if options.flip else 1)
    total = macs(network, 321) * pixels / 321**2
    return Row(
        f"multi-scale flip inference, recipe {recipe}, BPG",
        *times,
        "≥ 2",
        f"{total / matrix_rate(torch.bfloat16):.0f} ms: {total / 1e9:.0f} GMAC in bf16",
        trained() if recipe == "tiny" else "as of recipe tiny",
    )


def trained() -> str:
    """mIoU of recipe tiny's BPG by either way, where it is trained."""
    data, model = data_layout("shapes"), run_layout("bpg", 0).model
    if not model.is_file():
        return "untrained: after `make repro` this gives the mIoU of either way"
    parameters, network = read("tiny"), load_network(model)
    options = parameters.recipe.inference
    totals = [0, 0]
    for name in read_ids(data.val):
        image, truth = (
            read_image(image_path(data.images, name)),
            read_mask(data.masks / f"{name}.png"),
        )
        ways = (
            multiscale_probabilities(
                network, image, options, device=CPU, bf16=choose_bf16("auto", CPU)
            ),
            separately(network, image, options.scales),
        )
        for way, found in enumerate(ways):
            labels = found.argmax(0).byte().numpy()
            totals[way] = totals[way] + confusion_matrix(truth, labels, len(found))
    ours, theirs = (iou_metrics(total)["miou"] for total in totals)
    return f"mIoU {ours:.2f}, theirs {theirs:.2f} (trained, the validation images)"


def rows() -> list[Row]:
    return [measure(recipe) for recipe in ("tiny", "small", "paper")]


if __name__ == "__main__":
    show(rows())
