"""HED on photographs of 500×375, against fp32, one by one, contiguous: `python -m bench.hed`.

Floor: its multiply-accumulates at the rate of a large bf16 matrix product on all cores.
"""

import numpy as np
import torch
from joblib import Parallel, cpu_count, delayed

from bench.measure import Row, in_turns, matrix_rate, photographs, show
from bpg.devices import choose_bf16, set_up
from bpg.download.weights import HED
from bpg.edges.hed import BLOCKS, edge_map, load_hed
from pipeline.paths import HED_WEIGHTS

CPU = torch.device("cpu")


def rows() -> list[Row]:
    images = photographs()
    model, contiguous = (load_hed(HED.verified(HED_WEIGHTS)) for _ in range(2))
    contiguous.to(memory_format=torch.contiguous_format)
    precision = "bf16" if choose_bf16("auto", CPU) else "fp32"
    found = {}

    def ours() -> None:
        set_up(CPU, threads=1, seed=0, deterministic=True)
        jobs = (delayed(edge_map)(model, image, precision=precision) for image in images)
        found["ours"] = Parallel(n_jobs=-1, prefer="threads")(jobs)

    @torch.inference_mode()
    def theirs() -> None:
        set_up(CPU, threads=0, seed=0, deterministic=True)
        found["theirs"] = []
        for image in images:
            pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float().contiguous()
            edges = contiguous(pixels)[0, 0] * 255
            found["theirs"].append(edges.round().byte().numpy())

    times = [taken / len(images) for taken in in_turns(ours, theirs, rounds=3)]
    set_up(CPU, threads=0, seed=0, deterministic=True)
    floor = macs(*images[0].shape[:2]) / matrix_rate(torch.bfloat16)
    differences = np.abs(np.stack(found["ours"]).astype(int) - np.stack(found["theirs"]))
    return [
        Row(
            f"HED, 500×375, {precision}, {cpu_count()} images at a time",
            *times,
            "≥ 4",
            f"{floor:.1f} ms: {macs(*images[0].shape[:2]) / 1e9:.1f} GMAC in bf16",
            f"maps differ by {differences.mean():.2f} of 255 levels on average, "
            f"{differences.max()} at most",
        )
    ]


def macs(height: int, width: int) -> float:
    total, channels = 0, 3
    for level, (out, depth) in enumerate(BLOCKS):
        pixels = -(-height // 2**level) * -(-width // 2**level)
        for _ in range(depth):
            total += pixels * 9 * channels * out
            channels = out
    return total


if __name__ == "__main__":
    show(rows())
