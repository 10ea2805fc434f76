"""Where things are; dvc.yaml uses the same names."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path()  # DVC runs every stage in the folder of dvc.yaml
WEIGHTS = Path("data/weights")
HED_WEIGHTS = WEIGHTS / "hed"
RUNS = Path("runs")
RESULTS = Path("results")
# Records of the networks, by digest; DVC does not see them. An experiment in a folder of its own
# (`--temp`) files its records in the repository, which DVC names.
PROVENANCE = Path(os.environ.get("DVC_ROOT", "")) / "provenance"
UNFINISHED = Path("unfinished")  # the stages' own; DVC does not see it
COSTS = RESULTS / "cost.csv"
SAMPLES = RESULTS / "samples"
SAMPLE_IMAGES = 4
DRAW_NEXT = RESULTS / "draw_next"
STUDIES = RESULTS / "studies"


@dataclass(frozen=True)
class DataLayout:
    """Folders and lists of one data set."""

    folder: Path

    archives = property(lambda self: self.folder / "archives")
    description = property(lambda self: self.folder / "description.json")
    images = property(lambda self: self.folder / "images")
    masks = property(lambda self: self.folder / "masks")
    strokes = property(lambda self: self.folder / "strokes")
    scribbles = property(lambda self: self.folder / "scribbles")
    edges = property(lambda self: self.folder / "edges")
    grabcut = property(lambda self: self.folder / "grabcut")
    train = property(lambda self: self.folder / "train.txt")
    val = property(lambda self: self.folder / "val.txt")
    pool = property(lambda self: self.folder / "pool.txt")


@dataclass(frozen=True)
class RunLayout:
    """Files of one trained run."""

    folder: Path

    model = property(lambda self: self.folder / "model.safetensors")
    curves = property(lambda self: self.folder / "curves")
    training = property(lambda self: self.folder / "training.json")
    propagated = property(lambda self: self.folder / "propagated")
    probabilities = property(lambda self: self.folder / "probabilities")
    masks = property(lambda self: self.folder / "masks")
    masks_crf = property(lambda self: self.folder / "masks_crf")
    metrics = property(lambda self: self.folder / "metrics.json")
    counts = property(lambda self: self.folder / "counts.npy")
    card = property(lambda self: self.folder / "card.json")


def data_layout(dataset: str) -> DataLayout:
    """Return the layout of `data/<dataset>`."""
    return DataLayout(Path("data") / dataset)


def run_layout(variant: str, seed: int) -> RunLayout:
    """Return the layout of `runs/<variant>/<seed>`."""
    return RunLayout(RUNS / variant / str(seed))


def models(variants: Iterable[str], seeds: Iterable[int]) -> dict[str, Path]:
    """Return {"VARIANT SEED": the network's file}."""
    seeds = list(seeds)
    return {f"{name} {seed}": run_layout(name, seed).model for name in variants for seed in seeds}


def backbone_folder(recipe: str) -> Path:
    """Return where the recipe's ImageNet weights are, or a note if it has none."""
    return WEIGHTS / recipe
