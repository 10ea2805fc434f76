"""Options of inference and of the dense CRF; can be imported without loading PyTorch."""

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from bpg.options import NO_EXTRA, NUMBER, NonNegative

Scale = Annotated[float, Field(ge=0.05, le=8), NUMBER]
LongestSide = Annotated[int, Field(ge=16, le=16384), NUMBER]
"""Pixels of an image's longer side."""
Deviation = Annotated[float, Field(ge=1e-3, le=1e6), NUMBER]
"""Smaller ones vanish in single precision, and the compiled code does not check them."""


@dataclass(frozen=True, config=NO_EXTRA)
class InferenceOptions:
    """The scales to average over, and whether to include the mirror images."""

    scales: Annotated[tuple[Scale, ...], Field(min_length=1)]
    flip: bool


@dataclass(frozen=True, config=NO_EXTRA)
class CRFOptions:
    """Mean-field iterations, and weights and standard deviations of the two kernels.

    `_xy` is in pixels, `_rgb` on the scale 0..255.
    """

    iterations: Annotated[int, Field(ge=0, le=1000), NUMBER]
    gaussian_weight: NonNegative
    gaussian_xy: Deviation
    bilateral_weight: NonNegative
    bilateral_xy: Deviation
    bilateral_rgb: Deviation
