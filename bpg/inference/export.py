"""One file for other programs: a trained network as ONNX or as a PyTorch program, verified."""

import json
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import skimage
import torch

from bpg.atomic import whole_file
from bpg.data.photographs import read_photograph
from bpg.data.shapes import PHOTOGRAPHS, draw_sample
from bpg.errors import BPGError
from bpg.inference.card import FILE, Card, read_card, with_origin
from bpg.inference.inputs import find_inputs
from bpg.inference.model import CARD_KEY, ONNX, TORCH, ForestModel, NetworkModel, open_model
from bpg.inference.portable import Portable
from bpg.inference.provenance import training_commit
from bpg.resize import shrink, shrunk_size
from bpg.resumable import file_digest

Format = Literal["onnx", "torch"]
Precision = Literal["fp32", "fp16"]
SUFFIXES: dict[Format, str] = {"onnx": ONNX, "torch": TORCH}

ODD_SIZES = ((1, 1), (2, 9), (7, 300), (8, 8), (65, 33))
"""Heights and widths that an exporter can get wrong: below, at and beside 8n+1."""

IMAGES, SIDE = 50, 512
"""A file is verified on at most so many images, of at most so many pixels."""

TIE = {"fp32": 1e-3, "fp16": 2e-2}
"""Where the two best probabilities of the network are nearer than this, the file may choose the
other label: rounding decides."""

EXAMPLE = (2, 90, 131, 3)  # no size of it is 1, 8n+1, or like another: none must be special
_METADATA = ("classes", "colours", "dataset", "variant", "recipe", "commit")


@dataclass(frozen=True)
class Verified:
    """How an exported file compares with its network.

    Attributes:
        pixels: How many were compared.
        equal: The share of them with the same label.
        difference: The largest difference of a probability.
        size: Of the file, in bytes.
    """

    pixels: int
    equal: float
    difference: float
    size: int

    def __str__(self) -> str:
        return (
            f"verified on {self.pixels:,} pixels: {100 * self.equal:.4f} % of the labels equal, "
            f"largest difference of a probability {self.difference:.1e}"
        )


def export_model(
    model: Path,
    out: Path,
    kind: Format,
    images: Sequence[np.ndarray],
    *,
    precision: Precision = "fp32",
) -> Verified:
    """Write a trained network as one file that any size of image goes into.

    Its input `images` is float32 (N, H, W, 3), RGB, 0..255: an image as it is read. The
    normalisation is inside. Its outputs are `logits` and `probabilities`, float32 (N, K+1, H, W).
    The BRN, which is for training, is left out. The card is inside, with the commit that trained
    the network, if a record of it is found.

    Args:
        model: A run's folder, or its `model.safetensors`.
        out: The file; must end in .onnx or .pt2. It appears if it gives the network's labels.
        kind: What to write: ONNX, or a program of `torch.export`.
        images: uint8 (H, W, 3), RGB; what it is verified on, beside some odd sizes.
        precision: "fp16" halves the file of an ONNX model.

    Raises:
        BPGError: The model cannot be read or cannot be exported, the file's name does not fit, or
            what was exported gives other labels.
    """
    if out.suffix != SUFFIXES[kind]:
        raise BPGError(f"{out}: must end in {SUFFIXES[kind]}, by which its kind is known")
    if kind == "torch" and precision != "fp32":
        raise BPGError("--precision: a PyTorch file is fp32; convert it with .half(), or take onnx")
    opened = open_model(model, "cpu")
    if isinstance(opened, ForestModel):
        raise BPGError(f"{model}: a random forest, which has no export; give a network's run")
    if not isinstance(opened, NetworkModel):
        raise BPGError(f"{model}: is exported already; give a run such as runs/bpg/0")
    digest = file_digest(opened.path)
    card = with_origin(
        opened.card,
        commit=training_commit(opened.path, digest),
        parameters=sum(one.numel() for one in opened.network.parameters()),
        model=digest,
    )
    with _quiet():
        program = _program(opened)
        if kind == "onnx":
            data = _onnx(program, card, precision)
    with whole_file(out) as partial:
        if kind == "onnx":
            partial.write_bytes(data)
        else:
            with _quiet():
                torch.export.save(program, partial, extra_files={FILE: card.to_json()})
        return verify(opened, partial, out, images, precision)


def verify(
    network: NetworkModel,
    file: Path,
    name: Path,
    images: Sequence[np.ndarray],
    precision: Precision,
) -> Verified:
    """Compare an exported file with its network.

    Args:
        network: In fp32, on the CPU.
        file: What was exported.
        name: What errors call it.
        images: uint8 (H, W, 3), RGB; pieces of them in odd sizes are compared, too.
        precision: Of the file, on which depends what is a tie.

    Raises:
        BPGError: A label differs that is no tie.
    """
    exported = open_model(file, "cpu")
    pixels = equal = 0
    difference = 0.0
    for image in [*images, *_odd(images)]:
        batch = image[None].astype(np.float32)
        with torch.inference_mode():
            logits = network.network(torch.from_numpy(batch).permute(0, 3, 1, 2)).logits
            expected = logits[0].softmax(0).numpy()
            found = torch.from_numpy(exported.logits(batch))[0].softmax(0).numpy()
        if found.shape != expected.shape or not np.isfinite(found).all():
            raise BPGError(f"{name}: not written: fails for an image of {_size(image)} pixels")
        best = np.sort(expected, axis=0)
        wrong = found.argmax(0) != expected.argmax(0)
        if (wrong & (best[-1] - best[-2] > TIE[precision])).any():
            share = 100 * wrong.mean()
            raise BPGError(
                f"{name}: not written: {share:.2f} % of the labels of an image of {_size(image)} "
                "pixels are not the network's"
                + ("; export it as fp32" if precision != "fp32" else "")
            )
        pixels += wrong.size
        equal += int(wrong.size - wrong.sum())
        difference = max(difference, float(np.abs(found - expected).max()))
    return Verified(pixels, equal / pixels, difference, file.stat().st_size)


def _odd(images: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    for number, (height, width) in enumerate(ODD_SIZES):
        image = images[number % len(images)]
        times = -(-height // image.shape[0]), -(-width // image.shape[1]), 1
        yield np.tile(image, times)[:height, :width]


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"


def _program(model: NetworkModel) -> Any:
    dynamic = torch.export.Dim.DYNAMIC
    try:
        program = torch.export.export(
            Portable(model.network),
            (torch.zeros(EXAMPLE),),
            dynamic_shapes=({0: dynamic, 1: dynamic, 2: dynamic},),
        )
    except Exception as error:  # of any kind, for a backbone that cannot be traced
        raise BPGError(
            f"{model.path}: torch.export cannot follow its backbone "
            f"{model.network.architecture.backbone!r}: {' '.join(str(error).split())[:200]}"
        ) from error
    # They assert that no tensor happens to be contiguous, which sizes of 8n+1 are: no result
    # depends on it. And they are code, which a file should not hold.
    program._guards_code = []
    return program


def _onnx(program: Any, card: Card, precision: Precision) -> bytes:
    exported = torch.onnx.export(
        program,
        dynamo=True,
        input_names=["images"],
        output_names=["logits", "probabilities"],
        verbose=False,
    )
    assert exported is not None
    model = exported.model_proto
    if precision == "fp16":
        from onnxruntime.transformers.float16 import (  # noqa: PLC0415
            convert_float_to_float16,
        )

        model = convert_float_to_float16(model, keep_io_types=True)
    _name_sizes(model)
    values = json.loads(card.to_json())
    model.producer_name = "bpg"
    del model.metadata_props[:]
    # The card; and, for those who look into the file with other programs, what they look for.
    entries = {CARD_KEY: card.to_json()}
    entries |= {
        key: values[key] if isinstance(values[key], str) else json.dumps(values[key])
        for key in _METADATA
        if values[key] is not None
    }
    for key, value in entries.items():
        model.metadata_props.add(key=key, value=value)
    for node in model.graph.node:  # PyTorch's stack traces, with names of our folders
        del node.metadata_props[:]
        node.doc_string = ""
    return model.SerializeToString(deterministic=True)


def _name_sizes(model: Any) -> None:
    """Name the free sizes of inputs and outputs, instead of s34 and s90."""
    for values in (model.graph.input, model.graph.output):
        for value in values:
            shape = value.type.tensor_type.shape.dim
            free = [dim for dim in shape if not dim.HasField("dim_value")]
            for dim, name in zip(free, ("batch", "height", "width"), strict=True):
                dim.dim_param = name


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' progress and advice to themselves."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            Path(os.devnull).open("w", encoding="utf-8") as nowhere,
            redirect_stdout(nowhere),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def example_images(model: Path) -> list[np.ndarray]:
    """Return the photographs inside scikit-image's package and generated images.

    Args:
        model: Its card has the size to shrink them to.

    Raises:
        BPGError: The model cannot be read.
    """
    folder = Path(skimage.__file__).parent / "data"
    photographs = [read_photograph(folder / name).pixels for name in PHOTOGRAPHS[:4]]
    generated = [draw_sample([0, 0, number], 96).image for number in range(8)]
    return generated + _at_size(model, photographs)


def real_images(model: Path, given: Sequence[str], out: Path) -> list[np.ndarray]:
    """Read the first `IMAGES` of some images.

    Args:
        model: Its card has the size to shrink them to.
        given: Files, folders or patterns.
        out: The file that is exported; what lies beside it is not left out.

    Raises:
        BPGError: There is none, or one cannot be read.
    """
    inputs = find_inputs(given, out)[:IMAGES]
    return _at_size(model, [read_photograph(one.path).pixels for one in inputs])


def _at_size(model: Path, images: Sequence[np.ndarray]) -> list[np.ndarray]:
    card = (model if model.is_dir() else model.parent) / FILE
    side = min(read_card(card).longest_side or SIDE if card.is_file() else SIDE, SIDE)
    return [shrink(image, shrunk_size(image.shape[:2], side)) for image in images]
