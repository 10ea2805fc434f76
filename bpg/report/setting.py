"""What our numbers were made on, and what their intervals cover."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bpg.data.description import Truth
from bpg.evaluation.bootstrap import SAMPLES
from bpg.evaluation.comparison import System

NO_EPOCHS = "–"
"""The budget of what is fitted at once."""


@dataclass(frozen=True)
class Setting:
    """What our numbers were made on; every table states it.

    `truth` is what the validation images are scored on; `budgets` are the epochs of each training
    of a variant, such as "16 + 16"; `labels` are the names of the variants; `own` says that the
    images are a user's own.
    """

    dataset: str
    train_images: int
    val_images: int
    recipe: str
    seeds: tuple[int, ...]
    boundary_weight: float = 1.0
    edges: str = "hed"
    truth: Truth = "masks"
    budgets: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    own: bool = False

    def label(self, system: System | str) -> str:
        """Return the name of a variant, and whether its predictions went through the CRF."""
        variant, kind = (system, "raw") if isinstance(system, str) else system
        return self.labels.get(variant, variant) + (" + CRF" if kind == "crf" else "")

    @property
    def whose(self) -> str:
        """Whose numbers these are, for captions."""
        return "Yours" if self.own else "Ours"

    def __str__(self) -> str:
        several = len(self.seeds) > 1
        return (
            f"data set {self.dataset} ({self.train_images:,} training and {self.val_images:,} "
            f"{self._scored()}), recipe {self.recipe}, lambda {self.boundary_weight:g}, "
            f"edges {self.edges}, "
            f"seed{'s' if several else ''} {', '.join(map(str, self.seeds))}"
            + (" (mean ± sample standard deviation)" if several else "")
        )

    def _scored(self) -> str:
        if self.truth == "masks":
            return "validation images"
        # No mask says where objects end, and strokes run through their middle.
        return (
            "images with held-out strokes, which alone are scored on: easier than full masks, and "
            "not to be compared with them"
        )

    def columns(self) -> dict[str, Any]:
        """Return the setting as columns of a CSV file."""
        return {
            "dataset": self.dataset,
            "train_images": self.train_images,
            "val_images": self.val_images,
            "recipe": self.recipe,
            "lambda": self.boundary_weight,
            "edges": self.edges,
            "scored_on": self.truth,
            "seeds": " ".join(map(str, self.seeds)),
        }

    def intervals(self) -> str:
        """Say for a note to a table what its intervals cover."""
        return intervals(len(self.seeds))


def intervals(seeds: int) -> str:
    """Say for a note to a table what intervals over so many seeds cover."""
    draws = f"{SAMPLES:,} draws of the validation images"
    if seeds == 1:
        return (
            f"Interval: paired bootstrap, {draws}. It covers other images, but not another "
            "training: one seed says nothing of that."
        )
    return (
        f"Interval: a paired bootstrap's variance ({draws}) and the seeds' variance together, "
        "Student's t with Welch and Satterthwaite's degrees of freedom. It covers other "
        "images and other trainings of this setting, not another data set or recipe."
    )
