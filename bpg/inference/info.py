"""What a trained network is, as lines to print; loads no PyTorch."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from bpg.errors import BPGError
from bpg.inference.card import FILE, Card, read_card
from bpg.inference.model import ONNX, RUN_FILE, TORCH, OnnxModel, read_file
from bpg.inference.provenance import find_record
from bpg.inference.pt2 import read_program_card
from bpg.resumable import file_digest

UNKNOWN = "not known"
CRF = "bpg predict --crf refines the labels with it"
NO_CRF = "none: bpg predict --crf cannot be used, its options are not known"
NORMS = ("running_mean", "running_var", "num_batches_tracked")
"""Ends of the names of tensors that are not trained."""


def describe_model(path: Path) -> list[tuple[str, str]]:
    """Describe a run, a `model.safetensors`, or a file of `bpg export`.

    Args:
        path: The run's folder, or the file.

    Returns:
        What and its value, in the order to print them.

    Raises:
        BPGError: It is none of these, or broken.
    """
    if path.is_dir():
        path = path / RUN_FILE
    if not path.is_file():
        raise BPGError(f"{path}: no such model; give a run such as runs/bpg/0, or an exported file")
    if path.suffix == ONNX:
        kind, card = "ONNX file", OnnxModel(path, "cpu").card
        parameters, digest = card.parameters, card.model
    elif path.suffix == TORCH:
        kind, card = "PyTorch program", read_program_card(read_file(path), str(path))
        parameters, digest = card.parameters, card.model
    elif path.suffix == ".safetensors":
        kind = "run"
        card, parameters = _of_run(path)
        digest = file_digest(path)
    else:
        raise BPGError(f"{path}: not a model: must be a run, or end in .safetensors, .onnx or .pt2")
    record = (find_record(path, digest) if digest else None) or {}
    return [
        ("model", f"{path} ({kind}, {path.stat().st_size / 1e6:,.1f} MB)"),
        ("classes", ", ".join(card.classes)),
        ("data set", card.dataset or UNKNOWN),
        ("variant", UNKNOWN if card.variant is None else f"{card.variant}, seed {card.seed}"),
        ("recipe", card.recipe or UNKNOWN),
        ("scores", _scores(card)),
        ("images", _images(card)),
        ("CRF", CRF if card.crf else NO_CRF),
        ("parameters", UNKNOWN if parameters is None else f"{parameters:,}"),
        ("commit", str(card.commit or record.get("commit") or UNKNOWN)),
        ("trained on", _machine(record)),
        ("SHA-256", str(digest or UNKNOWN)),
    ]


def _of_run(path: Path) -> tuple[Card, int]:
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            note = json.loads(metadata.get("forest") or metadata["architecture"])
            classes = tuple(map(str, note["classes"]))
            # Their sizes are in the header: no weight is read.
            shapes = [
                file.get_slice(name).get_shape()
                for name in file.keys()  # noqa: SIM118
                if not name.endswith(NORMS)
            ]
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise BPGError(f"{path}: not a model of this program; train it again") from error
    parameters = 0
    for shape in shapes:
        product = 1
        for size in shape:
            product *= size
        parameters += product
    card = path.with_name(FILE)
    return (read_card(card) if card.is_file() else Card(classes=classes)), parameters


def _scores(card: Card) -> str:
    if card.scores is None:
        return UNKNOWN
    found = [
        f"{name} {value:.1f}"
        for name, value in (("mIoU", card.scores.miou), ("with CRF", card.scores.miou_crf))
        if value is not None
    ]
    return f"{', '.join(found) or 'none'} (on {card.scores.measured_on} of {card.scores.images})"


def _images(card: Card) -> str:
    scales = ", ".join(f"{scale:g}" for scale in card.inference.scales)
    size = "at their own size"
    if card.longest_side:
        size = f"at most {card.longest_side} pixels long, larger ones are shrunk"
    return f"{size}; scales {scales}{', mirrored, too' if card.inference.flip else ''}"


def _machine(record: dict[str, Any]) -> str:
    found = [str(record[key]) for key in ("hardware", "precision") if key in record]
    return ", ".join(found) or UNKNOWN
