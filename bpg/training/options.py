"""Options of the optimizer; can be imported without loading PyTorch."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from bpg.options import NO_EXTRA, NUMBER, NonNegative, Positive


@dataclass(frozen=True, config=NO_EXTRA)
class OptimizerOptions:
    """The optimizer and its learning rates."""

    optimizer: Literal["sgd", "adamw"]
    lr: Positive  # of the backbone, at the start
    momentum: Annotated[float, Field(ge=0, lt=1), NUMBER]  # AdamW's beta_1
    weight_decay: NonNegative
    head_lr_mult: Positive  # times lr: the ASPP weights; its biases twice that
    new_lr_mult: Positive  # times lr: PRN and BRN
    max_grad_norm: (
        Positive | None
    )  # L2 norm to which the whole gradient is clipped; None: no clipping
