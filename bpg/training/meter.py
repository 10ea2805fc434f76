"""Mean losses over an epoch."""

import math
from collections.abc import Mapping

import torch

from bpg.errors import BPGError
from bpg.training.checkpoint import Progress

_MEASURED = ("loss", "semantic", "boundary", "labelled", "blank", "squared_error", "pixels")


class Meter:
    """Sums over an epoch, kept on the device so that steps don't wait for each other.

    Args:
        sums: Where to continue from (`Progress.sums`), float64.
        steps: Steps in `sums`.
    """

    def __init__(self, sums: dict[str, torch.Tensor] | None = None, steps: int = 0):
        self.sums = dict(sums or {})
        self.steps = steps

    def add(self, terms: dict[str, torch.Tensor]) -> None:
        """Add the terms of one step, as `bpg.training.objective.optimizer_step` returns them."""
        self.steps += 1
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0) + value.double()

    def check(self, where: str) -> None:
        """Check that all sums are finite.

        Args:
            where: Training and step, for the message.

        Raises:
            BPGError: One of them is not.
        """
        if not all(value.isfinite().all() for value in self.sums.values()):
            raise BPGError(f"{where}: the loss is not finite; lower the learning rate")

    def means(self, where: str) -> dict[str, float | None]:
        """Return the mean losses of the epoch.

        Args:
            where: Training and epoch, for the message.

        Returns:
            "loss", "semantic" and "boundary", means over the steps; "edge_loss", the squared error
            per valid pixel; the mean of each regulariser under its name. "boundary" and "edge_loss"
            are None without a BRN.

        Raises:
            BPGError: A sum is not finite, or no crop has a labelled pixel.
        """
        self.check(where)
        if self.sums["labelled"].sum() == 0:
            raise BPGError(f"{where}: no labelled pixel in any crop; check the scribbles")
        sums = {name: float(value) for name, value in self.sums.items() if name != "labelled"}
        edge_loss = sums["squared_error"] / sums["pixels"] if "pixels" in sums else None
        return {
            "loss": sums["loss"] / self.steps,
            "semantic": sums["semantic"] / self.steps,
            "boundary": sums["boundary"] / self.steps if "boundary" in sums else None,
            "edge_loss": edge_loss,
            # Whatever else was added is a regulariser's value.
            **{name: value / self.steps for name, value in sums.items() if name not in _MEASURED},
        }

    def end_epoch(self, progress: Progress, where: str, ratios: Mapping[str, float]) -> None:
        """Add the means and counts of the epoch to the progress.

        Args:
            progress: Changed in place.
            where: Training and epoch, for the message.
            ratios: From `bpg.training.objective.gradient_ratios`; those that are finite become
                NAME_gradient.

        Raises:
            BPGError: A sum is not finite, or no crop has a labelled pixel.
        """
        finite = {name: ratio for name, ratio in ratios.items() if math.isfinite(ratio)}
        gradients: dict[str, float | None] = {f"{n}_gradient": r for n, r in finite.items()}
        progress.epochs.append(self.means(where) | gradients)
        counts = [int(count) for count in self.sums["labelled"].tolist()]
        before = progress.labelled or [0] * len(counts)
        progress.labelled = [a + b for a, b in zip(before, counts, strict=True)]
        progress.blank += int(self.sums["blank"])
