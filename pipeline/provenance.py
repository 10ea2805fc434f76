"""What a run was made with: commit, versions, hardware. Kept apart from its numbers."""

import hashlib
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from bpg.atomic import write_json
from bpg.devices import cores, precision
from bpg.ranks import launched
from bpg.resumable import file_digest
from pipeline.params import Machine
from pipeline.paths import PROVENANCE
from pipeline.versions import versions

# What determines a run's numbers; DVC itself changes dvc.lock and results/ while it runs.
CODE = (
    *("bpg", "pipeline", "stages", "setup.py"),
    *("params", "params.yaml", "dvc.yaml", "constraints.txt"),
)


def provenance(device: torch.device, *, bf16: bool) -> dict[str, Any]:
    """Describe the program, the packages and the machine as they are now.

    To be called before a training, not after.

    Args:
        device: Where PyTorch computes.
        bf16: Whether it computes in bfloat16.

    Returns:
        What `bpg.report.provenance.Provenance` holds, except "seconds".
    """
    return {
        "commit": _commit(),
        **versions(),
        "hardware": hardware(device),
        "precision": precision(device, bf16=bf16),
        "threads": torch.get_num_threads(),
    }


def file_provenance(model: Path, provenance: Mapping[str, Any]) -> None:
    """File a training's record under the digest of its network.

    Args:
        model: The network's file.
        provenance: What `bpg.report.provenance.Provenance` holds.
    """
    write_json(PROVENANCE / f"{file_digest(model)}.json", provenance)


def rounding(
    device: torch.device, machine: Machine, *, bf16: bool, training: bool = False
) -> dict[str, Any]:
    """Return what determines how numbers are rounded here: unfinished work belongs to it.

    The threads are those in use, which depend on the cores if `machine.threads` is 0; on a GPU they
    have no influence. A training that several processes share counts as one of a single process:
    another number of them resumes it. The kind of processor or GPU is left out: a job that is moved
    to another machine should resume, with a result that agrees up to rounding.

    Args:
        device: Where PyTorch computes.
        machine: The recipe's options.
        bf16: Whether PyTorch computes in bfloat16.
        training: Whether the work is a training, on which further options have an influence.
    """
    settings: dict[str, Any] = {"device": device.type, "bf16": bf16}
    if training:
        settings["compile"] = machine.compile
    if device.type == "cpu":
        alone = machine.threads or cores()
        settings["threads"] = alone if launched() else torch.get_num_threads()
    elif training:
        settings["deterministic"] = machine.deterministic
    return settings


def _commit() -> str:
    """Name the checked-out commit, and say if the code or parameters differ from it."""
    try:
        commit = _git("rev-parse", "--short=12", "HEAD")
        changes = _git("status", "--porcelain", "--", *CODE) and _git("diff", "HEAD", "--", *CODE)
    except OSError as error:
        return f"unknown: git: {error.strerror}"
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines()
        return f"unknown: {lines[0] if lines else f'git ended with status {error.returncode}'}"
    if not changes:
        return commit.decode()
    # Two states of uncommitted changes are distinguished, though neither can be looked up.
    return f"{commit.decode()} with changes {hashlib.sha256(changes).hexdigest()[:8]}"


def _git(*words: str) -> bytes:
    # Bytes: a diff may be in any encoding.
    done = subprocess.run(("git", *words), capture_output=True, check=True)
    return done.stdout.strip()


def hardware(device: torch.device) -> str:
    """Name the GPU, or the processor and its number of cores."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"
    return f"{_processor()}, {os.cpu_count()} cores"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
