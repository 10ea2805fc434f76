"""Options of the forest: what is refused."""

import pytest
from pydantic import ValidationError

from bpg.forest.options import ForestOptions

RIGHT = {
    **{"trees": 10, "depth": 8},
    **{"sigma_min": 1, "sigma_max": 8, "pixels_per_class": 100},
}


@pytest.mark.parametrize(
    "change",
    [
        *({"trees": 0}, {"trees": True}, {"depth": 0}, {"pixels_per_class": 0}),
        *({"sigma_min": 0}, {"sigma_max": 65}, {"sigma_max": float("nan")}, {"sigma": 2}),
        {"sigma_min": 9},
    ],
)
def test_what_is_out_of_range_is_refused(change):
    assert ForestOptions(**RIGHT).trees == 10
    with pytest.raises(ValidationError):
        ForestOptions(**RIGHT | change)
