import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bpg.losses.inputs import Inputs


@pytest.fixture(autouse=True)
def one_thread_and_seed():
    torch.set_num_threads(1)
    torch.manual_seed(0)


@dataclass(frozen=True)
class Batch:
    """What a training step hands to a regulariser, in doubles; `logits` has a gradient."""

    logits: torch.Tensor
    images: torch.Tensor
    labels: torch.Tensor
    valid: torch.Tensor
    features: torch.Tensor
    edges: torch.Tensor
    teacher: torch.Tensor

    def field(self, logits: torch.Tensor | None = None) -> Inputs:
        """`make_inputs` without its single precision."""
        logits = self.logits if logits is None else logits
        others = self.images, self.valid, self.labels, self.features, self.edges
        return Inputs(logits.softmax(1), *others, self.teacher.softmax(1))

    def follow(self, loss: Callable[[Inputs], torch.Tensor], reduction: int = 1):
        """Return the loss of the reduced field and its derivative by the logits."""
        value = loss(self.field().reduced(reduction))
        return value.detach(), torch.autograd.grad(value, self.logits)[0]

    def map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Batch":
        """Change every tensor, and let the logits' gradient begin anew."""
        names = "logits", "images", "labels", "valid", "features", "edges", "teacher"
        changed = {name: change(getattr(self, name).detach()).clone() for name in names}
        changed["logits"].requires_grad_()
        return Batch(**changed)

    def with_other_padding(self) -> "Batch":
        """Put other images, logits and edges where padding is."""
        padded = ~self.valid[:, None]
        logits = torch.where(padded, 9 * torch.randn_like(self.logits), self.logits.detach())
        images = torch.where(padded, 255 * torch.rand_like(self.images), self.images)
        edges = torch.where(~self.valid, torch.rand_like(self.edges), self.edges)
        teacher = torch.where(padded, 9 * torch.randn_like(self.teacher), self.teacher)
        changed = {"images": images, "edges": edges, "teacher": teacher}
        return replace(self, logits=logits.requires_grad_(), **changed)

    def with_more_padding(self) -> "Batch":
        """Add eight padded pixels on every side: noise, which nobody should look at."""
        pad = torch.nn.functional.pad
        around = (8, 8, 8, 8)
        bigger = Batch(
            pad(self.logits.detach(), around).requires_grad_(),
            pad(self.images, around),
            pad(self.labels, around, value=255),
            pad(self.valid, around, value=False),
            pad(self.features, (1, 1, 1, 1), mode="replicate"),
            pad(self.edges, around),
            pad(self.teacher, around),
        )
        return bigger.with_other_padding()

    def with_empty_picture(self) -> "Batch":
        """Add an image without a valid pixel, and without a labelled one."""
        wider = self.map(lambda tensor: torch.cat([tensor, tensor[:1]]))
        wider.valid[2] = False
        wider.labels[2] = 255
        return wider.with_other_padding()


@pytest.fixture
def make_batch():
    """Return a function that makes a batch of two images with padding on all sides."""

    def make(height: int = 9, width: int = 9, *, classes: int = 3, stride: int = 8):
        """`stride`: pixels between the samples of the network's features."""
        size = height, width
        valid = torch.zeros(2, *size, dtype=torch.bool)
        valid[0, 1 : height - 1, 1 : width - 3] = True
        valid[1, 1 : height - 2, 1 : width - 1] = True
        labels = torch.randint(0, classes, (2, *size))
        labels[(torch.rand(2, *size) < 0.7) | ~valid] = 255
        return Batch(
            torch.randn(2, classes, *size, dtype=torch.float64, requires_grad=True),
            255 * torch.rand(2, 3, *size, dtype=torch.float64),
            labels,
            valid,
            torch.randn(
                2, 4, (height - 1) // stride + 1, (width - 1) // stride + 1, dtype=torch.float64
            ),
            torch.rand(2, *size, dtype=torch.float64) ** 3,
            torch.randn(2, classes, *size, dtype=torch.float64),
        )

    return make


def two_pixels(first: list[float], second: list[float]) -> Inputs:
    """Two pixels with these shares: one black; one grey 15, on an edge of 0.5. Unlabelled."""
    shares = torch.tensor([first, second], dtype=torch.float64).T.reshape(1, -1, 1, 2)
    images = torch.tensor([0.0, 15.0], dtype=torch.float64).expand(1, 3, 1, 2)
    everywhere = torch.ones(1, 1, 2, dtype=torch.bool)
    features = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    labels = torch.full((1, 1, 2), 255)
    edges = torch.tensor([0.0, 0.5], dtype=torch.float64).view(1, 1, 2)
    return Inputs(shares.requires_grad_(), images, everywhere, labels, features, edges)


@pytest.fixture(name="two_pixels")
def two_pixels_fixture():
    return two_pixels


def constant_picture(shares: list[float], size: tuple[int, int] = (9, 9)) -> Inputs:
    """An image of noise with the same shares of the classes everywhere."""
    probabilities = torch.tensor(shares, dtype=torch.float64).view(1, -1, 1, 1)
    everywhere = torch.ones(1, *size, dtype=torch.bool)
    return Inputs(
        probabilities.expand(1, -1, *size).clone().requires_grad_(),
        255 * torch.rand(1, 3, *size, dtype=torch.float64),
        everywhere,
        torch.full((1, *size), 255),
        torch.randn(1, 4, 2, 2, dtype=torch.float64),
    )


@pytest.fixture(name="constant_picture")
def constant_picture_fixture():
    return constant_picture


def gaussian_matrices(field: Inputs, xy: float, rgb: float) -> list[torch.Tensor]:
    """Each image's affinities, pair by pair; 0 where one of the two is padding."""
    count, _, height, width = field.images.shape
    matrices = []
    for n in range(count):
        pixels = [(y, x) for y in range(height) for x in range(width)]
        colour = {(y, x): field.images[n, :, y, x].tolist() for y, x in pixels}
        valid = {(y, x): bool(field.valid[n, y, x]) for y, x in pixels}
        rows = []
        for i in pixels:
            row = []
            for j in pixels:
                far = ((i[0] - j[0]) ** 2 + (i[1] - j[1]) ** 2) * field.spacing**2
                unlike = sum((a - b) ** 2 for a, b in zip(colour[i], colour[j], strict=True))
                near = math.exp(-far / (2 * xy**2) - unlike / (2 * rgb**2))
                row.append(near if valid[i] and valid[j] else 0.0)
            rows.append(row)
        matrices.append(torch.tensor(rows, dtype=torch.float64))
    return matrices


@pytest.fixture(name="gaussian_matrices")
def gaussian_matrices_fixture():
    return gaussian_matrices


class Allocations(TorchDispatchMode):
    """Notes the number of values of the largest tensor that any operation returned."""

    def __init__(self):
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.largest = max(self.largest, tensor.numel())
        return result


@pytest.fixture
def allocations():
    return Allocations
