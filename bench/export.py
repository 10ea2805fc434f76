"""Exported files of a run against its network: labels, mIoU, size, time of an image.

    python -m bench.export runs/bpg/0 data/shapes

int8 is measured here only: `bpg export` does not offer it (docs/use.md has the figures).
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from bpg.data.ids import read_ids
from bpg.data.masks import image_path, read_image, read_mask
from bpg.evaluation.iou import confusion_matrix, iou_metrics
from bpg.inference.export import export_model
from bpg.inference.model import Model, open_model

CALIBRATION = 64  # training images
ROUNDS = 3


def quantize(fp32: Path, out: Path, images: list[np.ndarray]) -> None:
    """Write an int8 version: static, by channel, calibrated on images."""
    from onnxruntime.quantization import (  # noqa: PLC0415
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process  # noqa: PLC0415

    class Images(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self.left, None)
            return None if image is None else {"images": image[None].astype(np.float32)}

    prepared = out.with_suffix(".prepared.onnx")
    quant_pre_process(str(fp32), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared),
        str(out),
        Images(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["Conv"],
    )


def measure(model: Model, images: list[np.ndarray]) -> tuple[list[np.ndarray], float]:
    """Return the labels at scale 1 and the milliseconds of an image, the fastest of some rounds."""
    best, labels = float("inf"), []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        labels = [model.logits(image[None].astype(np.float32))[0].argmax(0) for image in images]
        best = min(best, time.perf_counter() - started)
    return labels, 1000 * best / len(images)


def main() -> None:
    """Print a row for each format."""
    run, data = map(Path, sys.argv[1:])
    torch.set_num_threads(1)
    val = read_ids(data / "val.txt")
    images = [read_image(image_path(data / "images", name)) for name in val]
    truth = [read_mask(data / f"masks/{name}.png") for name in val]
    seen = [
        read_image(image_path(data / "images", name))
        for name in read_ids(data / "train.txt")[:CALIBRATION]
    ]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        network = open_model(run, "cpu")
        network._bf16 = False
        rows = [("network, PyTorch", run / "model.safetensors", network)]
        for name, file, kind, precision in (
            ("torch", "a.pt2", "torch", "fp32"),
            ("onnx, fp32", "a.onnx", "onnx", "fp32"),
            ("onnx, fp16", "b.onnx", "onnx", "fp16"),
        ):
            export_model(run, folder / file, kind, seen[:8], precision=precision)
            rows.append((name, folder / file, open_model(folder / file, "cpu")))
        quantize(folder / "a.onnx", folder / "c.onnx", seen)
        rows.append(("onnx, int8", folder / "c.onnx", open_model(folder / "c.onnx", "cpu")))
        print("| format | MB | equal labels | mIoU | ms an image |")
        print("| --- | ---: | ---: | ---: | ---: |")
        reference = None
        for name, file, model in rows:
            labels, milliseconds = measure(model, images)
            reference = reference or labels
            equal = np.mean([(a == b).mean() for a, b in zip(labels, reference, strict=True)])
            confusion = sum(
                confusion_matrix(true, found.astype(np.uint8), len(model.classes))
                for true, found in zip(truth, labels, strict=True)
            )
            miou = iou_metrics(confusion)["miou"]
            size = file.stat().st_size / 1e6
            print(
                f"| {name} | {size:.2f} | {100 * equal:.3f} % | {miou:.2f} | {milliseconds:.1f} |"
            )


if __name__ == "__main__":
    main()
