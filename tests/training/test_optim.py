from dataclasses import replace

import pytest
import torch
from torch import nn

from bpg.training.optim import make_optimizer, parameter_groups, poly_lr, set_lrs
from bpg.training.options import OptimizerOptions
from bpg.training.sampler import EpochSampler

PUBLISHED = OptimizerOptions("sgd", 2.5e-4, 0.9, 5e-4, 10, 10, None)


@pytest.mark.parametrize(
    ("step", "steps", "expected"),
    [(0, 20000, 1.0), (10000, 20000, 0.535887), (15000, 20000, 0.287175), (19999, 20000, 1.346e-4)],
)
def test_poly_by_hand(step, steps, expected):
    assert poly_lr(step, steps) == pytest.approx(expected, rel=1e-3)


def test_poly_falls_to_zero():
    shares = [poly_lr(step, 50) for step in range(51)]
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] == 0


@pytest.mark.parametrize("frozen_norm", [True, False])
@pytest.mark.parametrize("new", [True, False])
def test_groups_are_those_of_the_published_solver(frozen_norm, new, build):
    network = build(prn=new, brn="foreground" if new else None, frozen_norm=frozen_norm)
    groups = {g["name"]: g for g in parameter_groups(network, PUBLISHED)}
    expected = {
        "backbone": (2.5e-4, 5e-4),
        "head": (2.5e-3, 5e-4),
        "head_bias": (5e-3, 0.0),
    } | ({"new": (2.5e-3, 5e-4)} if new else {})
    assert groups.keys() == expected.keys()
    for name, (rate, decay) in expected.items():
        assert groups[name]["lr"] == pytest.approx(rate)
        assert groups[name]["initial_lr"] == pytest.approx(rate)
        assert groups[name]["weight_decay"] == decay

    def place(name):
        part = name.split(".")[0]
        if part == "head":
            return "head" if name.endswith("weight") else "head_bias"
        return "backbone" if part == "backbone" else "new"

    of = {id(p): name for name, g in groups.items() for p in g["params"]}
    assert len(of) == sum(len(g["params"]) for g in groups.values()), "one is in two groups"
    frozen = 0
    for name, parameter in network.named_parameters():
        assert of.get(id(parameter)) == (place(name) if parameter.requires_grad else None), name
        frozen += not parameter.requires_grad
    assert frozen > 0 if frozen_norm else frozen == 0
    assert len(groups["head"]["params"]) == len(groups["head_bias"]["params"]) == 4


def test_a_step_of_sgd_by_hand(build):
    network = build()
    solver = make_optimizer(network, PUBLISHED)
    weight, bias = network.head.branches[1].weight, network.head.branches[1].bias
    first = network.backbone.net["conv1"][0].weight
    with torch.no_grad():
        bias.fill_(0.5)
    started = [p.detach().clone() for p in (weight, bias, first)]
    set_lrs(solver, 0.5)
    for _ in range(2):
        for parameter in network.parameters():
            parameter.grad = torch.ones_like(parameter)
        solver.step()
    for parameter, start, factor, decay in zip(
        (weight, bias, first), started, (10, 20, 1), (5e-4, 0, 5e-4), strict=True
    ):
        rate, expected, velocity = 0.5 * 2.5e-4 * factor, start, 0
        for _ in range(2):
            velocity = 0.9 * velocity + 1 + decay * expected
            expected = expected - rate * velocity
        assert torch.allclose(parameter, expected, atol=1e-8)


def test_rates_are_shares_of_the_initial_ones(build):
    solver = make_optimizer(build(prn=True), PUBLISHED)
    for share in (0.7, 0.1, 1.0):
        set_lrs(solver, share)
        found = [g["lr"] for g in solver.param_groups]
        assert found == pytest.approx([share * r for r in (2.5e-4, 2.5e-3, 5e-3, 2.5e-3)])


def test_adamw_takes_momentum_as_beta_1(build):
    solver = make_optimizer(build(), replace(PUBLISHED, optimizer="adamw", momentum=0.8))
    assert isinstance(solver, torch.optim.AdamW)
    assert {g["betas"] for g in solver.param_groups} == {(0.8, 0.999)}
    assert [g["weight_decay"] for g in solver.param_groups] == [5e-4, 5e-4, 0.0]


def published_groups(network, rate, decay):
    """deeplab-pytorch's groups: convolutions of the trunk ×1, ASPP weights ×10, its biases ×20."""
    trunk = [
        parameter
        for module in network.backbone.modules()
        if isinstance(module, nn.Conv2d)
        for parameter in module.parameters()
    ]
    branches = list(network.head.branches)
    return [
        {"params": trunk, "lr": rate, "weight_decay": decay},
        {"params": [b.weight for b in branches], "lr": 10 * rate, "weight_decay": decay},
        {"params": [b.bias for b in branches], "lr": 20 * rate, "weight_decay": 0.0},
    ]


def test_training_follows_the_published_solver(build, load, fit):
    """A short training, and the same one with torch's own solver, schedule and loss by hand.

    Decay and rate are larger than published, so that each of them shows in the weights.
    """
    rate, decay, epochs, batch = 2.5e-3, 0.5, 3, 2
    networks = []
    for _ in range(2):
        network = build(frozen_norm=True)
        torch.manual_seed(1)
        with torch.no_grad():
            for branch in network.head.branches:
                branch.bias.copy_(torch.randn(branch.bias.shape))
            for module in network.backbone.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.weight.fill_(0.7)  # timm's zero would cut the residual branches off
        networks.append(network)
    ours, theirs = networks
    start = {name: value.clone() for name, value in theirs.state_dict().items()}
    pictures, steps = load(ids=["p0", "p1", "p2", "p3", "p4"]), epochs * 2

    solver = torch.optim.SGD(published_groups(theirs, rate, decay), momentum=0.9)
    schedule = torch.optim.lr_scheduler.PolynomialLR(solver, total_iters=steps, power=0.9)
    theirs.train()
    for keys in EpochSampler(5, batch, epochs, seed=4):
        items = [pictures[key] for key in keys]
        images, labels = (torch.stack([item[plane] for item in items]) for plane in (0, 1))
        logits = theirs(images.permute(0, 3, 1, 2).float()).logits
        solver.zero_grad()
        nn.functional.cross_entropy(logits, labels.long(), ignore_index=255).backward()
        solver.step()
        schedule.step()

    settings = {
        "optimizer": "sgd",
        "lr": rate,
        "momentum": 0.9,
        "weight_decay": decay,
        "max_grad_norm": None,
    }
    summary = fit(
        ours,
        pictures,
        epochs=epochs,
        batch_size=batch,
        seed=4,
        head_lr_mult=10,
        new_lr_mult=10,
        **settings,
    )
    assert summary["steps"] == steps == 6
    found, moved = ours.state_dict(), set()
    for name, expected in theirs.state_dict().items():
        way = (expected - start[name]).abs().max()
        assert (found[name] - expected).abs().max() <= 1e-3 * way, name
        if way > 0:
            moved.add(name)
    assert moved == {
        name
        for name, parameter in theirs.named_parameters()
        if name.startswith("head") or parameter.ndim == 4
    }


def test_poly_equals_the_formula_of_deeplab_pytorch():
    """lr · (1 - iteration / iter_max) ** power; there every tenth iteration, here every one."""
    for iteration in range(0, 20000, 10):
        assert poly_lr(iteration, 20000) == (1 - float(iteration) / 20000) ** 0.9
