"""Checkpoints: all that a training run needs to resume as if it had not been stopped."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from bpg.atomic import whole_file
from bpg.errors import BPGError
from bpg.models.network import Network
from bpg.training.mean_teacher import Teacher

_DIGEST = 64  # hexadecimal digits of the SHA-256 at the front, so that a flipped bit is noticed


@dataclass
class Progress:
    """How far a training run has got.

    The schedule, the order of the images and what is drawn for each follow from `step`.

    Attributes:
        step: Steps done.
        epochs: The mean losses of each finished epoch (`Meter.means`).
        labelled: Labelled pixels by class, over the finished epochs.
        blank: Batches without a labelled pixel, over the finished epochs.
        sums: The sums of the current epoch (`Meter`), float64.
        summed: Steps in `sums`.
        seconds: Time spent, over all starts.
    """

    step: int = 0
    epochs: list[dict[str, float | None]] = field(default_factory=list)
    labelled: list[int] = field(default_factory=list)
    blank: int = 0
    sums: dict[str, torch.Tensor] = field(default_factory=dict)
    summed: int = 0
    seconds: float = 0.0


_PLAIN = ("step", "epochs", "labelled", "blank", "summed", "seconds")  # kept as JSON


def save_checkpoint(
    path: Path,
    network: Network,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    teacher: Teacher | None = None,
) -> None:
    """Write the state of a training run between two steps: whole and flushed, or not at all.

    It consists of weights and buffers, the optimizer's state, PyTorch's random states (there are no
    others: images draw from seed, epoch and item) and the progress. No pickles: tensors are stored
    as safetensors, the rest as JSON. Learning rates are not stored, as they follow from the step.

    Args:
        path: The checkpoint file.
        network: What is being trained.
        optimizer: Its optimizer.
        progress: How far the training has got.
        teacher: The mean teacher, if there is one.
    """
    tensors = {f"network/{name}": value for name, value in network.state_dict().items()}
    if teacher is not None:
        tensors |= {
            f"teacher/{name}": value for name, value in teacher.network.state_dict().items()
        }
    numbers: dict[str, Any] = {}
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            if torch.is_tensor(value):
                tensors[f"optimizer/{index}/{name}"] = value
            elif value is not None:
                numbers[f"{index}/{name}"] = value
    tensors["random/cpu"] = torch.get_rng_state()
    device = next(network.parameters()).device
    if device.type == "cuda":
        tensors["random/cuda"] = torch.cuda.get_rng_state(device)
    tensors |= {f"sums/{name}": value for name, value in progress.sums.items()}
    note = {name: getattr(progress, name) for name in _PLAIN} | {
        "optimizer": numbers,
        "kind": type(optimizer).__name__,
    }
    # safetensors sorts its names, but the summary lists the losses in this order.
    note["sums"] = list(progress.sums)
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    data = save(plain, {"training": json.dumps(note)})
    with whole_file(path) as partial, partial.open("wb") as file:
        file.write(hashlib.sha256(data).hexdigest().encode())
        file.write(data)


def load_checkpoint(
    path: Path,
    network: Network,
    optimizer: torch.optim.Optimizer,
    teacher: Teacher | None = None,
) -> Progress:
    """Restore network, optimizer, teacher and random states as `save_checkpoint` found them.

    Args:
        path: The checkpoint file.
        network: A new network of the same architecture, on its device; its weights are replaced.
        optimizer: A new optimizer of the same kind for this network; its state is replaced.
        teacher: A mean teacher, if there was one; its weights are replaced.

    Returns:
        How far the training had got, with its sums on the network's device.

    Raises:
        BPGError: The file is missing, truncated, damaged, or of another network or optimizer.
            Nothing is changed then.
    """
    return restore(read_checkpoint(path), path, network, optimizer, teacher)


def read_checkpoint(path: Path) -> bytes:
    """Read a checkpoint file for `restore`, which may be in another process.

    Args:
        path: The checkpoint file.

    Raises:
        BPGError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise BPGError(f"{path}: cannot be read ({error.strerror})") from error


def restore(
    data: bytes,
    path: Path,
    network: Network,
    optimizer: torch.optim.Optimizer,
    teacher: Teacher | None = None,
) -> Progress:
    """Do what `load_checkpoint` does with what `read_checkpoint` returned.

    Args:
        data: The file's bytes.
        path: For messages.
        network: As for `load_checkpoint`.
        optimizer: As for `load_checkpoint`.
        teacher: As for `load_checkpoint`.
    """
    digest, data = data[:_DIGEST], data[_DIGEST:]
    if digest != hashlib.sha256(data).hexdigest().encode():
        raise BPGError(f"{path}: damaged, or no checkpoint; delete it to start over")
    try:
        tensors = load(data)
        # safetensors keeps its metadata in a JSON header, after eight bytes with its length.
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        note = json.loads(header["__metadata__"]["training"])
        if note["kind"] != type(optimizer).__name__:
            raise ValueError("another optimizer")
        state = _optimizer_state(optimizer, tensors, note["optimizer"])
        progress = Progress(**{name: note[name] for name in _PLAIN})
        progress.sums = {name: tensors[f"sums/{name}"] for name in note["sums"]}
        weights = _weights(tensors, "network/", network.state_dict())
        taught = _weights(tensors, "teacher/", teacher.network.state_dict() if teacher else {})
        random = tensors["random/cpu"]
    except (SafetensorError, KeyError, TypeError, ValueError, IndexError) as error:
        raise BPGError(
            f"{path}: of another network or optimizer; delete it to start over"
        ) from error
    network.load_state_dict(weights)
    if teacher is not None:
        teacher.network.load_state_dict(taught)
    optimizer.state.update(state)
    torch.set_rng_state(random)
    device = next(network.parameters()).device
    if device.type == "cuda" and "random/cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random/cuda"], device)
    progress.sums = {name: value.to(device) for name, value in progress.sums.items()}
    return progress


def _below(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _weights(
    tensors: dict[str, torch.Tensor], prefix: str, own: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    weights = _below(tensors, prefix)
    if weights.keys() != own.keys():
        raise ValueError("other weights")
    if any(weights[name].shape != value.shape for name, value in own.items()):
        raise ValueError("other shapes")
    return weights


def _optimizer_state(
    optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor], numbers: dict[str, Any]
) -> dict[torch.Tensor, dict[str, Any]]:
    """Return {parameter: its state}, tensors in the memory layout of the parameter.

    With another layout the optimizer would use other kernels, which round differently.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[torch.Tensor, dict[str, Any]] = {}
    for path, value in {**_below(tensors, "optimizer/"), **numbers}.items():
        index, name = path.split("/")
        parameter = parameters[int(index)]
        if torch.is_tensor(value):
            if value.ndim and value.shape != parameter.shape:
                raise ValueError("other shapes")
            like = parameter if value.ndim else value
            value = torch.empty_like(like, device=parameter.device).copy_(value)  # noqa: PLW2901
        state.setdefault(parameter, {})[name] = value
    return state
