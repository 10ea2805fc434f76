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
    """What is minimised beside partial cross-entropy, `semantic`:

    semantic + boundary_weight · boundary (Eq. 4, where the network has a BRN) + the sum over
    `regularisers` of their weight · their value.
    """

    boundary_weight: float = 0.0
    regularisers: Mapping[str, Options] = field(default_factory=dict)


def make_gradients(network: Network, objective: Objective, execution: Execution) -> Gradients:
    """Return what computes the gradients of a batch of `TrainingImages`.

    Captured where that is asked for, on a GPU, and if the objective never leaves it.
    """

    def gradients(items: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        network.zero_grad(set_to_none=True)
        loss, terms = losses(network, items, objective, execution)
        loss.backward()
        return terms | {"loss": loss.detach()}

    on_gpu = execution.device.type == "cuda" and not any(
        options.leaves_gpu for options in objective.regularisers.values()
    )
    if execution.captured and on_gpu:
        return Captured(gradients, network)
    return gradients


def optimizer_step(
    network: Network,
    items: Sequence[torch.Tensor],
    gradients: Gradients,
    optimizer: torch.optim.Optimizer,
    max_grad_norm: float | None,
) -> dict[str, torch.Tensor]:
    """Do a step of the optimizer on a batch of `TrainingImages`; return what `Meter` gathers."""
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
    """Return the objective's value, 0-d with its graph, and its parts without."""
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
        # `boundary_loss`, in the two parts that the edge loss of Table 2 needs as well.
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
