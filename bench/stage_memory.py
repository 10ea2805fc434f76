"""Peak memory of every stage that goes through the images, at 1, 4 and 16 times as many.

    python -m bench.stage_memory

Each stage runs as `python -m stages.NAME` in a checkout of its own, on 16 generated training images
and as many for validation, then on more. The peak is that of the stage's process, or of the largest
that it starts. The last column is what a thousand more images of both kinds cost, by the two larger
sizes: what is loaded or allotted once is behind them, but for the bootstrap's arrays in `tables`
and `report`, which grow to 48 MB at some 200 images.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pipeline.variants import make_lists, read_variants

if TYPE_CHECKING:
    from bench.measure import Row

ROOT = Path(__file__).parents[1]
BOOTSTRAPPING = ("tables", "report")
IMAGES = 16
TIMES = (1, 4, 16)
# In the order of dvc.yaml. The peak of a child is never below that of the process that starts it:
# so nothing large is imported here.
STAGES = (
    "prepare",
    "scribbles",
    "edges",
    "train scribble 0",
    "train bpg 0",
    "train warm 0",
    "propagate scribblesup_1 0",
    "predict scribble 0",
    "predict bpg 0",
    "crf scribble 0",
    "crf bpg 0",
    "evaluate scribble 0",
    "evaluate bpg 0",
    "cost",
    "samples",
    "tables",
    "report",
)
# Run because others read what they write; or twice, and shown once.
NOT_SHOWN = {"train warm 0", "predict bpg 0", "crf bpg 0", "evaluate bpg 0", "cost"}


def rows() -> list["Row"]:
    """Measure; ours and theirs are the peaks at the most and at the fewest images."""
    found = measure(IMAGES)
    from bench.measure import Row  # noqa: PLC0415 large: see above

    return [
        Row(
            f"peak memory of {stage}, {TIMES[-1] * IMAGES} images beside {IMAGES}",
            peaks[-1] / 2**20,
            peaks[0] / 2**20,
            "1",
            "",
            f"{slope(peaks, IMAGES):+.1f} MB per 1,000 images"
            + ": the bootstrap's arrays, which stop growing at 48 MB" * (stage in BOOTSTRAPPING),
            unit="MB",
        )
        for stage, peaks in found.items()
    ]


def measure(images: int) -> dict[str, list[int]]:
    """Return {stage: bytes at each of TIMES}."""
    peaks: dict[str, list[int]] = {stage: [] for stage in STAGES if stage not in NOT_SHOWN}
    for times in TIMES:
        with tempfile.TemporaryDirectory() as folder:
            checkout(Path(folder), times * images)
            for stage in STAGES:
                peak = run(Path(folder), stage)
                print(f"{times * images:,} images, {stage}: {peak / 2**20:.1f} MB", file=sys.stderr)
                if stage in peaks:
                    peaks[stage].append(peak)
    return peaks


def slope(peaks: list[int], images: int) -> float:
    """Return the MB that a thousand images more cost, between the two larger sizes."""
    return (peaks[-1] - peaks[-2]) / 2**20 / ((TIMES[-1] - TIMES[-2]) * images) * 1000


def checkout(folder: Path, images: int) -> None:
    """Copy what the stages need, and set parameters with which they are quick."""
    for part in ("bpg", "pipeline", "stages", "params"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for compiled in ROOT.glob("_bpg_*.so"):
        shutil.copyfile(compiled, folder / compiled.name)
    for part in ("params.yaml", "dvc.yaml"):
        shutil.copyfile(ROOT / part, folder / part)
    # Two rows of the tables; warm start and round run beside them, for what they take.
    variants = make_lists(["scribble", "bpg"], read_variants(ROOT / "params/variants.yaml"))
    edit(folder / "params.yaml", {"variants": variants, "device": "cpu"})
    source = {"size": 64, "train": images, "val": images, "seed": 0}
    edit(folder / "params/dataset/shapes.yaml", {"source": source})
    options = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16], "stem_type": "deep"}
    recipe = {
        "model.options": {**options, "stem_width": 8},
        "training.epochs": 2,  # one of them warm
        "training.augmentation.crop": 65,
        "inference.scales": [1.0],
        "machine.cache": False,
    }
    edit(folder / "params/recipe/tiny.yaml", recipe)
    if (ROOT / "data/weights").is_dir():
        shutil.copytree(ROOT / "data/weights", folder / "data/weights")
    run(folder, "fetch")  # what is not there


def edit(path: Path, changes: dict[str, Any]) -> None:
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    for key, value in changes.items():
        *above, last = key.split(".")
        section = values
        for name in above:
            section = section[name]
        section[last] = value
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")


def run(folder: Path, stage: str) -> int:
    """Run a stage; return its peak memory in bytes."""
    with tempfile.TemporaryFile() as output:
        command = [sys.executable, "-m", *f"stages.{stage}".split()]
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            sys.exit(f"{stage}: {output.read().decode(errors='replace')}")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    measured = rows()
    from bench.measure import show

    show(measured)
