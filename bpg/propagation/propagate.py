"""Propagate strokes to all pixels of an image (Lin et al., CVPR 2016, section 3)."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bpg.constants import IGNORE
from bpg.propagation.graph_cut import Costs, expand
from bpg.propagation.options import PropagationOptions
from bpg.propagation.superpixels import colours, neighbours, superpixels, textures

# Costs are whole numbers of this fraction, so that the graph cut is exact.
UNIT = 10_000
SMALLEST = 1e-6  # probability: no superpixel is worth more than -log of this


class Problem(NamedTuple):
    """Energy of an image's labels: `unary` (superpixels, classes), `edges` and their `weights`.

    `classes` are the labels that its strokes name; `fixed` holds the place there of the label
    that a superpixel's strokes give it, -1 where it has none; `regions` (H, W).
    """

    regions: NDArray[np.int64]
    classes: NDArray[np.int64]
    unary: Costs
    edges: NDArray[np.int64]
    weights: Costs
    fixed: NDArray[np.int64]


def propagate(
    image: NDArray[np.uint8],
    scribble: NDArray[np.uint8],
    probabilities: NDArray[np.float32],
    options: PropagationOptions,
) -> NDArray[np.uint8]:
    """Return labels (H, W) for every pixel.

    image (H, W, 3) RGB; scribble (H, W), 255 where nothing is drawn, at least one pixel is;
    probabilities (K+1, H, W), the network's. The strokes' own pixels keep their labels.
    """
    problem = make_problem(image, scribble, probabilities, options)
    chosen, _ = expand(problem.unary, problem.edges, problem.weights, problem.fixed)
    labels = problem.classes[chosen][problem.regions].astype(np.uint8)
    return np.where(scribble == IGNORE, labels, scribble)


def make_problem(
    image: NDArray[np.uint8],
    scribble: NDArray[np.uint8],
    probabilities: NDArray[np.float32],
    options: PropagationOptions,
) -> Problem:
    """Build the energy; arguments as in `propagate`.

    Scribble term: a superpixel with strokes has their label (the most frequent, where there are
    several), and no superpixel has a label without a stroke in the image. Network term:
    -log of the probability, averaged over the superpixel. Appearance: neighbours with different
    labels pay exp(-(distance of colours / `colour`)² - (distance of textures / `texture`)²).

    The paper sums the network's term over a superpixel's pixels and divides histogram distances
    by 5 and 10. Beside a sum over a hundred pixels a neighbour's term of at most 1 decides
    nothing, and the distance of two histograms of sum 1 is little; hence the average and
    deviations of their own (`docs/peers.md`).
    """
    regions = superpixels(
        image, scale=options.scale, sigma=options.sigma, min_size=options.min_size
    )
    count = int(regions.max()) + 1
    drawn = scribble != IGNORE
    classes, which = np.unique(scribble[drawn], return_inverse=True)
    strokes = np.zeros((count, len(classes)), np.int64)
    np.add.at(strokes, (regions[drawn], which), 1)
    fixed = np.where(strokes.any(1), strokes.argmax(1), -1)

    costs = -np.log(np.maximum(probabilities[classes], SMALLEST)).reshape(len(classes), -1)
    sizes = np.bincount(regions.ravel(), minlength=count)
    sums = [np.bincount(regions.ravel(), row, minlength=count) for row in costs]
    unary = options.network_weight * np.stack(sums, axis=1) / sizes[:, None]

    edges = neighbours(regions)
    alike = np.zeros(len(edges))
    for histograms, deviation in (
        (colours(image, regions), options.colour),
        (textures(image, regions), options.texture),
    ):
        difference = histograms[edges[:, 0]] - histograms[edges[:, 1]]
        alike += np.square(difference).sum(1) / deviation**2
    weights = options.smoothness * np.exp(-alike)
    return Problem(
        regions,
        classes.astype(np.int64),
        np.rint(UNIT * unary).astype(np.int64),
        edges,
        np.rint(UNIT * weights).astype(np.int64),
        fixed,
    )
