"""What a GPU would do, where there is none: shapes and devices of a step, and its compilation."""

import warnings

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from bpg.devices import Execution
from bpg.models.network import Network
from bpg.training.mean_teacher import Teacher
from bpg.training.objective import Objective, losses
from pipeline.build import architecture, objective
from pipeline.params import read_parameters
from pipeline.paths import ROOT

CROP, BATCH = 97, 2


@pytest.fixture(scope="module", params=["tiny", "paper"])
def parameters(request):
    dataset = "shapes" if request.param == "tiny" else "voc"
    return read_parameters(ROOT, dataset=dataset, recipe=request.param)


@pytest.mark.parametrize("name", read_parameters(ROOT).variants)
def test_a_step_forwards_stays_on_the_gpu_and_waits_for_nothing(name, parameters):
    """Fake tensors refuse devices that differ and whatever needs a value: `item`, `nonzero`."""
    variant = parameters.variants[name]
    whole = objective(parameters, variant, boundary_weight=1.0)
    # The tree of the features is made on the CPU: of that regulariser a step does wait.
    terms = {k: v for k, v in whole.regularisers.items() if k != "tree_energy"}
    gpu = torch.device("cuda:0")
    with FakeTensorMode(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "CUDA is not available")
        with gpu:
            network = Network(architecture(parameters, variant)).train()
        size = BATCH, CROP, CROP
        items = [torch.zeros(*size, 3, dtype=torch.uint8)]
        items += [torch.zeros(size, dtype=torch.uint8) for _ in range(2)]
        items.append(torch.ones(size, dtype=torch.bool))
        wanted = Objective(1.0, terms)
        with gpu:  # fake tensors cannot be copied as `make_teacher` does
            copy = Network(architecture(parameters, variant)).eval()
        teacher = None if wanted.teacher_decay is None else Teacher(copy, wanted.teacher_decay)
        loss, parts = losses(network, items, wanted, Execution(gpu, bf16=True), teacher)
    assert (loss.device, loss.dtype, loss.shape) == (gpu, torch.float32, ())
    assert all(part.device == gpu for part in parts.values())
    assert parts.keys() >= terms.keys()


@pytest.mark.parametrize("name", ["scribble", "prn", "brn", "bpg", "bpg_all_channels"])
def test_the_network_compiles_to_one_graph(name, parameters):
    network = Network(architecture(parameters, parameters.variants[name])).train()
    torch._dynamo.reset()
    found = torch._dynamo.explain(network)(torch.zeros(BATCH, 3, CROP, CROP))
    assert found.graph_count == 1, found.break_reasons
    torch._dynamo.reset()


def test_a_compiled_network_learns_the_same(parameters):
    """Traced and differentiated as `machine.compile` does, but for the code that is generated."""
    if parameters.recipe.model.backbone == "resnet101":
        pytest.skip("a minute for ResNet-101, and nothing else to see")
    torch._dynamo.reset()
    torch.manual_seed(0)
    network = Network(architecture(parameters, parameters.variants["bpg"])).train()
    images = 255 * torch.rand(BATCH, 3, 65, 65)
    gradients = []
    for compiled in (False, True):
        if compiled:
            network.compile(dynamic=False, backend="aot_eager")
        logits, boundary, _ = network(images)
        loss = logits.square().mean() + boundary.square().mean()
        gradients.append(
            torch.autograd.grad(loss, [p for p in network.parameters() if p.requires_grad])
        )
    for one, other in zip(*gradients, strict=True):
        near = 1e-3 * float(one.abs().max()) + 1e-6
        torch.testing.assert_close(one, other, rtol=1e-3, atol=near)
    torch._dynamo.reset()


def test_machine_compile_reaches_the_network(build, load, fit, monkeypatch):
    asked = []
    monkeypatch.setattr(Network, "compile", lambda self, **options: asked.append(options))
    for compiled in (False, True):
        fit(build(), load(), compiled=compiled)
        assert asked == [{"dynamic": False}] * compiled
