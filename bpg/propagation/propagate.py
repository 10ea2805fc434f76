"""Propagate strokes to all pixels of an image (Lin et al., CVPR 2016, section 3)."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bpg.constants import IGNORE
from bpg.propagation.graph_cut import Costs, expand
from bpg.propagation.options import PropagationOptions
from bpg.propagation.superpixels import colours, neighbours, superpixels, textures

# Costs are integer multiples of 1/UNIT, so that the graph cut is exact.
UNIT = 10_000
SMALLEST = 1e-6  # probability: no label costs more than -log of this


class Problem(NamedTuple):
    """The energy of the labels of an image.

    Attributes:
        regions: The superpixel (H, W) of every pixel.
        classes: The labels (classes,) of the image's strokes, ascending.
        unary: Network term (superpixels, classes), in units of 1/`UNIT`.
        edges: Pairs of neighbouring superpixels (edges, 2).
        weights: Appearance term (edges,), in units of 1/`UNIT`.
        fixed: The index (superpixels,) in `classes` of the label that a superpixel's strokes give
            it; -1 where it has no stroke.
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
    """Propagate the strokes of an image to all of its pixels.

    Args:
        image: (H, W, 3), RGB.
        scribble: Labels (H, W); 255 = nothing drawn. At least one pixel is labelled.
        probabilities: The network's (K+1, H, W), in 0..1.
        options: Of superpixels and energy.

    Returns:
        Labels uint8 (H, W); the pixels of the strokes keep theirs.

    Raises:
        BPGError: The costs are too large for the graph cut, or the compiled module is missing or
            out of date.
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
    """Build the energy of an image's labels.

    Scribble term: a superpixel with strokes has their label (the most frequent, where there are
    several), and no superpixel has a label without a stroke in the image. Network term:
    -log of the probability, averaged over the superpixel, times `network_weight`. Appearance term:
    neighbours with different labels cost `smoothness` times
    exp(-(distance of colours / `colour`)² - (distance of textures / `texture`)²).

    The paper sums the network term over the pixels of a superpixel and divides histogram distances
    by 5 and 10. But beside a sum over a hundred pixels, an appearance term of at most 1 decides
    nothing, and the distance of two histograms that sum to 1 is small; hence the average and
    deviations of our own (`docs/peers.md`).

    Args:
        image: (H, W, 3), RGB.
        scribble: Labels (H, W); 255 = nothing drawn. At least one pixel is labelled.
        probabilities: The network's (K+1, H, W), in 0..1.
        options: Of superpixels and energy.

    Raises:
        BPGError: The compiled module is missing or out of date.
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
