"""Where the network runs, and how exactly its results repeat."""

import ctypes
import os
import sys
from dataclasses import dataclass
from typing import Literal

import torch

from bpg.errors import BPGError
from bpg.ranks import launched, local_rank, local_size

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # names of glibc's malloc.h


@dataclass(frozen=True)
class Execution:
    """Where a network runs, and how; results differ by rounding only.

    Attributes:
        device: Where.
        bf16: Under bf16 autocast.
        compiled: Through `torch.compile`, which takes minutes before the first step.
        captured: Training steps are replayed as one CUDA graph, where that is possible.
    """

    device: torch.device
    bf16: bool = False
    compiled: bool = False
    captured: bool = False


def choose_device(name: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """Return the device of that name; of several processes on a machine, each gets its own GPU.

    Args:
        name: "auto" is CUDA where there is a GPU, else the CPU.

    Raises:
        BPGError: CUDA is asked for, and PyTorch sees no GPU; or fewer than there are processes.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise BPGError("device: cuda was asked for, but PyTorch sees no GPU; set device to auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and launched():
        if local_rank() >= torch.cuda.device_count():
            raise BPGError(
                f"{torch.cuda.device_count()} GPUs for more processes; lower --nproc-per-node in "
                "machine.launcher"
            )
        return torch.device(name, local_rank())
    return torch.device(name)


def choose_bf16(setting: Literal["auto", "on", "off"], device: torch.device) -> bool:
    """Say whether to run under bf16 autocast.

    Args:
        setting: "auto" does so where the hardware multiplies bf16 natively.
        device: Where the network runs.
    """
    if setting != "auto":
        return setting == "on"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported()


def precision(device: torch.device, *, bf16: bool) -> Literal["bf16", "tf32", "fp32"]:
    """Name the precision in which products are computed.

    Args:
        device: Without bf16, `set_up` lets a GPU use TF32.
        bf16: Whether the network runs under bf16 autocast.
    """
    if bf16:
        return "bf16"
    return "tf32" if device.type == "cuda" else "fp32"


def set_up(
    device: torch.device,
    *,
    threads: int,
    seed: int,
    deterministic: bool = False,
    fixed_size: bool = False,
) -> None:
    """Seed PyTorch, and set its number of CPU threads and its choice of kernels.

    Args:
        device: Where the network will run.
        threads: CPU threads; 0: all cores, or this process's part of them.
        seed: Of PyTorch's random numbers.
        deterministic: Whether to use deterministic kernels on a GPU. They are for training: forward
            passes repeat without them.
        fixed_size: Whether all batches have the same size, so that it pays to benchmark kernels (on
            a GPU, unless `deterministic`) and to keep freed memory (on a CPU).
    """
    torch.manual_seed(seed)
    torch.set_num_threads(threads or max(1, cores() // local_size()))
    if device.type == "cpu" and fixed_size:
        _keep_freed_memory()
    if device.type == "cuda":
        if device.index is not None:
            torch.cuda.set_device(device)
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = fixed_size and not deterministic
        # TF32 for convolutions only: the products of `bpg.grid` must be exact.
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = True
    # CPU kernels are deterministic anyway, for a given number of threads.
    torch.use_deterministic_algorithms(deterministic and device.type == "cuda", warn_only=True)
    # No kernel here reads memory that it has not written; filling it would cost a pass each time.
    # mypy does not see this property, which the module sets on itself.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def _keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next step instead of returning it to the system.

    Every step frees and allocates the same tensors; new pages cost 4 to 10 % of a step.
    """
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        if hasattr(library, "mallopt"):
            if not library.mallopt(_MMAP_THRESHOLD, 2**30):
                library.mallopt(_MMAP_THRESHOLD, 2**25)  # the most that older versions accept
            library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def cores() -> int:
    """Return the number of cores that this process may use."""
    # Containers and batch systems give a process fewer cores than the machine has.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
