"""Start, duration and peak memory of every stage, and what DVC takes, on very many images.

    python -m bench.many_images 10000 100000            # of 32 pixels, recipe tiny without HED
    python -m bench.many_images --photographs 16 64     # of 500 x 375 pixels, recipe small

Makes a user's folder of so many images with strokes (labelme) and masks, a fifth of them to score
on, and runs every stage on it in a checkout of its own, then `dvc commit`, `dvc status` and
`dvc repro` with nothing to do. The start is from the command to the progress bar, before the first
image: reading lists, checking what is there, and the digests of all inputs. The last column is what
a thousand more images cost, between the first and the last size. What was measured is written to
`bench/rates.json`, which `bench.scaling` reads.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from bench.stage_memory import checkout, edit
from bpg.atomic import write_json
from bpg.data.masks import write_mask
from bpg.opencv import cv2
from bpg.resumable import open_work

RATES = Path(__file__).parent / "rates.json"
SIDE = 32
"""Of the small images, in pixels."""
STAGES = (
    "fetch",
    "prepare",
    "scribbles",
    "edges",
    "grabcut",
    "train scribble 0",
    "train bpg 0",
    "predict scribble 0",
    "predict bpg 0",
    "crf scribble 0",
    "crf bpg 0",
    "evaluate scribble 0",
    "evaluate bpg 0",
    "cost",
    "draw_next",
    "samples",
    "tables",
    "report",
)
DVC = ("commit --force", "status", "repro")


@dataclass(frozen=True)
class Measured:
    """A command.

    Attributes:
        start: Seconds to its progress bar; None if it has none.
        seconds: In all.
        cpu: Seconds of all cores together.
        memory: Its peak in MB.
    """

    start: float | None
    seconds: float
    cpu: float
    memory: float


def main() -> None:
    """Measure each size, print a row for each command, and write the rates down."""
    parser = argparse.ArgumentParser(prog="python -m bench.many_images")
    parser.add_argument("sizes", type=int, nargs="*", help="numbers of images")
    parser.add_argument("--photographs", action="store_true", help="of 500 x 375 pixels")
    given = parser.parse_args()
    sizes = given.sizes or ([16, 64] if given.photographs else [10_000, 100_000])
    found = {size: measure(size, large=given.photographs) for size in sizes}
    print(table(found))
    known = json.loads(RATES.read_text(encoding="utf-8")) if RATES.exists() else {}
    known["photographs" if given.photographs else "small"] = {
        size: {command: asdict(one) for command, one in commands.items()}
        for size, commands in found.items()
    }
    known["coordinator"] = coordinator()
    write_json(RATES, known)


def coordinator(images: int = 2000) -> float:
    """Return the seconds that a stage's loop takes for an image besides the work on it."""
    with tempfile.TemporaryDirectory() as place:
        mask = np.zeros((375, 500), np.uint8)
        mask[100:300, 150:350] = 1
        with open_work(Path(place) / "work", {}, [], print) as work:
            started = time.perf_counter()
            for index in range(images):
                name = f"masks/{index:08d}.png"
                (path,) = work.begin(name)
                write_mask(path, mask)
                work.add(name)
            return (time.perf_counter() - started) / images


def table(found: dict[int, dict[str, Measured]]) -> str:
    sizes = list(found)
    heads = [f"{size:,} images: start, all, memory" for size in sizes]
    lines = [
        f"| command | {' | '.join(heads)} | 1,000 more: start, all, memory |",
        "| --- " * (len(sizes) + 2) + "|",
    ]
    thousands = max(1, sizes[-1] - sizes[0]) / 1000
    for command, first in found[sizes[0]].items():
        each = [found[size][command] for size in sizes]
        last = each[-1]
        cells = [
            f"{_seconds(one.start)}, {one.seconds:,.1f} s, {one.memory:,.0f} MB" for one in each
        ]
        known = first.start is not None and last.start is not None
        start = (last.start - first.start) / thousands if known else None  # type: ignore[operator]
        seconds = (last.seconds - first.seconds) / thousands
        memory = (last.memory - first.memory) / thousands
        cells.append(f"{_seconds(start, 3)}, {seconds:.2f} s, {memory:+.2f} MB")
        lines.append(f"| {command} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _seconds(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:,.{digits}f} s"


def measure(images: int, *, large: bool) -> dict[str, Measured]:
    """Run everything on so many images."""
    found = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_checkout(folder, images, large=large)
        for stage in STAGES:
            found[stage] = run(folder, [sys.executable, "-m", *f"stages.{stage}".split()])
            say(images, stage, found[stage])
        for words in (["git", "init", "-q"], ["dvc", "init", "-q"]):
            run(folder, words)
        for words in DVC:
            command = f"dvc {words}"
            found[command] = run(folder, command.split())
            say(images, command, found[command])
    return found


def say(images: int, command: str, one: Measured) -> None:
    start = _seconds(one.start)
    print(
        f"{images:,} images, {command}: {start}, {one.seconds:.1f} s, {one.memory:.0f} MB",
        file=sys.stderr,
    )


def make_checkout(folder: Path, images: int, *, large: bool) -> None:
    """Make a checkout with a folder of images; a small one costs as little as it can."""
    make_images(folder / "own", images, large=large)
    checkout(folder, images)
    edit(folder / "params.yaml", {"dataset": "folder", "recipe": "small" if large else "tiny"})
    if large:
        training = {"training.epochs": 1, "machine.num_workers": 0}
        edit(folder / "params/recipe/small.yaml", training)
        return
    edit(
        folder / "params/dataset/folder.yaml",
        {"edges.source": "truth", "scribbles.line_width": 2},
    )
    recipe = {
        "training.augmentation.crop": SIDE + 1,
        "training.epochs": 1,
        "training.batch_size": 100,
        "inference.flip": False,
        "machine.num_workers": 0,
    }
    edit(folder / "params/recipe/tiny.yaml", recipe)


def make_images(root: Path, number: int, *, large: bool) -> None:
    """Write images with an object, its mask, strokes on object and ground, and val.txt.

    The images are photographs with changed brightness, or noise in a colour of their own.
    """
    rng = np.random.default_rng(0)
    for name in ("images", "strokes", "masks"):
        (root / name).mkdir(parents=True)
    (root / "classes.txt").write_text("background\nobject\n", encoding="utf-8")
    suffix = ".jpg" if large else ".png"
    scored = "".join(f"{index:08d}{suffix}\n" for index in range(0, number, 5))
    (root / "val.txt").write_text(scored, encoding="utf-8")
    grounds: list[NDArray[np.uint8]] = []
    if large:
        # Here, for the peak of a child is never below that of the process that starts it.
        from bench.measure import photographs  # noqa: PLC0415

        grounds = photographs()
    height, width = grounds[0].shape[:2] if large else (SIDE, SIDE)
    for index in tqdm(range(number), "images", unit="image", mininterval=2):
        top, left = rng.integers(height // 8, height // 2), rng.integers(width // 8, width // 2)
        bottom, right = top + height * 3 // 8, left + width * 3 // 8
        mask = np.zeros((height, width), np.uint8)
        mask[top:bottom, left:right] = 1
        image = _ground(rng, grounds)
        image[mask == 1] += 90
        name = f"{index:08d}"
        _, data = cv2.imencode(suffix, image)
        (root / "images" / f"{name}{suffix}").write_bytes(data.tobytes())
        write_mask(root / "masks" / f"{name}.png", mask)
        middle = int(top + bottom) // 2
        lines = {
            "object": [[int(left) + 2, middle], [int(right) - 2, middle]],
            "background": [[1, 1], [width - 2, 1], [width - 2, height - 2]],
        }
        shapes = [
            {"label": label, "points": points, "shape_type": "linestrip"}
            for label, points in lines.items()
        ]
        document = {
            "shapes": shapes,
            "imagePath": f"{name}{suffix}",
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        (root / "strokes" / f"{name}.json").write_text(json.dumps(document), encoding="utf-8")


def _ground(rng: np.random.Generator, grounds: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return an image of values up to 165."""
    if grounds:
        image = grounds[rng.integers(len(grounds))] * rng.uniform(0.4, 0.6)
        return (image + rng.uniform(0, 10)).astype(np.uint8)
    return rng.integers(0, 128, 3, np.uint8) + rng.integers(0, 32, (SIDE, SIDE, 3), np.uint8)


def run(folder: Path, command: list[str]) -> Measured:
    """Run a command in the checkout; watch what it says for the first bar."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    began = time.monotonic()
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    said, start = b"", None
    while part := os.read(process.stdout.fileno(), 2**16):
        said += part
        if start is None and b"%|" in said:
            start = time.monotonic() - began
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)}: {said.decode(errors='replace')[-3000:]}")
    return Measured(
        start,
        time.monotonic() - began,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss / 1024,
    )


if __name__ == "__main__":
    main()
