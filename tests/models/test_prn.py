import pytest
import torch
import torch.nn.functional as F

from bpg.models.prn import PRN, LowLevel, Refine

MIXINGS = ["mixed", "shared", "grouped"]
CLASSES = 4


def prn(steps=3, mixing="mixed", width=5) -> PRN:
    return PRN(CLASSES, steps=steps, width=width, low_width=3, mixing=mixing)


def inputs(rows=3, columns=4, batch=2):
    """Images (8h+1, 8w+1) and the logits on their grid."""
    images = torch.randn(batch, 3, 8 * (rows - 1) + 1, 8 * (columns - 1) + 1)
    return images, torch.randn(batch, CLASSES, rows, columns)


def bilinear(maps, size):
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=True)


@pytest.mark.parametrize("mixing", MIXINGS)
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_starts_as_the_baseline(steps, mixing):
    images, logits = inputs()
    found = prn(steps, mixing)(images, logits)
    assert found.shape == (2, CLASSES, 17, 25)
    assert torch.allclose(found, bilinear(logits, (17, 25)), atol=1e-5)


@pytest.mark.parametrize("mixing", MIXINGS)
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_leaves_the_baseline_after_a_step_and_trains_every_parameter(steps, mixing):
    images, logits = inputs()
    network = prn(steps, mixing)
    solver = torch.optim.SGD(network.parameters(), lr=0.05)
    target = torch.randint(0, CLASSES, (2, 17, 25))
    # Every last convolution starts at zero, and a step is heard through the next one alone: the
    # gradient enters the branch from behind, one convolution a step.
    for _ in range(steps + 1):
        solver.zero_grad()
        F.cross_entropy(network(images, logits), target).backward()
        solver.step()
    assert (network(images, logits) - bilinear(logits, (17, 25))).abs().max() > 1e-4
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("mixing", MIXINGS)
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_equals_figure_2_written_out(steps, mixing, randomise):
    """Up, concatenate, refine, add DeepLab's own enlarged logits; step by step."""
    network = randomise(prn(steps, mixing))
    state = network.state_dict()
    images, logits = inputs()

    def convolve(x, name, groups=1):
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1, groups=groups)

    maps = images
    for number in range(4):
        maps = convolve(maps, f"low_level.convolutions.{number}").clamp(min=0)
    full = convolve(maps, "low_level.convolutions.4")
    average = {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False}
    half = F.avg_pool2d(full, **average)
    lows = [F.avg_pool2d(half, **average), half, full]
    assert [low.shape[1:] for low in lows] == [(1, 5, 7), (1, 9, 13), (1, 17, 25)]

    current = logits
    for number, low in enumerate(lows[:steps]):
        size = low.shape[2:]
        up, name = bilinear(current, size), f"refine.{number}"
        channels = [up[:, [k]] for k in range(CLASSES)]
        if mixing == "mixed":
            hidden = convolve(torch.cat([up, low], 1), f"{name}.first").clamp(min=0)
            change = convolve(hidden, f"{name}.second")
        elif mixing == "shared":
            change = torch.cat(
                [
                    convolve(
                        convolve(torch.cat([c, low], 1), f"{name}.first").clamp(min=0),
                        f"{name}.second",
                    )
                    for c in channels
                ],
                1,
            )
        else:
            pairs = torch.cat([torch.cat([c, low], 1) for c in channels], 1)
            hidden = convolve(pairs, f"{name}.first", CLASSES).clamp(min=0)
            change = convolve(hidden, f"{name}.second", CLASSES)
        current = change + bilinear(logits, size)
    expected = bilinear(current, (17, 25))
    difference = (network(images, logits) - expected).abs().max()
    assert difference < 1e-5 * expected.abs().max()
    assert (expected - bilinear(logits, (17, 25))).abs().max() > 0.1, "no refinement to compare"


@pytest.mark.parametrize("size", [(1, 1), (9, 1), (9, 33)])
def test_gives_the_images_size_on_the_smallest_grids(size):
    images = torch.randn(1, 3, *size)
    logits = torch.randn(1, CLASSES, (size[0] - 1) // 8 + 1, (size[1] - 1) // 8 + 1)
    for steps in (1, 2, 3):
        assert prn(steps)(images, logits).shape == (1, CLASSES, *size)


def test_low_level_branch_is_five_convolutions_to_one_channel():
    branch = LowLevel(8, scales=3)
    convolutions = [m for m in branch.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == 5
    assert [c.kernel_size for c in convolutions] == [(3, 3)] * 5
    assert convolutions[0].in_channels == 3
    maps = branch(torch.randn(2, 3, 33, 41))
    assert [tuple(m.shape) for m in maps] == [(2, 1, 9, 11), (2, 1, 17, 21), (2, 1, 33, 41)]


def test_low_level_maps_see_five_convolutions_around_each_pixel(randomise):
    branch = randomise(LowLevel(4, scales=1))
    with torch.no_grad():
        for parameter in branch.parameters():
            parameter.abs_()
    image = torch.rand(1, 3, 25, 25, requires_grad=True)
    branch(image)[0][0, 0, 12, 12].backward()
    rows, columns = image.grad[0].sum(0).nonzero().unbind(1)
    # Five 3x3 convolutions reach five pixels to each side; fewer or strided ones would not.
    assert (rows.min(), rows.max()) == (7, 17)
    assert (columns.min(), columns.max()) == (7, 17)


def affected_channels(refine: Refine, logits: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
    """[i, j]: whether input channel i moves output channel j."""
    before = refine(logits, low)
    rows = []
    for channel in range(CLASSES):
        moved = logits.clone()
        moved[:, channel] += 1
        rows.append((refine(moved, low) - before).abs().amax((0, 2, 3)) > 1e-6)
    return torch.stack(rows)


def test_shared_treats_the_channels_alike(randomise):
    refine = randomise(Refine(CLASSES, 5, "shared"))
    logits, low = torch.randn(2, CLASSES, 7, 6), torch.randn(2, 1, 7, 6)
    order = [2, 0, 3, 1]
    expected = refine(logits, low)[:, order]
    assert torch.allclose(refine(logits[:, order], low), expected, atol=1e-5)
    assert torch.equal(affected_channels(refine, logits, low), torch.eye(CLASSES).bool())
    assert sum(p.numel() for p in refine.parameters()) == (2 * 9 + 1) * 5 + 5 * 9 + 1


def test_a_whole_shared_network_permutes_with_its_classes(randomise):
    network = randomise(prn(3, "shared"))
    images, logits = inputs()
    order = [3, 1, 0, 2]
    expected = network(images, logits)[:, order]
    found = network(images, logits[:, order])
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


def test_grouped_has_weights_of_its_own_for_each_channel(randomise):
    refine = randomise(Refine(CLASSES, 5, "grouped"))
    logits, low = torch.randn(2, CLASSES, 7, 6), torch.randn(2, 1, 7, 6)
    assert torch.equal(affected_channels(refine, logits, low), torch.eye(CLASSES).bool())
    order = [2, 0, 3, 1]
    before = refine(logits, low)
    assert not torch.allclose(refine(logits[:, order], low), before[:, order], atol=0.1)
    with torch.no_grad():
        refine.first.weight[5 * 2 : 5 * 3] *= 2  # the hidden channels of class 2
    moved = (refine(logits, low) - before).abs().amax((0, 2, 3)) > 1e-6
    assert moved.tolist() == [False, False, True, False]


def test_grouped_puts_the_low_level_map_beside_every_channel(randomise):
    for mixing in MIXINGS:
        refine = randomise(Refine(CLASSES, 5, mixing))
        logits, low = torch.randn(1, CLASSES, 7, 6), torch.randn(1, 1, 7, 6)
        change = (refine(logits, low + 1) - refine(logits, low)).abs().amax((0, 2, 3))
        assert (change > 1e-4).all(), mixing


def test_mixed_lets_every_channel_see_every_other(randomise):
    refine = randomise(Refine(CLASSES, 8, "mixed"))
    logits, low = torch.randn(2, CLASSES, 7, 6), torch.randn(2, 1, 7, 6)
    assert affected_channels(refine, logits, low).all()
