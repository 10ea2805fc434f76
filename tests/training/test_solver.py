import pytest
import torch

from bpg.training.solver import make_optimizer, parameter_groups, poly, set_rates

PUBLISHED = {"rate": 2.5e-4, "decay": 5e-4, "head_rate": 10, "new_rate": 10}


@pytest.mark.parametrize(
    ("step", "steps", "expected"),
    [(0, 20000, 1.0), (10000, 20000, 0.535887), (15000, 20000, 0.287175), (19999, 20000, 1.346e-4)],
)
def test_poly_by_hand(step, steps, expected):
    assert poly(step, steps) == pytest.approx(expected, rel=1e-3)


def test_poly_falls_to_zero():
    shares = [poly(step, 50) for step in range(51)]
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] == 0


@pytest.mark.parametrize("frozen_norm", [True, False])
@pytest.mark.parametrize("new", [True, False])
def test_groups_are_those_of_the_published_solver(frozen_norm, new, build):
    network = build(prn=new, brn="foreground" if new else None, frozen_norm=frozen_norm)
    groups = {g["name"]: g for g in parameter_groups(network, **PUBLISHED)}
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
    groups = parameter_groups(network, **PUBLISHED)
    solver = make_optimizer("sgd", groups, momentum=0.9)
    weight, bias = network.head.branches[1].weight, network.head.branches[1].bias
    first = network.backbone.net["conv1"][0].weight
    with torch.no_grad():
        bias.fill_(0.5)
    started = [p.detach().clone() for p in (weight, bias, first)]
    set_rates(solver, 0.5)
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
    solver = make_optimizer("sgd", parameter_groups(build(prn=True), **PUBLISHED), momentum=0.9)
    for share in (0.7, 0.1, 1.0):
        set_rates(solver, share)
        found = [g["lr"] for g in solver.param_groups]
        assert found == pytest.approx([share * r for r in (2.5e-4, 2.5e-3, 5e-3, 2.5e-3)])


def test_adamw_takes_momentum_as_beta_1(build):
    solver = make_optimizer("adamw", parameter_groups(build(), **PUBLISHED), momentum=0.8)
    assert isinstance(solver, torch.optim.AdamW)
    assert {g["betas"] for g in solver.param_groups} == {(0.8, 0.999)}
    assert [g["weight_decay"] for g in solver.param_groups] == [5e-4, 5e-4, 0.0]
