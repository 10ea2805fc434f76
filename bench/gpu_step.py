"""A training step on a GPU: `python -m bench.gpu_step [RECIPE] [--compile] [--json]`.

The recipe's own batch and crop, made-up data. Ours: from Python, captured as one CUDA graph and,
with --compile, compiled as well; with kernels that repeat and without. Theirs: the loop of
deeplab-pytorch as in `bench.resnet_step`, in fp32 and with TF32. Then every variant beside the
baseline. MFU: three times the forward pass's operations over those that an H100 or H200 could do
meanwhile (989 TFLOP/s, bf16).
"""

import gc
import sys

import torch

from bench.measure import Row, show
from bench.resnet_step import Textbook, textbook_step
from bench.training_step import read
from bpg.cost import macs, peak_memory, step_times, training_step
from bpg.devices import Execution, set_up
from bpg.models.network import Network
from pipeline.build import architecture, objective
from stages.cost import LABELLED

GPU = torch.device("cuda")
PEAK = 989e12  # operations a second
PUBLISHED = 25 * 10_582  # images: the paper's epochs of train_aug
ROUNDS = 20
OTHERS = ("prn", "brn", "bpg_all_channels", "gatedcrf", "kernelcut", "treeenergy")


def make(recipe: str, name: str, *, captured: bool, compiled: bool = False):
    parameters = read(recipe)
    variant = parameters.variants[name]
    training = parameters.recipe.training
    torch.manual_seed(0)
    network = Network(architecture(parameters, variant))
    return training_step(
        network,
        batch_size=training.batch_size,
        crop=training.augmentation.crop,
        execution=Execution(GPU, bf16=True, compiled=compiled, captured=captured),
        objective=objective(parameters, variant, boundary_weight=1.0),
        labelled=LABELLED,
        options=parameters.recipe.training,
    )


def milliseconds(step) -> float:
    """Return the mean of steps that follow each other, as in training."""
    return 1000 * step_times({"": lambda: [step() for _ in range(ROUNDS)]}, 3)[""][1] / ROUNDS


def report(recipe: str, name: str, form: str, step) -> float:
    training = read(recipe).recipe.training
    taken = milliseconds(step)
    crop = training.augmentation.crop
    forward = 2 * macs(Network(architecture(read(recipe), read(recipe).variants[name])), crop)
    images = 1000 * training.batch_size / taken
    print(
        f"{name:18}{form:34}{taken:8.2f} ms{images:8.1f} images/s, MFU "
        f"{100 * 3 * forward * images / PEAK:5.1f} %, 25 epochs of train_aug "
        f"{PUBLISHED / images / 60:5.1f} min",
        file=sys.stderr,
        flush=True,
    )
    return taken


def rows(recipe: str = "paper", *, compiled: bool = False) -> list[Row]:
    if not torch.cuda.is_available():
        print("no GPU here: nothing is measured", file=sys.stderr)
        return []
    times, training = {}, read(recipe).recipe.training
    for deterministic in (True, False):
        set_up(GPU, threads=0, seed=0, deterministic=deterministic, fixed_size=True)
        word = "repeats" if deterministic else "does not repeat"
        for name in ("scribble", "bpg"):
            for captured in (False, True):
                form = f"{'captured' if captured else 'from Python'}, {word}"
                step = make(recipe, name, captured=captured)
                times[name, captured, deterministic] = report(recipe, name, form, step)
                del step
                gc.collect()
            if compiled:
                torch._dynamo.reset()
                step = make(recipe, name, captured=True, compiled=True)
                report(recipe, name, f"compiled, captured, {word}", step)
                del step
                gc.collect()
    set_up(GPU, threads=0, seed=0, deterministic=True, fixed_size=True)
    for name in OTHERS:
        report(recipe, name, "captured, repeats", make(recipe, name, captured=True))
        gc.collect()
    ours, bpg = times["scribble", True, True], times["bpg", True, True]
    memory = {
        name: peak_memory(lambda name=name: make(recipe, name, captured=False), GPU) / 1e6
        for name in ("scribble", "bpg")
    }
    what = f"recipe {recipe}, {torch.cuda.get_device_name()}, batch {training.batch_size}"
    found = [
        Row(f"BPG's step: {what}", bpg, ours, "≥ 0.91", "1", "ours is BPG, theirs our baseline"),
        Row(f"BPG's memory: {what}", memory["bpg"], memory["scribble"], "≥ 0.91", "1", "", "MB"),
    ]
    if recipe == "paper":
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.benchmark = True
        crop = training.augmentation.crop
        floor = 6 * macs(Textbook(), crop) * training.batch_size / PEAK * 1000
        for tf32 in (False, True):
            torch.backends.cudnn.allow_tf32 = tf32
            theirs = milliseconds(textbook_step(training.batch_size, GPU))
            path = f"training step, {what}, theirs in {'TF32' if tf32 else 'fp32'}"
            found.append(Row(path, ours, theirs, "≥ 4", f"{floor:.1f} ms at 989 TFLOP/s", ""))
            gc.collect()
    return found


if __name__ == "__main__":
    names = [word for word in sys.argv[1:] if not word.startswith("--")]
    show(rows(*names, compiled="--compile" in sys.argv))
