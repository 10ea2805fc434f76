"""The training loop."""

import math
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from dvclive import Live
from torch.utils.data import DataLoader
from tqdm import tqdm

from bpg.data.dataset import TrainingPictures
from bpg.errors import BPGError
from bpg.files import whole_directory
from bpg.losses.boundary import edge_mass, squared_error
from bpg.losses.field import make_field
from bpg.losses.partial_cross_entropy import IGNORE, partial_cross_entropy
from bpg.losses.regularisers import regularise
from bpg.losses.terms import Options, Term
from bpg.models.network import Network
from bpg.training.solver import make_optimizer, parameter_groups, poly, set_rates

SHOWN_EVERY = 20  # steps between two losses on the progress bar


@dataclass(frozen=True)
class Objective:
    """What is minimised beside partial cross-entropy, `semantic`:

    semantic + boundary_weight · boundary (Eq. 4, where the network has a BRN) + the sum over
    `regularisers` of their weight · their value.
    """

    boundary_weight: float = 0.0
    regularisers: Mapping[Term, Options] = field(default_factory=dict)


def train(
    network: Network,
    pictures: TrainingPictures,
    curves: Path,
    *,
    objective: Objective,
    epochs: int,
    first_epoch: int,
    batch: int,
    optimizer: Literal["sgd", "adamw"],
    rate: float,
    momentum: float,
    decay: float,
    head_rate: float,
    new_rate: float,
    clip: float | None,
    device: torch.device,
    bf16: bool,
    workers: int,
    seed: int,
    title: str,
) -> dict:
    """Minimise the objective over `epochs` epochs and return a summary.

    `rate` is the backbone's learning rate per step, `head_rate` and `new_rate` factors of it
    (`parameter_groups`); `clip` the largest L2 norm of the whole gradient, None for no limit.
    Every epoch sees each picture once, in an order that follows from the seed; an incomplete last
    batch is dropped. `first_epoch` counts the epochs that the network has been trained before, so
    that these go on in the same sequence of random draws; the schedule starts anew. The curves
    (one point an epoch) go to the folder `curves` in DVCLive's layout. The summary holds the
    number of steps and of epochs, the mean losses of the last epoch (a regulariser's without its
    weight), and `edge_loss`: the squared error per pixel over the last epoch (Table 2), None
    without a BRN. Raises BPGError when the loss stops being finite, or when there are fewer
    pictures than a batch.
    """
    steps = len(pictures) // batch
    if steps == 0:
        raise BPGError(f"{len(pictures)} training pictures do not fill one batch of {batch}")
    network.to(device, memory_format=torch.channels_last).train()
    groups = parameter_groups(
        network, rate=rate, decay=decay, head_rate=head_rate, new_rate=new_rate
    )
    solver = make_optimizer(optimizer, groups, momentum=momentum)
    loader = DataLoader(
        pictures,
        batch_sampler=EpochSampler(len(pictures), batch, epochs, seed, first_epoch),
        num_workers=workers,
        persistent_workers=False,
        pin_memory=device.type == "cuda",
    )
    meter = Meter(device)
    summary: dict = {}
    with (
        whole_directory(curves) as folder,
        Live(str(folder), dvcyaml=False, save_dvc_exp=False, report=None) as live,
        tqdm(total=epochs * steps * batch, unit="image", desc=title, mininterval=2) as bar,
    ):
        for step, items in enumerate(_loaded(loader)):
            set_rates(solver, poly(step, epochs * steps))
            terms = solver_step(network, items, solver, objective, clip, device, bf16)
            meter.add(terms)
            # Reading the loss waits for the device, so not at every step.
            if step % SHOWN_EVERY == 0:
                bar.set_postfix(loss=f"{float(terms['loss']):.3f}", refresh=False)
            bar.update(batch)
            if (step + 1) % steps == 0:
                epoch = first_epoch + (step + 1) // steps
                summary = meter.means(f"{title}, epoch {epoch}")
                live.step = epoch
                for name, value in summary.items():
                    if value is not None:
                        live.log_metric(f"train/{name}", round(value, 6), plot=True)
                live.make_summary()
                meter = Meter(device)
        # The losses are those before each step: the last step's outcome is in the weights alone.
        if not all(value.isfinite().all() for value in network.state_dict().values()):
            raise BPGError(f"{title}: the trained weights are not finite; lower the learning rate")
    return {"epochs": epochs, "steps": epochs * steps, **summary}


def _loaded(loader: DataLoader) -> Iterator[list[torch.Tensor]]:
    """Yield the batches; an error of a loading process comes as its one line, as without one."""
    try:
        yield from loader
    except BPGError as error:
        # Otherwise the stack trace keeps the loading processes, which then take 10 s to end.
        traceback.clear_frames(error.__traceback__)
        # PyTorch wraps the error into the process's own stack trace, of which it is the last line.
        line = str(error).strip().splitlines()[-1]
        raise BPGError(line.removeprefix("bpg.errors.BPGError: ")) from error


def solver_step(
    network: Network,
    items: list[torch.Tensor],
    solver: torch.optim.Optimizer,
    objective: Objective,
    clip: float | None,
    device: torch.device,
    bf16: bool,
) -> dict[str, torch.Tensor]:
    """Do one step of the solver on a batch of `TrainingPictures`; return what `Meter` gathers."""
    images, labels, edges, valid = (item.to(device, non_blocking=True) for item in items)
    images = images.float().contiguous(memory_format=torch.channels_last)
    labels = labels.long()
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        scores, edge_logits, features = network(images)
    semantic = partial_cross_entropy(scores, labels)
    loss = semantic
    terms = {"labelled": (labels != IGNORE).sum(), "semantic": semantic.detach()}
    if edge_logits is not None:
        # `boundary_loss`, in the two parts that the edge loss of Table 2 needs as well.
        error, pixels = squared_error(edge_logits, edges, valid)
        boundary = error / edge_mass(edges, valid)
        loss = semantic + objective.boundary_weight * boundary
        terms |= {"boundary": boundary.detach(), "squared_error": error.detach(), "pixels": pixels}
    if objective.regularisers:
        whole = make_field(scores, images, labels, valid, features)
        for name, value in regularise(objective.regularisers, whole).items():
            loss = loss + objective.regularisers[name].weight * value
            terms[name] = value.detach()
    solver.zero_grad(set_to_none=True)
    loss.backward()
    if clip is not None:
        torch.nn.utils.clip_grad_norm_(network.parameters(), clip)
    solver.step()
    return terms | {"loss": loss.detach()}


class EpochSampler:
    """Batches of keys epoch · n + item: each epoch a permutation of its own, from the seed."""

    def __init__(self, items: int, batch: int, epochs: int, seed: int, first: int = 0):
        self.items, self.batch, self.epochs, self.seed = items, batch, epochs, seed
        self.first = first

    def __len__(self) -> int:
        return self.epochs * (self.items // self.batch)

    def __iter__(self):
        for epoch in range(self.first, self.first + self.epochs):
            # Pictures draw from [seed, epoch, item] with item < items: this stream is another.
            order = np.random.default_rng([self.seed, epoch, self.items]).permutation(self.items)
            for first in range(0, self.items - self.batch + 1, self.batch):
                yield [epoch * self.items + int(i) for i in order[first : first + self.batch]]


_MEASURED = ("loss", "semantic", "boundary", "labelled", "squared_error", "pixels")


class Meter:
    """Sums over an epoch, kept on the device so that steps don't wait for each other."""

    def __init__(self, device: torch.device):
        self.device = device
        self.sums: dict[str, torch.Tensor] = {}
        self.steps = 0

    def add(self, terms: dict[str, torch.Tensor]) -> None:
        """Add one step's terms."""
        self.steps += 1
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0) + value.double()

    def means(self, where: str) -> dict[str, float | None]:
        """Return the epoch's mean losses; BPGError where one is not finite."""
        sums = {name: float(value) for name, value in self.sums.items()}
        if not all(math.isfinite(value) for value in sums.values()):
            raise BPGError(f"{where}: the loss is not finite; lower the learning rate")
        if sums["labelled"] == 0:
            raise BPGError(f"{where}: no labelled pixel in any crop; check the scribbles")
        edge_loss = sums["squared_error"] / sums["pixels"] if "pixels" in sums else None
        return {
            "loss": sums["loss"] / self.steps,
            "semantic": sums["semantic"] / self.steps,
            "boundary": sums["boundary"] / self.steps if "boundary" in sums else None,
            "edge_loss": edge_loss,
            # Whatever else was added is a regulariser's value.
            **{name: value / self.steps for name, value in sums.items() if name not in _MEASURED},
        }
