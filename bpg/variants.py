"""The rows of the paper's tables: what is trained, on which supervision, with which parts."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Variant:
    """One way to train the network; a new ablation is one more entry in `VARIANTS`.

    `supervision` is the label that cross-entropy sees; `prn` adds the Prediction Refinement
    Network; `brn` adds the Boundary Regression Network on foreground/background channels
    (C = 2) or on all class channels (C = K + 1).
    """

    name: str
    label: str
    supervision: Literal["masks", "scribbles"]
    prn: bool = False
    brn: Literal["foreground", "all_channels"] | None = None


VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant("mask", "DeepLab-v2 [F]", "masks"),
        Variant("scribble", "DeepLab-v2 [scri]", "scribbles"),
        Variant("prn", "+PRN", "scribbles", prn=True),
        Variant("brn", "+BRN", "scribbles", brn="foreground"),
        Variant("bpg", "BPG", "scribbles", prn=True, brn="foreground"),
        Variant("bpg_all_channels", "BPG (C = K+1)", "scribbles", prn=True, brn="all_channels"),
    )
}
