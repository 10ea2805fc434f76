import json
from pathlib import Path

import pytest

from bpg.report.setting import Setting

SHAPES = ["background", "spots", "stripes"]


def metrics(variant, seed, classes, miou, edge_loss=None, absent=()):
    """What the stage evaluate writes; the classes' IoU are miou - 1, miou, miou + 1, ..."""

    def scores(value):
        iou = [None if name in absent else value - 1 + k for k, name in enumerate(classes)]
        return {
            "confusion": [],
            "iou": iou,
            "miou": value,
            "pixel_accuracy": value + 20,
            "boundary_iou": value - 10,
            "boundary_iou_by_class": [None if v is None else v - 10 for v in iou],
            "trimap": [value - 20 + r / 4 for r in range(1, 41)],
        }

    return {
        "classes": list(classes),
        "variant": variant,
        "seed": seed,
        "edge_loss": edge_loss,
        "raw": scores(miou),
        "crf": scores(miou + 5),
    }


@pytest.fixture
def write_run(tmp_path):
    def write(variant, seed, miou, classes=SHAPES, edge_loss=None, absent=()):
        path = tmp_path / "runs" / variant / str(seed) / "metrics.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = metrics(variant, seed, classes, miou, edge_loss, absent)
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    return write


@pytest.fixture
def runs_folder(tmp_path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def setting(shipped_labels):
    return Setting("shapes", 400, 160, "tiny", (0,), labels=shipped_labels)
