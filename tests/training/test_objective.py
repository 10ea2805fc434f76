"""What is minimised, Eq. 4."""

import math

import pytest
import torch

from bpg.devices import Execution
from bpg.losses.affinity import dense_affinity
from bpg.losses.boundary import boundary_loss
from bpg.losses.dense_crf import dense_crf_loss
from bpg.losses.gated_crf import gated_crf_loss
from bpg.losses.inputs import make_inputs
from bpg.losses.mean_teacher import mean_teacher_loss
from bpg.losses.normalized_cut import normalized_cut_loss
from bpg.losses.options import (
    OPTIONS,
    DenseOptions,
    GatedOptions,
    MeanTeacherOptions,
    SoftLabelOptions,
    TreeOptions,
)
from bpg.losses.partial_cross_entropy import partial_cross_entropy
from bpg.losses.soft_label import soft_label_loss
from bpg.losses.tree_energy import tree_energy_loss
from bpg.training.mean_teacher import make_teacher
from bpg.training.objective import (
    RATIO_IMAGES,
    Objective,
    gradient_ratios,
    make_gradients,
    optimizer_step,
)

REGULARISERS = {
    "normalized_cut": DenseOptions(weight=0.5, reduction=2, xy=20.0, rgb=15.0),
    "dense_crf": DenseOptions(weight=0.25, reduction=2, xy=20.0, rgb=15.0),
    "gated_crf": GatedOptions(weight=0.1, reduction=2, radius=3, xy=6.0, rgb=0.1),
    "tree_energy": TreeOptions(weight=0.4, reduction=4, low=0.02, high=1.0),
    "soft_label": SoftLabelOptions(weight=0.3, reduction=2, smoothness=5.0, edge=0.2, iterations=8),
    "mean_teacher": MeanTeacherOptions(weight=0.6, reduction=2, decay=0.9),
}
CPU = Execution(torch.device("cpu"), captured=True)
NETWORKS = [{}, {"prn": True, "brn": "foreground"}]


def test_the_loss_is_eq_4(build, load, fit):
    summary = fit(build(prn=True, brn="foreground"), load(), boundary_weight=0.25)
    expected = summary["semantic"] + 0.25 * summary["boundary"]
    assert summary["loss"] == pytest.approx(expected, rel=1e-5)


def by_hand(network, items, boundary_weight, teacher):
    """The whole objective with all regularisers, term by term."""
    images, labels, edges, valid = items
    images, labels, edges = images.permute(0, 3, 1, 2).float(), labels.long(), edges / 255
    logits, edge_logits, features = network(images)
    semantic = partial_cross_entropy(logits, labels)
    taught = teacher.network(images).logits
    whole = make_inputs(logits, images, labels, valid, features, edges, taught)
    halved, quartered = whole.halved(), whole.halved().halved()
    affinity = dense_affinity(halved, xy=20.0, rgb=15.0)
    values = {
        "normalized_cut": normalized_cut_loss(halved, affinity),
        "dense_crf": dense_crf_loss(halved, affinity),
        "gated_crf": gated_crf_loss(halved, radius=3, xy=6.0, rgb=0.1),
        "tree_energy": tree_energy_loss(quartered, low=0.02, high=1.0),
        "soft_label": soft_label_loss(halved, smoothness=5.0, edge=0.2, iterations=8),
        "mean_teacher": mean_teacher_loss(halved),
    }
    assert values.keys() == OPTIONS.keys() == REGULARISERS.keys()
    loss = semantic
    loss = loss + 0.5 * values["normalized_cut"] + 0.25 * values["dense_crf"]
    loss = loss + 0.1 * values["gated_crf"] + 0.4 * values["tree_energy"]
    loss = loss + 0.3 * values["soft_label"] + 0.6 * values["mean_teacher"]
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
    teacher = make_teacher(networks[0], objective.teacher_decay)
    gradients = make_gradients(networks[0], objective, CPU, teacher)
    loss, values = by_hand(networks[1], items, 0.25, teacher)
    terms = optimizer_step(networks[0], items, gradients, found, None, teacher)
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


def test_gradient_ratios_are_those_of_the_weighted_terms_on_the_backbone(build, load, stacked):
    network, items = build(prn=True, brn="foreground").train(), stacked(load(crop=57))
    objective = Objective(boundary_weight=0.25, regularisers=REGULARISERS)
    teacher = make_teacher(network, objective.teacher_decay)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    ratios = gradient_ratios(network, items, objective, CPU, teacher)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert list(ratios) == ["boundary", *REGULARISERS]

    def norm(of):
        network.zero_grad()
        few = [item[:RATIO_IMAGES] for item in items]
        images, labels, edges, valid = few
        images, labels, edges = images.permute(0, 3, 1, 2).float(), labels.long(), edges / 255
        logits, edge_logits, _ = network(images)
        match of:
            case "semantic":
                value = partial_cross_entropy(logits, labels)
            case "boundary":
                value = 0.25 * boundary_loss(edge_logits, edges, valid)
            case name:
                value = REGULARISERS[name].weight * by_hand(network, few, 0.25, teacher)[1][name]
        value.backward()
        own = [one.grad for one in network.backbone.parameters() if one.grad is not None]
        return torch.cat([one.flatten() for one in own]).norm().item()

    assert len(items[0]) > RATIO_IMAGES
    for name in ("boundary", *REGULARISERS):
        assert ratios[name] == pytest.approx(norm(of=name) / norm(of="semantic"), rel=1e-3)


def test_gradient_ratios_of_a_compiled_network(build, load, stacked):
    """The graph of a compiled forward pass can be used once only."""
    network, items = build(brn="foreground").train(), stacked(load(crop=57))
    expected = gradient_ratios(network, items, Objective(0.25), CPU)
    network.compile(dynamic=False, backend="aot_eager")
    assert gradient_ratios(network, items, Objective(0.25), CPU) == expected


def test_a_batch_without_a_label_has_no_ratio(build, load, stacked):
    network, items = build(brn="foreground").train(), stacked(load(crop=57))
    items[1][:] = 255
    assert gradient_ratios(network, items, Objective(0.25), CPU) == {"boundary": math.inf}


def test_without_other_terms_there_are_no_ratios(build, load, stacked):
    assert gradient_ratios(build(prn=True).train(), stacked(load()), Objective(), CPU) == {}


def test_ratios_are_kept_epoch_by_epoch(build, load, fit, tmp_path):
    summary = fit(build(brn="foreground"), load(), epochs=2)
    assert 0 < summary["boundary_gradient"] < 100
    lines = (tmp_path / "curves/plots/metrics/train/boundary_gradient.tsv").read_text().split("\n")
    assert len(lines) == 1 + 2 + 1
