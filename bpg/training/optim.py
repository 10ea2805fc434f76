"""DeepLab-v2's optimizer: parameter groups and the poly schedule."""

import torch
from torch import nn

from bpg.models.network import Network
from bpg.training.options import OptimizerOptions

POWER = 0.9


def parameter_groups(network: Network, options: OptimizerOptions) -> list[dict]:
    """Group the trained parameters as the published solver does.

    The backbone learns at `lr`, the ASPP weights at `head_lr_mult` times that, the ASPP biases at
    twice the rate of the weights and without weight decay (×10 and ×20 with the published
    `head_lr_mult` of 10). PRN and BRN, on which the paper is silent, learn at `new_lr_mult` times
    `lr`. Frozen parameters are left out.

    Args:
        network: What is to be trained.
        options: Learning rates and weight decay.

    Returns:
        The groups that are not empty, with "name", "params", "lr", "initial_lr" and "weight_decay".
    """

    def group(name: str, parameters: list[nn.Parameter], factor: float, decay: float) -> dict:
        return {
            "name": name,
            "params": parameters,
            "lr": options.lr * factor,
            "initial_lr": options.lr * factor,
            "weight_decay": decay,
        }

    head = list(network.head.named_parameters())
    new = [part for part in (network.prn, network.brn) if part is not None]
    trunk = [p for p in network.backbone.parameters() if p.requires_grad]
    decay, mult = options.weight_decay, options.head_lr_mult
    groups = [
        group("backbone", trunk, 1, decay),
        group("head", [p for n, p in head if n.endswith("weight")], mult, decay),
        group("head_bias", [p for n, p in head if n.endswith("bias")], 2 * mult, 0.0),
        group("new", [p for part in new for p in part.parameters()], options.new_lr_mult, decay),
    ]
    return [g for g in groups if g["params"]]


def make_optimizer(network: Network, options: OptimizerOptions) -> torch.optim.Optimizer:
    """Build SGD with momentum (paper, section 4.1) or AdamW for the `parameter_groups`.

    Args:
        network: What is to be trained, on its device.
        options: Which optimizer, and its settings.
    """
    groups = parameter_groups(network, options)
    # Fused: one kernel for all tensors takes a third of the time, on CPU and CUDA alike.
    if options.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=options.momentum, fused=True)
    return torch.optim.AdamW(groups, betas=(options.momentum, 0.999), fused=True)


def poly_lr(step: int, steps: int) -> float:
    """Return the factor (1 - step/steps)^0.9 of the poly schedule.

    Args:
        step: Steps done so far, 0..steps.
        steps: Steps in all.

    Returns:
        What the initial learning rate is multiplied by, 1 to 0.
    """
    return (1 - step / steps) ** POWER


def set_lrs(optimizer: torch.optim.Optimizer, share: float) -> None:
    """Set the learning rate of every group relative to its initial one.

    Args:
        optimizer: From `make_optimizer`; changed in place.
        share: What the initial learning rates are multiplied by, in 0..1.
    """
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * share
