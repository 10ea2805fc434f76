"""Options of the optimizer; without PyTorch, for those who only read them."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from bpg.options import NUMBER, STRICT, NonNegative, Positive


@dataclass(frozen=True, config=STRICT)
class OptimizerOptions:
    """The optimizer and its learning rates."""

    optimizer: Literal["sgd", "adamw"]
    lr: Positive  # of the backbone, at the start
    momentum: Annotated[float, Field(ge=0, lt=1), NUMBER]  # AdamW's beta_1
    weight_decay: NonNegative
    head_lr_mult: Positive  # ASPP's weights, times lr; its biases twice that
    new_lr_mult: Positive  # PRN and BRN, times lr
    max_grad_norm: Positive | None  # the largest L2 norm of the whole gradient; None: no limit
