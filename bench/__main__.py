"""`make bench`: measure all paths against the usual way and write bench/RESULTS.md."""

import json
import platform
import subprocess
import sys
import time
from pathlib import Path

import torch

from bench.measure import Row
from bpg.atomic import whole_file
from pipeline.provenance import hardware, versions

RESULTS = Path(__file__).parent / "RESULTS.md"
FILES = (
    "crf",
    "hed",
    "inference",
    "resnet_step",
    "gpu_memory",
    "augmentation",
    "strokes",
    "evaluation",
    "probability_files",
    "propagation",
    "stage_memory",
)


def main() -> None:
    """Measure the files named, all by default; only all of them are written down."""
    names = sys.argv[1:] or FILES
    rows = []
    for name in names:
        started = time.perf_counter()
        print(f"{name} ...", flush=True)
        rows += measured(name)
        print(f"  {time.perf_counter() - started:.0f} s", flush=True)
    text = table(rows)
    print(text)
    if tuple(names) == FILES:
        with whole_file(RESULTS) as partial:
            partial.write_text(heading() + text, encoding="utf-8")


def measured(name: str) -> list[Row]:
    """Run one file in a process of its own: threads and memory are set up for each."""
    command = [sys.executable, "-m", f"bench.{name}", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return [Row(**row) for row in json.loads(done.stdout)]


def heading() -> str:
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    machine = hardware(torch.device("cpu"))
    packages = ", ".join(f"{name} {number}" for name, number in versions().items())
    return (
        "# Compared with what a user would run instead\n\n"
        f"`make bench` at {commit or 'an unknown commit'}, on {machine}, {platform.system()}; "
        f"{packages}.\n\n"
        "Ours and the usual way took turns on the same inputs; medians. Times are of one image or "
        "step. The ratio is theirs over ours. The floor is what the bytes or operations alone "
        "take. The file of the same name in `bench/` says what the usual way is. A ratio "
        "below a '≥' target or above a '≤' target misses it.\n\n"
    )


def table(rows: list[Row]) -> str:
    lines = ["| path | ours | theirs | ratio | target | floor | quality |", "| --- " * 7 + "|"]
    for row in rows:
        lines.append(
            f"| {row.path} | {row.ours:.4g} {row.unit} | {row.theirs:.4g} {row.unit} "
            f"| {row.ratio:.2f} | {row.target} | {row.floor} | {row.quality} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
