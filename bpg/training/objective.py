"""What is minimised (Eq. 4), its gradients, and one step of the optimizer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from bpg.devices import Execution
from bpg.losses.boundary import edge_mass, squared_error
from bpg.losses.inputs import make_inputs
from bpg.losses.options import Options
from bpg.losses.partial_cross_entropy import partial_cross_entropy
from bpg.losses.regularisers import regularise
from bpg.models.network import Network
from bpg.training.capture import Captured, Gradients


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


def make_gradients(network: Network, objective: Objective, execution: Execution) -> Gradients:
    """Return the function that computes the gradients of a batch.

    It is captured as a CUDA graph where `execution` asks for that, on a GPU, if the objective never
    leaves it.

    Args:
        network: In training mode and on the device.
        objective: What is minimised.
        execution: Device and precision.

    Returns:
        A function of a batch of `TrainingImages` that stores the gradients in the network's
        parameters and returns the terms of `losses`, and "loss", the objective's value.
    """

    def gradients(items: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        network.zero_grad(set_to_none=True)
        loss, terms = losses(network, items, objective, execution)
        loss.backward()
        return terms | {"loss": loss.detach()}

    capturable = execution.device.type == "cuda" and not any(
        options.leaves_gpu for options in objective.regularisers.values()
    )
    if execution.captured and capturable:
        return Captured(gradients, network)
    return gradients


def optimizer_step(
    network: Network,
    items: Sequence[torch.Tensor],
    gradients: Gradients,
    optimizer: torch.optim.Optimizer,
    max_grad_norm: float | None,
) -> dict[str, torch.Tensor]:
    """Take one optimizer step on a batch.

    Args:
        network: What is trained, in place.
        items: The batch, as `losses` takes it.
        gradients: From `make_gradients`.
        optimizer: Of the network.
        max_grad_norm: The L2 norm to which the whole gradient is clipped; None: no clipping.

    Returns:
        The terms before the step, which `Meter` adds up: those of `losses`, and "loss".
    """
    terms = gradients(items)
    if max_grad_norm is not None:
        torch.nn.utils.clip_grad_norm_(network.parameters(), max_grad_norm)
    optimizer.step()
    return terms


def losses(
    network: Network,
    items: Sequence[torch.Tensor],
    objective: Objective,
    execution: Execution,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Compute the objective on a batch.

    Args:
        network: On the device; with a BRN, the boundary loss counts in training mode.
        items: A batch of `TrainingImages`, on any device: images uint8 (N, c, c, 3), RGB; labels
            uint8 (N, c, c), 255 = unlabelled; edges uint8 (N, c, c), 255 = certainly an edge; valid
            bool (N, c, c), False in padding.
        objective: What is computed.
        execution: Device and precision.

    Returns:
        The value, 0-d with its graph, and its terms, detached and 0-d: "semantic"; "boundary",
        "squared_error" and "pixels" (the number of valid ones) with a BRN; each regulariser's value
        without its weight, under its name. Also "labelled", the labelled pixels by class (K+1), and
        "blank", whether there are none.
    """
    device = execution.device
    images, labels, edges, valid = (item.to(device, non_blocking=True) for item in items)
    images = images.permute(0, 3, 1, 2).float()  # channels_last
    labels, edges = labels.long(), edges.float() / 255
    with torch.autocast(device.type, torch.bfloat16, enabled=execution.bf16):
        logits, edge_logits, features = network(images)
    semantic = partial_cross_entropy(logits, labels)
    loss = semantic
    # By class, without waiting for the device as `bincount` does.
    labelled = torch.stack([(labels == label).sum() for label in range(logits.shape[1])])
    terms = {"labelled": labelled, "blank": labelled.sum() == 0, "semantic": semantic.detach()}
    if edge_logits is not None:
        # `boundary_loss`, in two parts, because the edge loss of Table 2 needs them, too.
        error, pixels = squared_error(edge_logits, edges, valid)
        boundary = error / edge_mass(edges, valid)
        loss = semantic + objective.boundary_weight * boundary
        terms |= {"boundary": boundary.detach(), "squared_error": error.detach(), "pixels": pixels}
    if objective.regularisers:
        whole = make_inputs(logits, images, labels, valid, features)
        for name, value in regularise(objective.regularisers, whole).items():
            loss = loss + objective.regularisers[name].weight * value
            terms[name] = value.detach()
    return loss, terms
