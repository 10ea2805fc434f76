"""What is minimised (Eq. 4), its gradients, and one step of the optimizer."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from bpg.devices import Execution
from bpg.distributed import distribute, size, total, totals
from bpg.losses.boundary import edge_mass, squared_error
from bpg.losses.inputs import make_inputs
from bpg.losses.options import MeanTeacherOptions, Options
from bpg.losses.partial_cross_entropy import partial_cross_entropy
from bpg.losses.regularisers import regularise
from bpg.models.network import Network, Output
from bpg.training.capture import Captured, Gradients
from bpg.training.mean_teacher import Teacher

RATIO_IMAGES = 2
"""On so many of a batch's images `gradient_ratios` are measured."""


@dataclass(frozen=True)
class Objective:
    """What is minimised: partial cross-entropy, boundary loss and regularisers.

    It is semantic + boundary_weight · boundary (Eq. 4; the latter where the network has a BRN)
    + the sum of weight · value over the regularisers.

    Attributes:
        boundary_weight: λ of Eq. 4.
        regularisers: {name: options}, the options with the weight.
    """

    boundary_weight: float = 0.0
    regularisers: Mapping[str, Options] = field(default_factory=dict)

    @property
    def reads_edges(self) -> bool:
        """Whether a regulariser looks at the edge maps."""
        return any(options.reads_edges for options in self.regularisers.values())

    @property
    def teacher_decay(self) -> float | None:
        """How slowly the mean teacher follows the network; None without one."""
        options = self.regularisers.values()
        found = (one.decay for one in options if isinstance(one, MeanTeacherOptions))
        return next(found, None)


def make_gradients(
    network: Network, objective: Objective, execution: Execution, teacher: Teacher | None = None
) -> Gradients:
    """Return the function that computes the gradients of a batch.

    It is captured as a CUDA graph where `execution` asks for that, on a GPU, if the objective never
    leaves it and the process is alone. Of several processes (`bpg.distributed`), each computes its
    share of the batch, and the gradients and terms are those of the whole.

    Args:
        network: In training mode and on the device.
        objective: What is minimised.
        execution: Device and precision.
        teacher: The mean teacher, as `losses` takes it.

    Returns:
        A function of a batch of `TrainingImages` that stores the gradients in the network's
        parameters and returns the terms of `losses`, "loss", the objective's value, and "blank",
        whether the batch has no labelled pixel.
    """

    forward = distribute(network, execution.device)

    def gradients(items: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        network.zero_grad(set_to_none=True)
        loss, terms = losses(forward, items, objective, execution, teacher)
        # The mean over the processes, which is what they agree on, becomes the sum.
        (loss * size() if size() > 1 else loss).backward()
        terms = totals(terms | {"loss": loss.detach()})
        return terms | {"blank": terms["labelled"].sum() == 0}

    capturable = execution.device.type == "cuda" and not any(
        options.leaves_gpu for options in objective.regularisers.values()
    )
    if execution.captured and capturable and size() == 1:
        return Captured(gradients, network)
    return gradients


def optimizer_step(
    network: Network,
    items: Sequence[torch.Tensor],
    gradients: Gradients,
    optimizer: torch.optim.Optimizer,
    max_grad_norm: float | None,
    teacher: Teacher | None = None,
) -> dict[str, torch.Tensor]:
    """Take one optimizer step on a batch.

    Args:
        network: What is trained, in place.
        items: The batch, as `losses` takes it.
        gradients: From `make_gradients`.
        optimizer: Of the network.
        max_grad_norm: The L2 norm to which the whole gradient is clipped; None: no clipping.
        teacher: The mean teacher, which follows; None without one.

    Returns:
        The terms before the step, which `Meter` adds up: those of `losses`, "loss", and "blank",
        whether the batch had no labelled pixel.
    """
    terms = gradients(items)
    if max_grad_norm is not None:
        torch.nn.utils.clip_grad_norm_(network.parameters(), max_grad_norm)
    optimizer.step()
    if teacher is not None:
        teacher.follow(network)
    return terms


def losses(
    network: Callable[[torch.Tensor], Output],
    items: Sequence[torch.Tensor],
    objective: Objective,
    execution: Execution,
    teacher: Teacher | None = None,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Compute the objective on a batch, or this process's part of it.

    Args:
        network: On the device; with a BRN, the boundary loss counts in training mode.
        items: A batch of `TrainingImages`, on any device: images uint8 (N, c, c, 3), RGB; labels
            uint8 (N, c, c), 255 = unlabelled; edges uint8 (N, c, c), 255 = certainly an edge; valid
            bool (N, c, c), False in padding.
        objective: What is computed.
        execution: Device and precision.
        teacher: The mean teacher, where the objective has one.

    Returns:
        The value, 0-d with its graph, and its terms, detached and 0-d: "semantic"; "boundary",
        "squared_error" and "pixels" (the number of valid ones) with a BRN; each regulariser's value
        without its weight, under its name. Also "labelled", the labelled pixels by class (K+1).
        Of several processes, each has its summands of means over the whole batch.
    """
    weighted, terms = _weighted(network, items, objective, execution, teacher)
    first, *others = weighted.values()
    return sum(others, first), terms


def gradient_ratios(
    network: Network,
    items: Sequence[torch.Tensor],
    objective: Objective,
    execution: Execution,
    teacher: Teacher | None = None,
) -> dict[str, float]:
    """Measure how hard each term pulls at the backbone beside the cross-entropy.

    It is measured on the first `RATIO_IMAGES` of the batch, or of each process's share of it,
    without the compiler: a step's memory and time must not grow by it.

    Args:
        network: As for `losses`; left as it was, running statistics included.
        items: As for `losses`.
        objective: As for `losses`.
        execution: As for `losses`.
        teacher: As for `losses`.

    Returns:
        {name of a term: L2 norm of its gradient on the backbone's weights, with the term's weight,
        over that of the cross-entropy}; infinite where the batch has no labelled pixel. Empty if
        there are no other terms.
    """
    if network.brn is None and not objective.regularisers:
        return {}
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    few = [item[:RATIO_IMAGES] for item in items]
    weighted, _ = _weighted(network.forward, few, objective, execution, teacher)
    weights = [one for one in network.backbone.parameters() if one.requires_grad]
    norms = {}
    for name, value in weighted.items():
        gradients = torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True)
        found = [total(one.float()) for one in gradients if one is not None]
        norms[name] = float(torch.stack([one.square().sum() for one in found]).sum().sqrt())
    for buffer, before in buffers:
        buffer.copy_(before)
    own = norms.pop("semantic")
    return {name: norm / own if own else math.inf for name, norm in norms.items()}


def _weighted(
    network: Callable[[torch.Tensor], Output],
    items: Sequence[torch.Tensor],
    objective: Objective,
    execution: Execution,
    teacher: Teacher | None,
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return the summands of the objective, with their graphs and weights, and the terms."""
    device = execution.device
    images, labels, edges, valid = (item.to(device, non_blocking=True) for item in items)
    images = images.permute(0, 3, 1, 2).float()  # channels_last
    labels, edges = labels.long(), edges.float() / 255
    with torch.autocast(device.type, torch.bfloat16, enabled=execution.bf16):
        logits, edge_logits, features = network(images)
        taught = _taught(teacher, images)
    semantic = partial_cross_entropy(logits, labels)
    weighted = {"semantic": semantic}
    # By class, without waiting for the device as `bincount` does.
    labelled = torch.stack([(labels == label).sum() for label in range(logits.shape[1])])
    terms = {"labelled": labelled, "semantic": semantic.detach()}
    if edge_logits is not None:
        # `boundary_loss`, in two parts, because the edge loss of Table 2 needs them, too.
        error, pixels = squared_error(edge_logits, edges, valid)
        boundary = error / edge_mass(edges, valid)
        weighted["boundary"] = objective.boundary_weight * boundary
        terms |= {"boundary": boundary.detach(), "squared_error": error.detach(), "pixels": pixels}
    if objective.regularisers:
        seen = edges if objective.reads_edges else None
        whole = make_inputs(logits, images, labels, valid, features, seen, taught)
        for name, value in regularise(objective.regularisers, whole).items():
            weighted[name] = objective.regularisers[name].weight * value
            terms[name] = value.detach()
    return weighted, terms


@torch.no_grad()
def _taught(teacher: Teacher | None, images: torch.Tensor) -> torch.Tensor | None:
    return None if teacher is None else teacher.network(images).logits
