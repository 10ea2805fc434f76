"""The means of an epoch."""

import pytest
import torch

from bpg.errors import BPGError
from bpg.training.meter import Meter


def test_meter_weighs_the_edge_loss_by_pixels():
    meter = Meter()
    for loss, semantic, boundary, error, pixels in [(3, 1, 2, 30, 100), (5, 2, 3, 10, 300)]:
        terms = {"loss": loss, "semantic": semantic, "boundary": boundary, "labelled": 7}
        terms |= {"squared_error": error, "pixels": pixels}
        meter.add({name: torch.tensor(value) for name, value in terms.items()})
    expected = {"loss": 4.0, "semantic": 1.5, "boundary": 2.5, "edge_loss": 0.1}
    assert meter.means("here") == pytest.approx(expected)


def test_meter_averages_whatever_else_is_added_over_the_steps():
    meter = Meter()
    for value in (1.0, 2.0, 6.0):
        terms = {"loss": 1, "semantic": 1, "labelled": 7, "tree_energy": value}
        meter.add({name: torch.tensor(float(value)) for name, value in terms.items()})
    assert meter.means("here")["tree_energy"] == 3.0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_meter_names_the_place_of_a_loss_that_is_not_finite(bad):
    meter = Meter()
    for loss in (1.0, bad, 1.0):
        meter.add({name: torch.tensor(loss) for name in ("loss", "semantic", "labelled")})
    with pytest.raises(BPGError, match=r"bpg, epoch 3: .*not finite"):
        meter.means("bpg, epoch 3")
