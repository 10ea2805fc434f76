"""Options of inference and of the dense CRF; without PyTorch, for those who only read them."""

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from bpg.options import NUMBER, STRICT, NonNegative

Scale = Annotated[float, Field(ge=0.05, le=8), NUMBER]
Deviation = Annotated[float, Field(ge=1e-3, le=1e6), NUMBER]
"""Smaller ones are nothing in single precision, and the compiled code checks nothing."""


@dataclass(frozen=True, config=STRICT)
class InferenceOptions:
    """The scales that are averaged, and whether the mirror images are, too."""

    scales: Annotated[tuple[Scale, ...], Field(min_length=1)]
    flip: bool


PLAIN = InferenceOptions((1.0,), flip=False)
"""The image once, as it is."""


@dataclass(frozen=True, config=STRICT)
class CRFOptions:
    """Mean-field iterations; Gaussian weight and deviation (px); bilateral ones (px, 0..255)."""

    iterations: Annotated[int, Field(ge=0, le=1000), NUMBER]
    gaussian_weight: NonNegative
    gaussian_xy: Deviation
    bilateral_weight: NonNegative
    bilateral_xy: Deviation
    bilateral_rgb: Deviation
