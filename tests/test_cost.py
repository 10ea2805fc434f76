import copy
import csv
import shutil
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

import bpg.cost
import stages.cost
from bpg.cost import (
    affordable_batch,
    macs,
    measure,
    parameters,
    parameters_at_test,
    peak_memory,
    step_times,
    training_step,
)
from bpg.devices import Execution
from bpg.errors import BPGError
from bpg.losses.options import DenseOptions
from bpg.models.network import Architecture, Network
from bpg.models.options import BRNArchitecture, PRNOptions
from bpg.models.prn import PRN
from bpg.report.costs import CostRow, CountRow, read_costs
from bpg.training.objective import Objective
from bpg.training.options import OptimizerOptions
from pipeline.params import read_parameters
from pipeline.variants import networks
from stages.cost import cost

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
CLASSES = ("background", "bird", "cat")
TINY = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16], "stem_type": "deep", "stem_width": 8}
PLAIN = Objective(boundary_weight=1.0)
CUT = Objective(1.0, {"normalized_cut": DenseOptions(weight=0.5, reduction=2, xy=20, rgb=15)})
SMALL = {
    "batch_size": 2,
    "crop": 33,
    "execution": Execution(CPU),
    "labelled": 0.03,
    "objective": PLAIN,
}
OPTIONS = OptimizerOptions("adamw", 1e-3, 0.9, 0.01, 1.0, 1.0, 5.0)
MIXINGS = ("mixed", "shared", "grouped")


@pytest.fixture(autouse=True)
def one_thread_and_seed():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)
    torch.use_deterministic_algorithms(False)


def describe(prn=False, brn=None, frozen_norm=False, classes=CLASSES):
    return Architecture(
        classes=classes,
        backbone="resnet18",
        backbone_options=dict(TINY),
        frozen_norm=frozen_norm,
        prn=PRNOptions(3, width=4, low_width=3, mixing="mixed") if prn else None,
        brn=BRNArchitecture("probabilities", 4, 3, brn) if brn else None,
    )


def conv_macs(outputs, inputs, kernel, pixels, groups=1):
    return outputs * (inputs // groups) * kernel**2 * pixels


def hooked_macs(network, size):
    """Another way to the same figure: each convolution's own output, as it runs."""
    total = 0

    def add(module, _, output):
        nonlocal total
        inputs = module.in_channels // module.groups
        total += output.numel() * inputs * module.kernel_size[0] * module.kernel_size[1]

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(add)
    with torch.no_grad():
        network.train()(torch.zeros(1, 3, size, size))
    return total


# Weights


def test_frozen_weights_count_and_statistics_do_not():
    trained, frozen = Network(describe()), Network(describe(frozen_norm=True))
    assert parameters(frozen) == parameters(trained)
    assert parameters(nn.Sequential(nn.Conv2d(3, 4, 5), nn.BatchNorm2d(4))) == 300 + 4 + 8


@pytest.mark.parametrize("channels", ["foreground", "all_channels"])
def test_at_test_the_brn_is_gone(channels):
    network = Network(describe(prn=True, brn=channels))
    inputs = 2 if channels == "foreground" else len(CLASSES)
    brn = (inputs * 36 + 4) + (4 * 36 + 4) + (4 * 9 + 1)
    assert parameters(network) - parameters_at_test(network) == brn
    assert parameters_at_test(network) == parameters(Network(describe(prn=True)))
    assert parameters_at_test(Network(describe())) == parameters(Network(describe()))


# Arithmetic


@pytest.mark.parametrize(
    ("convolution", "side", "expected"),
    [
        (nn.Conv2d(3, 8, 3, padding=1), 16, conv_macs(8, 3, 3, 16**2)),
        (nn.Conv2d(3, 6, 3, padding=1, groups=3), 16, conv_macs(6, 3, 3, 16**2, groups=3)),
        (nn.Conv2d(3, 3, 3, padding=1, groups=3), 16, conv_macs(3, 3, 3, 16**2, groups=3)),
        (nn.Conv2d(3, 8, 3, padding=6, dilation=6), 16, conv_macs(8, 3, 3, 16**2)),
        (nn.Conv2d(3, 8, 3, dilation=6), 16, conv_macs(8, 3, 3, 4**2)),
        (nn.Conv2d(3, 8, 5, stride=2, bias=False), 16, conv_macs(8, 3, 5, 6**2)),
        (nn.Conv2d(3, 8, 3, padding=1, padding_mode="replicate"), 16, conv_macs(8, 3, 3, 16**2)),
    ],
    ids=["plain", "grouped", "depthwise", "dilated", "dilated, bare", "strided", "replicated"],
)
def test_macs_of_a_convolution_are_those_of_the_formula(convolution, side, expected):
    assert macs(convolution, side) == expected


def test_macs_of_a_chain_add_up_and_the_rest_is_not_counted():
    chain = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Upsample(scale_factor=3, mode="bilinear", align_corners=True),
        nn.Conv2d(8, 4, 1),
    )
    assert macs(chain, 10) == conv_macs(8, 3, 3, 10**2) + conv_macs(4, 8, 1, 15**2)


@pytest.mark.parametrize("mixing", MIXINGS)
def test_macs_of_the_prn_are_those_of_the_formula(mixing):
    classes, width, low, cells = 5, 4, 3, 4

    class Refinement(nn.Module):
        def __init__(self):
            super().__init__()
            self.prn = PRN(classes, steps=3, width=width, low_width=low, mixing=mixing)

        def forward(self, images):
            return self.prn(images, images.new_zeros(1, classes, cells + 1, cells + 1))

    full = (8 * cells + 1) ** 2
    expected = sum(conv_macs(b, a, 3, full) for a, b in pairwise([3, low, low, low, low, 1]))
    for step in (1, 2, 3):
        pixels = (2**step * cells + 1) ** 2
        expected += {
            "mixed": 9 * pixels * width * (classes + 1 + classes),
            "shared": classes * 9 * pixels * width * (2 + 1),
            "grouped": classes * 9 * pixels * width * (2 + 1),
        }[mixing]
    assert macs(Refinement(), 8 * cells + 1) == expected


@pytest.mark.parametrize("channels", [None, "foreground", "all_channels"])
@pytest.mark.parametrize("prn", [False, True])
def test_macs_of_the_whole_network_are_those_of_its_convolutions(prn, channels):
    network = Network(describe(prn=prn, brn=channels))
    # The head's branches are not called as such, hence not hooked. Of 9×9 features only the first,
    # of rate 6, has taps beside the centre that meet some.
    first = network.head.branches[0]
    head = (1 + 8) * 9 * 9 * first.in_channels * first.out_channels
    assert macs(network, 65) == hooked_macs(network, 65) + head


def test_counting_leaves_the_network_alone():
    network = Network(describe(prn=True, brn="foreground")).eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert macs(network, 33) == macs(network, 33) > 0
    assert not network.training
    for name, tensor in network.state_dict().items():
        assert tensor.device == CPU
        assert torch.equal(tensor, before[name])


# Memory


def saving_step(extra):
    """A step that keeps `extra` bytes from its forward to its backward pass."""

    class Keep(torch.autograd.Function):
        @staticmethod
        def forward(ctx, values):
            ctx.save_for_backward(torch.zeros(extra, dtype=torch.uint8))
            return values.clone()

        @staticmethod
        def backward(ctx, gradient):
            (kept,) = ctx.saved_tensors
            return gradient + kept[:1]

    def make():
        weight = torch.ones(1000, requires_grad=True)

        def step():
            weight.grad = None
            Keep.apply(weight * 2).sum().backward()

        return step

    return make


def test_a_saved_activation_raises_the_peak_by_its_size():
    small, large = (peak_memory(saving_step(n), CPU) for n in (1_000_000, 4_000_000))
    assert large - small == 3_000_000
    assert 1_000_000 < small < 1_000_000 + 10 * 4000


def test_what_is_made_counts_and_what_was_there_does_not():
    elsewhere = torch.zeros(1_000_000)

    def make(floats):
        weights = torch.zeros(floats)
        # What is freed before the step, or in the first call only, is no part of its peak.
        torch.zeros(900_000).sum()
        calls = []

        def step():
            torch.zeros(1 if calls else 800_000)
            calls.append(elsewhere[0] + weights[0])

        return step

    assert 400_000 <= peak_memory(lambda: make(100_000), CPU) < 401_000
    assert 800_000 <= peak_memory(lambda: make(200_000), CPU) < 801_000


def test_a_step_that_takes_nothing_leaves_what_was_made():
    def make():
        weights = torch.zeros(1000)

        def step():
            weights.size()

        return step

    assert peak_memory(make, CPU) == 4000
    assert peak_memory(lambda: lambda: None, CPU) == 0


def test_what_stays_from_the_first_call_is_there_in_the_second():
    # AdamW keeps two numbers a weight; the gradient of the last step is still there.
    def peak(optimizer, momentum):
        def make():
            settings = replace(OPTIONS, optimizer=optimizer, momentum=momentum, max_grad_norm=None)
            network = Network(describe())
            return training_step(network, **SMALL, options=settings)

        return peak_memory(make, CPU)

    bytes_of_weights = 4 * parameters(Network(describe()))
    difference = peak("adamw", 0.9) - peak("sgd", 0.0)
    assert 1.5 * bytes_of_weights < difference < 2.5 * bytes_of_weights


def test_the_peak_of_a_training_step_repeats_to_the_byte_and_prints_nothing(capfd):
    def make():
        network = Network(describe(prn=True, brn="foreground"))
        return training_step(network, **SMALL, options=OPTIONS)

    first = peak_memory(make, CPU)
    garbage = [torch.zeros(n) for n in range(1, 3000, 7)]
    del garbage[::2]
    assert peak_memory(make, CPU) == first
    assert capfd.readouterr() == ("", "")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_saved_activation_raises_the_peak_on_cuda():
    device = torch.device("cuda")

    def make(floats):
        def step():
            kept = torch.zeros(floats, device=device)
            kept.sum()

        return step

    small, large = (peak_memory(lambda n=n: make(n), device) for n in (2**20, 2**22))
    assert large - small == pytest.approx(4 * (2**22 - 2**20), abs=4096)  # the sum's own scratch


# Time


def test_steps_take_turns_and_the_first_rounds_are_dropped():
    calls = []
    steps = {name: lambda name=name: calls.append(name) for name in "abc"}
    times = step_times(steps, 3)
    assert "".join(calls) == "abc" * 5
    assert {name: len(seconds) for name, seconds in times.items()} == {"a": 3, "b": 3, "c": 3}


def test_a_time_is_that_of_its_own_step():
    times = step_times({"slow": lambda: time.sleep(0.05), "fast": lambda: None}, 2)
    assert min(times["slow"]) >= 0.05 > min(times["fast"])


# The step


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_step_trains_every_part(optimizer):
    network = Network(describe(prn=True, brn="all_channels"))
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    settings = replace(OPTIONS, optimizer=optimizer, lr=0.1)
    step = training_step(network, **SMALL, options=settings)
    step()
    step()
    moved = {n for n, weight in network.named_parameters() if not torch.equal(weight, before[n])}
    assert {name.split(".")[0] for name in moved} == {"backbone", "head", "prn", "brn"}


def test_a_step_has_the_objectives_regularisers_and_weights():
    """Other losses, other weights; a regulariser of weight 0 costs and teaches nothing."""

    def after(objective):
        torch.manual_seed(1)
        network = Network(describe(brn="foreground"))
        training_step(network, **SMALL | {"objective": objective}, options=OPTIONS)()
        return torch.cat([weight.detach().flatten() for weight in network.parameters()])

    without = after(PLAIN)
    assert torch.equal(after(Objective(1.0, {"normalized_cut": weighing(0.0)})), without)
    assert not torch.equal(after(CUT), without)
    assert not torch.equal(after(Objective(0.5)), without)


def weighing(weight):
    return replace(CUT.regularisers["normalized_cut"], weight=weight)


def test_a_regulariser_takes_memory():
    def peak(objective):
        settings = SMALL | {"objective": objective}
        return peak_memory(
            lambda: training_step(Network(describe()), **settings, options=OPTIONS), CPU
        )

    assert peak(CUT) > peak(PLAIN)


def test_the_step_follows_from_its_seed_and_leaves_the_global_one():
    def weights(seed):
        torch.manual_seed(1)
        network = Network(describe())
        state = torch.get_rng_state()
        step = training_step(network, **SMALL, seed=seed, options=OPTIONS)
        assert torch.equal(torch.get_rng_state(), state)
        step()
        return torch.cat([weight.detach().flatten() for weight in network.parameters()])

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


@pytest.mark.parametrize(("batch", "crop", "expected"), [(8, 97, 8), (10, 321, 2), (10, 801, 1)])
def test_large_crops_cut_the_batch_on_the_cpu_alone(batch, crop, expected):
    assert affordable_batch(batch, crop, CPU) == expected
    assert affordable_batch(batch, crop, torch.device("cuda")) == batch


# All together


def test_equal_networks_are_measured_once_and_listed_each(monkeypatch):
    made = []
    monkeypatch.setattr(
        bpg.cost,
        "training_step",
        lambda network, objective, **_: lambda: made.append(objective.regularisers.keys()),
    )
    architectures = {
        "mask": describe(),
        "scribble": describe(),
        "again": describe(),
        "prn": describe(prn=True),
        "cut": describe(),
        "cut again": describe(),
        "other cut": describe(),
    }
    cuts = {"cut": CUT, "cut again": copy.deepcopy(CUT)}
    cuts["other cut"] = Objective(1.0, {"dense_crf": CUT.regularisers["normalized_cut"]})
    costs = measure(
        architectures,
        baseline="scribble",
        labelled=dict.fromkeys(architectures, 0.03) | {"mask": 1.0},
        objectives=dict.fromkeys(architectures, PLAIN) | cuts,
        rounds=1,
        batch_size=2,
        crop=33,
        execution=Execution(CPU),
        options=OPTIONS,
    )
    assert [item.variant for item in costs] == list(architectures)
    # Twice for the memory, three times in the rounds, the baseline in each of the others' as well;
    # `again` is no network of its own.
    assert len(made) == 5 * (2 + 3) + 4 * 3
    mask, scribble, again, prn, cut, cut_again, _ = costs
    # Apart from the network without a regulariser, and from that with another.
    assert [made.count({name}) for name in ("normalized_cut", "dense_crf")] == [2 + 3, 2 + 3]
    assert (cut.seconds, cut.memory) == (cut_again.seconds, cut_again.memory)
    assert cut.macs == scribble.macs
    assert again.ratio == scribble.ratio == 1
    assert (again.seconds, again.memory) == (scribble.seconds, scribble.memory)
    assert mask.macs == scribble.macs
    assert prn.macs > scribble.macs
    assert prn.parameters > scribble.parameters


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """The parameter files, with a network and crop on which a step takes milliseconds."""
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    shutil.copytree(ROOT / "params", tmp_path / "params")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stages.cost, "ROUNDS", 1)
    parameters = read_parameters(Path())
    recipe = parameters.recipe.model_dump()
    recipe["model"]["options"] = TINY
    recipe["training"]["batch_size"] = 2
    recipe["training"]["augmentation"]["crop"] = 33
    recipe["machine"] = recipe["machine"] | {"bf16": "off", "threads": 1}
    return replace(
        parameters,
        recipe=type(parameters.recipe).model_validate(recipe),
        switches=parameters.switches.model_copy(update={"device": "cpu"}),
    )


def test_the_stage_writes_what_the_report_reads(workspace):
    cost(workspace)
    rows = read_costs(Path("results/cost.csv"))
    with Path("results/cost.csv").open(encoding="utf-8", newline="") as file:
        assert csv.DictReader(file).fieldnames == list(CostRow.model_fields)
    rows_of_tables = workspace.switches.variants.all
    assert [row["variant"] for row in rows] == networks(rows_of_tables, workspace.variants)
    by_name = {row["variant"]: row for row in rows}
    ratios = ("macs_ratio", "memory_ratio", "time_ratio")
    assert [by_name["scribble"][ratio] for ratio in ratios] == [1, 1, 1]
    # The same network, but its cross-entropy is over all pixels.
    assert by_name["mask"]["macs_ratio"] == 1 < by_name["mask"]["memory_ratio"]
    for name, row in by_name.items():
        assert {row[key] for key in ("baseline", "recipe", "device", "precision")} == {
            "scribble",
            "tiny",
            "cpu",
            "fp32",
        }
        assert (row["crop"], row["batch"], row["threads"]) == (33, 2, 1)
        assert row["classes"] == len(workspace.dataset.classes)
        brn = workspace.variants[name].brn is not None
        assert (row["parameters"] > row["parameters_at_test"]) == brn
    # The warm start is no row; whoever goes on from it is measured by its own step.
    assert by_name["fine_tuned"]["memory_ratio"] == by_name["fine_tuned"]["time_ratio"] == 1
    for name in ("normalcut", "densecrf", "kernelcut", "gatedcrf", "treeenergy"):
        assert by_name[name]["macs_ratio"] == 1 < by_name[name]["memory_ratio"], name
    assert by_name["bpg_kernelcut"]["macs_ratio"] == by_name["bpg"]["macs_ratio"]
    assert by_name["bpg_kernelcut"]["memory_ratio"] > by_name["bpg"]["memory_ratio"]
    # All pixels have a label.
    for key in ("memory_ratio", "peak_memory_bytes", "step_seconds"):
        assert by_name["scribblesup"][key] == by_name["mask"][key]
    assert by_name["bpg"]["parameters_at_test"] == by_name["prn"]["parameters"]
    for ratio in ("macs_ratio", "memory_ratio"):
        assert 1 < by_name["prn"][ratio] < by_name["bpg"][ratio]


def test_without_the_scribble_variant_the_first_one_is_the_baseline(workspace):
    variants = workspace.switches.variants.model_copy(update={"all": ["prn", "bpg"]})
    switches = workspace.switches.model_copy(update={"variants": variants})
    cost(replace(workspace, switches=switches))
    rows = read_costs(Path("results/cost.csv"))
    assert {row["baseline"] for row in rows} == {"prn"}
    assert rows[0]["memory_ratio"] == 1 < rows[1]["memory_ratio"]


def test_of_a_users_folder_nothing_is_measured(workspace, monkeypatch):
    variants = workspace.switches.variants.model_copy(update={"all": ["scribble", "bpg"]})
    switches = workspace.switches.model_copy(update={"variants": variants})
    cost(workspace := replace(workspace, switches=switches))
    measured = {row["variant"]: row for row in read_costs(Path("results/cost.csv"))}
    monkeypatch.setattr(stages.cost, "measure", None)
    mine = workspace.dataset.model_copy(update={"kind": "folder", "root": "own"})
    cost(replace(workspace, dataset=mine))
    counted = read_costs(Path("results/cost.csv"))
    assert [row["variant"] for row in counted] == list(measured)
    for row in counted:
        assert list(row) == list(CountRow.model_fields)
        assert row == {key: measured[row["variant"]][key] for key in row}


# Reading


ROW = {
    "variant": "scribble",
    "parameters": 10,
    "parameters_at_test": 9,
    "macs": 1000,
    "peak_memory_bytes": 4000,
    "step_seconds": 0.5,
    "macs_ratio": 1.0,
    "memory_ratio": 1.0,
    "time_ratio": 1.0,
    "baseline": "scribble",
    "recipe": "tiny",
    "classes": 7,
    "crop": 97,
    "batch": 8,
    "device": "cpu",
    "hardware": "A processor, 2 cores",
    "torch": "2.15.0",
    "threads": 1,
    "precision": "fp32",
}
OTHER = ROW | {"variant": "prn", "time_ratio": 1.5}


def write(path, rows, columns=tuple(ROW)):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_rows_come_back_with_their_types(tmp_path):
    assert read_costs(write(tmp_path / "cost.csv", [ROW, OTHER])) == [ROW, OTHER]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (OTHER | {"macs": "many"}, "line 3: macs: "),
        (OTHER | {"macs": 1.5}, "line 3: macs: "),
        (OTHER | {"parameters": 0}, "line 3: parameters: "),
        (OTHER | {"step_seconds": "nan"}, "line 3: step_seconds: "),
        (OTHER | {"time_ratio": "inf"}, "line 3: time_ratio: "),
        (OTHER | {"memory_ratio": ""}, "line 3: memory_ratio: "),
        (OTHER | {"precision": "fp8"}, "line 3: precision: "),
        (OTHER | {"variant": ""}, "line 3: variant: "),
        (ROW, "line 3: scribble twice"),
        (OTHER | {"batch": 4}, "line 3: batch 4, in the rows above 8"),
    ],
)
def test_a_bad_row_is_named(tmp_path, second, message):
    with pytest.raises(BPGError, match=rf"cost\.csv, {message}"):
        read_costs(write(tmp_path / "cost.csv", [ROW, second]))


def test_rows_that_are_only_counted_come_back(tmp_path):
    rows = [{key: row[key] for key in CountRow.model_fields} for row in (ROW, OTHER)]
    path = write(tmp_path / "cost.csv", rows, tuple(CountRow.model_fields))
    assert read_costs(path) == rows
    rows[1]["crop"] = 33
    with pytest.raises(BPGError, match="line 3: crop 33, in the rows above 97"):
        read_costs(write(path, rows, tuple(CountRow.model_fields)))


@pytest.mark.parametrize("column", ["variant", "macs", "precision"])
def test_a_missing_column_is_named(tmp_path, column):
    columns = [name for name in ROW if name != column]
    with pytest.raises(BPGError, match=rf"line 2: {column}: Field required"):
        read_costs(write(tmp_path / "cost.csv", [ROW], columns))


def test_an_unknown_column_and_a_field_too_many_are_named(tmp_path):
    path = write(tmp_path / "cost.csv", [ROW | {"colour": "red"}], [*ROW, "colour"])
    with pytest.raises(BPGError, match="line 2: colour: "):
        read_costs(path)
    path = write(tmp_path / "cost.csv", [ROW])
    path.write_text(path.read_text().rstrip("\n") + ",red\n", encoding="utf-8")
    with pytest.raises(BPGError, match="line 2: beyond the last column: "):
        read_costs(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "no rows"), (b"variant,parameters\n", "no rows"), (b"\xff\xfe\x00", "cannot be read")],
)
def test_a_file_that_holds_no_table_is_named(tmp_path, content, message):
    path = tmp_path / "cost.csv"
    path.write_bytes(content)
    with pytest.raises(BPGError, match=rf"cost\.csv: {message}.*run the stage cost"):
        read_costs(path)


def test_a_missing_file_and_a_missing_baseline_are_named(tmp_path):
    path = tmp_path / "cost.csv"
    with pytest.raises(BPGError, match=r"cost\.csv: missing; run the stage cost"):
        read_costs(path)
    with pytest.raises(BPGError, match="no row for the baseline scribble"):
        read_costs(write(path, [OTHER]))
