"""The mean teacher: a network whose weights follow those of the one that is trained."""

from copy import deepcopy
from dataclasses import dataclass

import torch

from bpg.models.network import Network


@dataclass(frozen=True)
class Teacher:
    """A copy of a network that follows it.

    Attributes:
        network: In evaluation mode, without gradients.
        decay: What share of itself it keeps after a step, in 0..1.
    """

    network: Network
    decay: float

    @torch.no_grad()
    def follow(self, network: Network) -> None:
        """Move towards the network: decay · teacher + (1 - decay) · network.

        Source: Tarvainen and Valpola, NeurIPS 2017, Eq. 2. Batch norm's running statistics follow
        in the same way; numbers that count are copied.

        Args:
            network: After a step.
        """
        own = self.network.state_dict()
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                own[name].lerp_(value, 1 - self.decay)
            else:
                own[name].copy_(value)


def make_teacher(network: Network, decay: float | None) -> Teacher | None:
    """Return a copy that will follow, or None without a decay.

    Args:
        network: On its device; not compiled.
        decay: `Objective.teacher_decay`.
    """
    if decay is None:
        return None
    return Teacher(deepcopy(network).eval().requires_grad_(requires_grad=False), decay)
