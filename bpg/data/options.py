"""Options of the training images; without PyTorch, for code that only reads them."""

from typing import Annotated

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from bpg.options import NO_EXTRA, NUMBER, Positive


@dataclass(frozen=True, config=NO_EXTRA)
class Augmentation:
    """A random scale in [low, high], a square crop of side `crop`, a flip of half the images."""

    crop: Annotated[int, Field(ge=1, le=4097), NUMBER]
    low: Positive
    high: Positive
    flip: bool

    @model_validator(mode="after")
    def _ordered(self) -> "Augmentation":
        if self.low > self.high:
            raise ValueError("low must not exceed high")
        return self
