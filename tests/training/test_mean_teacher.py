"""The mean teacher follows the network, and is what a training leaves."""

import torch

from bpg.losses.options import OPTIONS
from bpg.training import train as module
from bpg.training.mean_teacher import make_teacher

DECAY = 0.8
TEACHER = {"mean_teacher": OPTIONS["mean_teacher"](weight=1.0, reduction=2, decay=DECAY)}


def test_the_teacher_is_a_copy_that_learns_nothing(build):
    network = build(prn=True).train()
    teacher = make_teacher(network, DECAY).network
    assert not teacher.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert network.training
    own = network.state_dict()
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, own[name])
        assert value.data_ptr() != own[name].data_ptr()


def test_it_follows_weights_and_running_statistics_and_copies_counts(build):
    network = build()
    teacher = make_teacher(network, DECAY)
    before = {name: value.clone() for name, value in teacher.network.state_dict().items()}
    with torch.no_grad():
        for value in network.state_dict().values():
            value.add_(3)
    teacher.follow(network)
    kinds = set()
    for name, value in teacher.network.state_dict().items():
        kinds.add(value.dtype)
        moved = 3 * (1 - DECAY) if value.is_floating_point() else 3
        torch.testing.assert_close(value, before[name] + moved)
    assert kinds == {torch.float32, torch.int64}


def test_a_training_leaves_the_teacher(build, load, fit, monkeypatch):
    """The network after each step is noted, and averaged here."""
    states = []
    step = module.optimizer_step

    def noted(network, *others):
        if not states:
            states.append({name: value.clone() for name, value in network.state_dict().items()})
        *usual, teacher = others
        assert teacher.decay == DECAY
        terms = step(network, *usual, teacher)
        states.append({name: value.clone() for name, value in network.state_dict().items()})
        return terms

    monkeypatch.setattr(module, "optimizer_step", noted)
    network = build()
    summary = fit(network, load(), epochs=2, regularisers=TEACHER)
    assert summary["mean_teacher"] > 0
    expected = states[0]
    for state in states[1:]:
        for name, value in state.items():
            if value.is_floating_point():
                expected[name] = DECAY * expected[name] + (1 - DECAY) * value
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6)
    assert not torch.equal(network.head.branches[0].weight, states[-1]["head.branches.0.weight"])


def test_without_a_decay_there_is_none(build):
    assert make_teacher(build(), None) is None
