"""Several processes that train one network together, each on its share of every batch.

PyTorch's launcher (`torchrun`) starts them and tells them in the environment how many they are and
where to meet. In a process that runs alone, the functions here change no bit and wait for nobody.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from bpg.errors import BPGError
from bpg.ranks import launched, rank

T = TypeVar("T")


def size() -> int:
    """Return the number of processes that train together here (`joined`)."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


@contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Meet the other processes; alone, do nothing.

    Args:
        device: Where this process computes. Tensors of a GPU travel by NCCL, others by Gloo.

    Raises:
        BPGError: They do not meet, or lose each other.
    """
    if not launched():
        yield
        return
    cuda = device.type == "cuda"
    try:
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if cuda else "gloo", device_id=device if cuda else None
        )
        yield
    except RuntimeError as error:
        if not _is_of_the_group(error):
            raise
        raise BPGError(
            f"the processes of this training lost each other ({str(error).splitlines()[0]}); start "
            "it again"
        ) from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def share(batch: Sequence[T]) -> Sequence[T]:
    """Return this process's part of a batch: consecutive items, as many as for the others or one
    more.

    Args:
        batch: The same in all processes.
    """
    count, own = size(), rank() if size() > 1 else 0
    return batch[len(batch) * own // count : len(batch) * (own + 1) // count]


def total(value: torch.Tensor) -> torch.Tensor:
    """Add up a tensor over the processes, without its gradient; alone, return it as it is.

    A loss that is a mean divides by such a total: its gradients then add up to those of the mean
    over the whole batch. All processes must call it, in the same order.

    Args:
        value: Of the same shape in all processes.
    """
    if size() == 1:
        return value
    value = value.detach().clone()
    dist.all_reduce(value)
    return value


def totals(values: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Add up several tensors over the processes at once, in float64.

    Args:
        values: Of any shapes and kinds of number, on one device; the same names in all processes.

    Returns:
        The sums, of the shapes and kinds of the values.
    """
    if size() == 1:
        return dict(values)
    sums = total(torch.cat([value.detach().double().flatten() for value in values.values()]))
    parts = sums.split([value.numel() for value in values.values()])
    named = zip(values.items(), parts, strict=True)
    return {name: part.view(value.shape).to(value.dtype) for (name, value), part in named}


def any_of(flag: bool) -> bool:
    """Say whether the flag is set in any process. They wait for each other here."""
    if size() == 1:
        return flag
    return bool(total(torch.tensor(int(flag))) > 0)  # on the CPU, so that no GPU waits


def from_first(data: bytes | None) -> bytes | None:
    """Return what process 0 passes.

    Args:
        data: Not looked at in the other processes.
    """
    if size() == 1:
        return data
    values = [data]
    dist.broadcast_object_list(values, src=0, device=torch.device("cpu"))
    return values[0]


def is_loss_of_a_process(error: BaseException) -> bool:
    """Say whether an error means that another process has ended."""
    return size() > 1 and isinstance(error, RuntimeError) and _is_of_the_group(error)


def _is_of_the_group(error: RuntimeError) -> bool:
    return isinstance(error, dist.DistError) or "gloo" in str(error).lower()


def distribute(network: nn.Module, device: torch.device) -> nn.Module:
    """Wrap a network so that a backward pass leaves the mean of the processes' gradients in it.

    Args:
        network: On the device, the same in all processes.
        device: A GPU of its own for each process, or the CPU.

    Returns:
        The network itself where the process is alone.
    """
    if size() == 1:
        return network
    # Running statistics agree anyway: the norms are frozen or synchronised.
    devices = [device] if device.type == "cuda" else None
    if "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters:
        return DistributedDataParallel(network, devices, forward_sync_buffers=False)
    return DistributedDataParallel(network, devices, broadcast_buffers=False)  # PyTorch before 2.13
