"""Options of the propagation of strokes."""

from pydantic.dataclasses import dataclass

from bpg.options import STRICT, Count, NonNegative, Positive


@dataclass(frozen=True, config=STRICT)
class PropagationOptions:
    """`scale`, `sigma` and `min_size` make the superpixels (`superpixels`).

    `network_weight` multiplies the network's term, `smoothness` that of neighbours; `colour` and
    `texture` are the distances of two histograms at which it has fallen to 1/e.
    """

    scale: Positive
    sigma: NonNegative
    min_size: Count
    network_weight: NonNegative
    smoothness: NonNegative
    colour: Positive
    texture: Positive
