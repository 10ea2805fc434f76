"""Options of the pixel classifier."""

from typing import Annotated

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from bpg.options import NO_EXTRA, NUMBER

Sigma = Annotated[float, Field(ge=0.1, le=64), NUMBER]


@dataclass(frozen=True, config=NO_EXTRA)
class ForestOptions:
    """The features, and the forest that is fitted on them.

    The images are smoothed with deviations of `sigma_min` pixels, twice that and so on, up to
    `sigma_max`. At most `pixels_per_class` pixels of each class are drawn from all strokes. None of
    the `trees` is deeper than `depth`.
    """

    trees: Annotated[int, Field(ge=1, le=1000), NUMBER]
    depth: Annotated[int, Field(ge=1, le=64), NUMBER]
    sigma_min: Sigma
    sigma_max: Sigma
    pixels_per_class: Annotated[int, Field(ge=1, le=1_000_000), NUMBER]

    @model_validator(mode="after")
    def _ordered(self) -> "ForestOptions":
        if self.sigma_min > self.sigma_max:
            raise ValueError("sigma_max must be at least sigma_min")
        return self
