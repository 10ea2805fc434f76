"""What a GPU would do, where there is none: shapes and devices of a step, and its compilation."""

import warnings

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from bpg.losses.boundary import boundary_loss
from bpg.losses.field import make_field
from bpg.losses.partial_cross_entropy import partial_cross_entropy
from bpg.losses.regularisers import regularise
from bpg.models.network import Network
from bpg.variants import VARIANTS
from stages.layout import ROOT
from stages.parameters import Dataset, Parameters, Recipe, Switches, read_section
from stages.training import architecture, objective

CROP, BATCH = 97, 2


@pytest.fixture(scope="module", params=["tiny", "paper"])
def parameters(request):
    dataset = "shapes" if request.param == "tiny" else "voc"
    return Parameters(
        switches=read_section(ROOT / "params.yaml", Switches),
        dataset=read_section(ROOT / f"params/dataset/{dataset}.yaml", Dataset),
        recipe=read_section(ROOT / f"params/recipe/{request.param}.yaml", Recipe),
    )


@pytest.mark.parametrize("name", VARIANTS)
def test_a_step_forwards_stays_on_the_gpu_and_waits_for_nothing(name, parameters):
    """Fake tensors refuse devices that differ and whatever needs a value: `item`, `nonzero`."""
    variant = VARIANTS[name]
    whole = objective(parameters, variant, boundary_weight=1.0)
    # The tree of the features is made on the CPU: of that regulariser a step does wait.
    terms = {k: v for k, v in whole.regularisers.items() if k != "tree_energy"}
    gpu = torch.device("cuda:0")
    with FakeTensorMode(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "CUDA is not available")
        with gpu:
            network = Network(architecture(parameters, variant)).train()
        images = torch.zeros(BATCH, 3, CROP, CROP, device=gpu)
        labels = torch.zeros(BATCH, CROP, CROP, dtype=torch.long, device=gpu)
        edges = torch.zeros(BATCH, CROP, CROP, device=gpu)
        valid = torch.ones(BATCH, CROP, CROP, dtype=torch.bool, device=gpu)
        scores, logits, features = network(images)
        loss = partial_cross_entropy(scores, labels)
        if logits is not None:
            loss = loss + boundary_loss(logits, edges, valid)
        if terms:
            field = make_field(scores, images, labels, valid, features)
            loss = loss + sum(regularise(terms, field).values())
    assert (loss.device, loss.dtype, loss.shape) == (gpu, torch.float32, ())
    assert scores.shape == (BATCH, len(parameters.dataset.classes), CROP, CROP)
    assert scores.device == features.device == gpu


@pytest.mark.parametrize("name", ["scribble", "prn", "brn", "bpg", "bpg_all_channels"])
def test_the_network_compiles_to_one_graph(name, parameters):
    network = Network(architecture(parameters, VARIANTS[name])).train()
    torch._dynamo.reset()
    found = torch._dynamo.explain(network)(torch.zeros(BATCH, 3, CROP, CROP))
    assert found.graph_count == 1, found.break_reasons
    torch._dynamo.reset()
