"""A training step's gradients as one CUDA graph."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from bpg.errors import BPGError

Gradients = Callable[[Sequence[torch.Tensor]], dict[str, torch.Tensor]]
"""Stores the gradients of a batch in the network's parameters and returns the terms of the loss."""

_WARM_UP = 3  # calls: the first ones choose kernels and allocate memory that later ones reuse


class Captured:
    """A gradient function launched as one CUDA graph: the same kernels, and so the same bytes.

    A step of ResNet-101 launches some 2,000 kernels; launching them from Python, one by one, takes
    longer than running them. The first call runs the function as it is and captures it; later calls
    replay the graph on the batch they are given, which must have the same shapes.

    Args:
        gradients: The function. It must neither wait for the device nor leave it.
        network: Its network, whose parameters must stay where they are in memory.
    """

    def __init__(self, gradients: Gradients, network: nn.Module):
        self.gradients = gradients
        self.network = network
        self.device = next(network.parameters()).device
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, items: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """Compute the gradients of a batch.

        Args:
            items: The batch, on any device, with the shapes of the first call's.

        Returns:
            The terms of the loss, on the device; the next call overwrites them.

        Raises:
            BPGError: The step cannot be captured.
        """
        if self.graph is None:
            self.graph = self._capture(items)
        else:
            for own, item in zip(self.items, items, strict=True):
                own.copy_(item, non_blocking=True)
        self.graph.replay()
        return self.terms

    def _capture(self, items: Sequence[torch.Tensor]) -> torch.cuda.CUDAGraph:
        self.items = [item.to(self.device, copy=True) for item in items]
        # The calls before the first replay must leave no trace: batch norm counts batches, dropout
        # draws random numbers.
        buffers = [(buffer, buffer.clone()) for buffer in self.network.buffers()]
        random = torch.cuda.get_rng_state(self.device)
        aside = torch.cuda.Stream(self.device)
        aside.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UP):
                self.gradients(self.items)
        torch.cuda.current_stream(self.device).wait_stream(aside)
        # The gradients are allocated anew, in the graph's own memory.
        self.network.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        torch.cuda.set_rng_state(random, self.device)
        try:
            # Other threads pin memory meanwhile, which must not be captured.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self.terms = self.gradients(self.items)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise BPGError(
                f"this network's step cannot be captured ({reason}); set machine.capture to false"
            ) from error
        for buffer, before in buffers:
            buffer.copy_(before)
        return graph
