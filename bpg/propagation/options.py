"""Options of the propagation of strokes, by graph cuts and by GrabCut."""

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from bpg.options import NO_EXTRA, NUMBER, Count, NonNegative, Positive


@dataclass(frozen=True, config=NO_EXTRA)
class PropagationOptions:
    """Options of superpixels and energy.

    `scale`, `sigma` and `min_size` are those of `superpixels`. `network_weight` multiplies the
    network term, `smoothness` the appearance term of neighbours; `colour` and `texture` are the
    histogram distances at which the latter has fallen to 1/e.
    """

    scale: Positive
    sigma: NonNegative
    min_size: Count
    network_weight: NonNegative
    smoothness: NonNegative
    colour: Positive
    texture: Positive


@dataclass(frozen=True, config=NO_EXTRA)
class GrabCutOptions:
    """Options of GrabCut.

    `iterations` is the number of cuts; after each but the last, the mixtures of colours are fitted
    again to what it has cut out.
    """

    iterations: Annotated[int, Field(ge=1, le=100), NUMBER]
