"""What is minimised, Eq. 4."""

import pytest
import torch

from bpg.devices import Execution
from bpg.losses.affinity import dense_affinity
from bpg.losses.boundary import boundary_loss
from bpg.losses.dense_crf import dense_crf_loss
from bpg.losses.gated_crf import gated_crf_loss
from bpg.losses.inputs import make_inputs
from bpg.losses.normalized_cut import normalized_cut_loss
from bpg.losses.options import DenseOptions, GatedOptions, TreeOptions
from bpg.losses.partial_cross_entropy import partial_cross_entropy
from bpg.losses.tree_energy import tree_energy_loss
from bpg.training.objective import Objective, make_gradients, optimizer_step

REGULARISERS = {
    "normalized_cut": DenseOptions(weight=0.5, reduction=2, xy=20.0, rgb=15.0),
    "dense_crf": DenseOptions(weight=0.25, reduction=2, xy=20.0, rgb=15.0),
    "gated_crf": GatedOptions(weight=0.1, reduction=2, radius=3, xy=6.0, rgb=0.1),
    "tree_energy": TreeOptions(weight=0.4, reduction=4, low=0.02, high=1.0),
}
NETWORKS = [{}, {"prn": True, "brn": "foreground"}]


def test_the_loss_is_eq_4(build, load, fit):
    summary = fit(build(prn=True, brn="foreground"), load(), boundary_weight=0.25)
    expected = summary["semantic"] + 0.25 * summary["boundary"]
    assert summary["loss"] == pytest.approx(expected, rel=1e-5)


def by_hand(network, items, boundary_weight):
    """The whole objective with all four regularisers, term by term."""
    images, labels, edges, valid = items
    images, labels, edges = images.permute(0, 3, 1, 2).float(), labels.long(), edges / 255
    logits, edge_logits, features = network(images)
    semantic = partial_cross_entropy(logits, labels)
    whole = make_inputs(logits, images, labels, valid, features)
    halved, quartered = whole.halved(), whole.halved().halved()
    affinity = dense_affinity(halved, xy=20.0, rgb=15.0)
    values = {
        "normalized_cut": normalized_cut_loss(halved, affinity),
        "dense_crf": dense_crf_loss(halved, affinity),
        "gated_crf": gated_crf_loss(halved, radius=3, xy=6.0, rgb=0.1),
        "tree_energy": tree_energy_loss(quartered, low=0.02, high=1.0),
    }
    loss = semantic
    loss = loss + 0.5 * values["normalized_cut"] + 0.25 * values["dense_crf"]
    loss = loss + 0.1 * values["gated_crf"] + 0.4 * values["tree_energy"]
    if edge_logits is not None:
        loss = loss + boundary_weight * boundary_loss(edge_logits, edges, valid)
    return loss, values


@pytest.mark.parametrize("parts", NETWORKS)
def test_the_loss_is_the_weighted_sum_of_all_terms_and_so_is_what_is_learnt(
    parts, build, load, stacked
):
    networks = build(**parts).train(), build(**parts).train()
    found, expected = (torch.optim.SGD(n.parameters(), lr=0.1) for n in networks)
    items = stacked(load(crop=57))
    objective = Objective(boundary_weight=0.25, regularisers=REGULARISERS)
    gradients = make_gradients(
        networks[0], objective, Execution(torch.device("cpu"), captured=True)
    )
    terms = optimizer_step(networks[0], items, gradients, found, None)
    loss, values = by_hand(networks[1], items, 0.25)
    assert terms["loss"].item() == pytest.approx(loss.item(), rel=1e-5)
    for name, value in values.items():
        assert value.item() > 0, f"{name} is not in the case"
        assert terms[name].item() == pytest.approx(value.item(), rel=1e-5)
    loss.backward()
    expected.step()
    for (name, one), other in zip(
        networks[0].named_parameters(), networks[1].parameters(), strict=True
    ):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-6), name
