"""The numbers that the paper prints: tables 1, 2 and 3, and nothing derived from them.

Source: Wang et al., "Boundary Perception Guidance: A Scribble-Supervised Semantic Segmentation
Approach", IJCAI 2019. All on PASCAL VOC 2012 val, IoU in percent. "mAP" in its tables means mIoU.
`variant` is the name that a system has in `bpg.variants`, now or later.
"""

from dataclasses import dataclass

DATASET = "PASCAL VOC 2012 val"

# The headings of Table 1 with "bkg" and "mbike" spelt out: ScribbleSup's tags.
# fmt: off
CLASSES = (
    "background", "plane", "bike", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "table", "dog", "horse", "motorbike", "person", "plant", "sheep", "sofa", "train", "monitor",
)
# fmt: on


@dataclass(frozen=True)
class ArchitectureRow:
    """A row of Table 1: `iou` follows `CLASSES`, `mean` is the mean as printed, in percent.

    `starred` marks the scribble systems without CRF, among which the paper prints the best in bold.
    """

    label: str
    variant: str
    crf: bool
    starred: bool
    iou: tuple[float, ...]
    mean: float


@dataclass(frozen=True)
class BoundaryRow:
    """A row of Table 2: mIoU in percent; edge loss is a squared error per pixel, edges in 0..1."""

    label: str
    variant: str
    miou: float
    edge_loss: float | None


@dataclass(frozen=True)
class PeerRow:
    """A row of Table 3: mIoU in percent without and with CRF; None where it prints "n/a"."""

    supervision: str
    label: str
    variant: str
    miou: float | None
    miou_crf: float | None


# fmt: off
TABLE_1 = (
    ArchitectureRow("deeplab-v2 [F]", "mask", False, False, (
        93.8, 87.1, 39.6, 89.1, 60.0, 80.1, 94.3, 86.0, 90.8, 37.0, 86.4,
        47.8, 87.1, 87.7, 84.0, 85.8, 65.8, 83.3, 46.2, 87.6, 73.3), 75.8),
    ArchitectureRow("deeplab-v2+CRF [F]", "mask", True, False, (
        94.0, 88.0, 38.6, 90.1, 60.0, 80.5, 94.4, 86.1, 91.9, 37.2, 87.2,
        48.0, 88.4, 88.8, 84.7, 86.4, 67.9, 84.0, 47.2, 87.4, 73.7), 76.4),
    ArchitectureRow("deeplab-v2 [scri]", "scribble", False, True, (
        91.1, 70.9, 34.2, 71.7, 59.3, 74.4, 88.4, 82.5, 84.4, 36.2, 80.7,
        53.2, 78.0, 77.1, 78.7, 78.3, 58.7, 77.5, 40.7, 82.7, 68.7), 69.9),
    ArchitectureRow("+PRN", "prn", False, True, (
        92.7, 72.4, 34.8, 74.9, 60.6, 74.3, 90.8, 83.8, 86.4, 36.9, 80.7,
        58.8, 81.2, 79.0, 79.3, 79.8, 59.8, 77.5, 43.6, 83.7, 70.1), 71.4),
    ArchitectureRow("+BRN", "brn", False, True, (
        91.9, 78.0, 36.6, 78.0, 63.1, 76.5, 89.5, 82.4, 87.5, 35.8, 84.5,
        50.9, 82.2, 80.2, 80.5, 81.0, 58.0, 81.6, 43.1, 84.3, 74.2), 72.4),
    ArchitectureRow("BPG", "bpg", False, True, (
        92.3, 80.3, 37.6, 79.9, 62.1, 75.7, 89.6, 84.0, 87.2, 37.5, 84.0,
        56.7, 81.4, 81.4, 81.1, 80.4, 61.5, 84.2, 43.5, 85.0, 71.8), 73.2),
    ArchitectureRow("BPG+CRF", "bpg", True, False, (
        93.4, 84.8, 38.4, 84.6, 65.5, 78.8, 91.4, 85.9, 89.5, 41.0, 87.3,
        58.3, 84.1, 85.2, 83.7, 83.6, 64.9, 88.3, 46.0, 86.3, 73.9), 76.0),
)
# fmt: on

TABLE_2 = (
    BoundaryRow("wo/ BRN", "prn", 71.4, None),
    BoundaryRow("w/ BRN (C = K+1)", "bpg_all_channels", 70.8, 0.026),
    BoundaryRow("w/ BRN (C = 2)", "bpg", 73.2, 0.051),
)

TABLE_3 = (
    PeerRow("scribbles", "ScribbleSup", "scribblesup", None, 63.1),
    PeerRow("scribbles", "NormalCut", "normalcut", 72.8, 74.5),
    PeerRow("scribbles", "KernelCut", "kernelcut", 73.0, 75.0),
    PeerRow("scribbles", "BPG", "bpg", 73.2, 76.0),
    PeerRow("per-pixel labels", "deeplab-v2", "mask", 75.8, 76.4),
)
