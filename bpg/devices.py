"""Where the arithmetic runs, and how exactly it repeats."""

import ctypes
import os
import sys
from dataclasses import dataclass
from typing import Literal

import torch

from bpg.errors import BPGError

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # names of glibc's malloc.h


@dataclass(frozen=True)
class Execution:
    """Where a network runs, and how: no result changes but for rounding.

    `bf16`: under bf16 autocast. `compiled`: through `torch.compile`, minutes before the first step.
    `captured`: training steps are replayed as one CUDA graph, where that is possible.
    """

    device: torch.device
    bf16: bool = False
    compiled: bool = False
    captured: bool = False


def choose_device(name: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """Return the device; "auto" takes CUDA where there is one.

    Raises BPGError when CUDA is asked for and not there.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise BPGError("device: cuda was asked for, but PyTorch sees no GPU; set device to auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def choose_bf16(setting: Literal["auto", "on", "off"], device: torch.device) -> bool:
    """Say whether to run under bf16 autocast; "auto" does so where the hardware multiplies it."""
    if setting != "auto":
        return setting == "on"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported()


def precision(device: torch.device, *, bf16: bool) -> Literal["bf16", "tf32", "fp32"]:
    """Name what products are computed in: without bf16, `set_up` lets a GPU use TF32."""
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
    """Seed, choose the number of CPU threads (0: all cores) and the deterministic kernels.

    These are for training on a GPU: forward passes repeat without them. `fixed_size` says that all
    batches have one size, so that it pays to try out kernels and to keep freed memory.
    """
    torch.manual_seed(seed)
    torch.set_num_threads(threads or _cores())
    if device.type == "cpu" and fixed_size:
        _keep_freed_memory()
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = fixed_size and not deterministic
        # Of convolutions only: the products of `bpg.grid` are to be exact.
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = True
    # CPU kernels repeat exactly for a given number of threads without being told to.
    torch.use_deterministic_algorithms(deterministic and device.type == "cuda", warn_only=True)
    # No kernel here reads memory that it has not written; filling it would cost a pass each time.
    # A property that the module puts on itself, out of mypy's sight.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def _keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next step instead of giving it back to the system.

    Every step frees and asks for the same tensors; new pages cost 4 to 10 % of a step.
    """
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        if hasattr(library, "mallopt"):
            if not library.mallopt(_MMAP_THRESHOLD, 2**30):
                library.mallopt(_MMAP_THRESHOLD, 2**25)  # the most that older ones take
            library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def _cores() -> int:
    # Containers and batch systems give a process fewer cores than the machine has.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
