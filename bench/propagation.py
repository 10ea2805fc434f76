"""Time of ScribbleSup's propagation of images of 500 x 375 pixels and 21 classes, on all cores.

    python -m bench.propagation

Against the former way: scikit-image's superpixels, pairs of neighbours sorted as rows, both in
joblib's threads. The two sides take turns within one run; times are medians, for one image of
many. The photographs are scikit-image's, the strokes are made up here, and so are the network's
probabilities. Floor: NumPy's sort of the edges' costs, which alone decides the superpixels of
equal costs, on all cores at a time.
"""

import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import NamedTuple

import numpy as np
from joblib import Parallel, cpu_count, delayed
from numpy.typing import NDArray
from skimage import data
from skimage.segmentation import felzenszwalb

from bench.measure import Row, in_turns, show
from bpg.constants import IGNORE
from bpg.opencv import cv2
from bpg.propagation.graph_cut import expand
from bpg.propagation.options import PropagationOptions
from bpg.propagation.propagate import SMALLEST, UNIT, propagate

CLASSES = 21
ROUNDS = 5
REPEATS = 4  # of each image in a round, so that both cores have work to the end
OPTIONS = {
    "recipe paper": PropagationOptions(100, 0.8, 50, 1, 2, 0.3, 0.3),
    "recipe tiny": PropagationOptions(50, 0.5, 8, 1, 2, 0.3, 0.3),
}
# By photograph: strokes as (label, points x, y).
STROKES = {
    "astronaut": [
        (15, [(170, 60), (230, 120), (220, 240), (120, 350)]),
        (0, [(360, 40), (460, 160), (470, 300)]),
    ],
    "coffee": [
        (5, [(200, 120), (260, 210), (340, 190)]),
        (11, [(60, 230), (180, 320), (380, 310)]),
        (0, [(30, 30), (250, 40), (470, 60)]),
    ],
    "chelsea": [
        (8, [(150, 130), (250, 220), (300, 320)]),
        (18, [(20, 330), (90, 360)]),
        (9, [(420, 340), (480, 280)]),
        (0, [(20, 20), (120, 30), (470, 50)]),
    ],
    "rocket": [
        (1, [(250, 80), (252, 180), (250, 260)]),
        (0, [(60, 40), (70, 200), (440, 120)]),
    ],
}


class Case(NamedTuple):
    """Arguments of `propagate`."""

    image: NDArray[np.uint8]
    scribble: NDArray[np.uint8]
    probabilities: NDArray[np.float32]


Way = Callable[[Case, PropagationOptions], NDArray[np.uint8]]


def rows() -> list[Row]:
    """Measure."""
    cases = [case(name, seed) for seed, name in enumerate(STROKES)]
    small = [smaller(one) for one in cases]
    return [
        *(compare(f"propagation, {name}", cases, REPEATS, one) for name, one in OPTIONS.items()),
        compare("propagation, 96 x 96", small, 20 * REPEATS, OPTIONS["recipe tiny"]),
    ]


def case(name: str, seed: int, shape: tuple[int, int] = (375, 500)) -> Case:
    """Return a photograph with strokes, and probabilities of a network that is unsure."""
    image = cv2.resize(
        np.ascontiguousarray(getattr(data, name)()), shape[::-1], interpolation=cv2.INTER_AREA
    )
    scribble = np.full(shape, IGNORE, np.uint8)
    for label, points in STROKES[name]:
        cv2.polylines(scribble, [np.array(points, np.int32)], False, label, 3)
    noise = np.random.default_rng(seed).normal(size=(CLASSES, *shape)).astype(np.float32)
    logits = np.stack([cv2.GaussianBlur(field, (0, 0), 20) for field in noise])
    shares = np.exp(4 * logits / logits.std())
    return Case(image, scribble, shares / shares.sum(axis=0))


def smaller(one: Case) -> Case:
    """Return 96 x 96 pixels around the most of a stroke."""
    drawn = one.scribble != IGNORE
    x = int(np.clip(drawn.sum(axis=0).argmax() - 48, 0, 500 - 96))
    y = int(np.clip(np.flatnonzero(drawn[:, x + 48])[0] - 20, 0, 375 - 96))
    part = np.s_[y : y + 96, x : x + 96]
    return Case(one.image[part].copy(), one.scribble[part].copy(), one.probabilities[:, *part])


def compare(path: str, cases: list[Case], repeats: int, options: PropagationOptions) -> Row:
    many = cases * repeats
    found: dict[Way, list[NDArray[np.uint8]]] = {}

    def run(way: Way) -> None:
        found[way] = [*in_threads(way, many, options)]

    times = in_turns(lambda: run(ours), lambda: run(theirs), ROUNDS)
    assert all(map(np.array_equal, *found.values()))
    floor = f"{1e3 * sorting(cases) / cpu_count():.1f} ms: sorting the edges"
    quality = f"labels of {len(cases)} images equal"
    return Row(path, *(taken / len(many) for taken in times), "≥ 1.8", floor, quality)


def in_threads(
    way: Way, cases: list[Case], options: PropagationOptions
) -> Iterator[NDArray[np.uint8]]:
    jobs = (delayed(way)(one, options) for one in cases)
    return Parallel(n_jobs=-1, prefer="threads", return_as="generator")(jobs)


def sorting(cases: list[Case]) -> float:
    """Return the median seconds of a sort of as many costs as an image has edges."""
    height, width = cases[0].scribble.shape
    count = height * (width - 1) + (height - 1) * width + 2 * (height - 1) * (width - 1)
    costs = np.random.default_rng(0).random(count)
    seconds = []
    for _ in range(ROUNDS + 1):
        start = time.perf_counter()
        np.argsort(costs)
        seconds.append(time.perf_counter() - start)
    return median(seconds[1:])


def ours(one: Case, options: PropagationOptions) -> NDArray[np.uint8]:
    return propagate(*one, options)


# The former way


def theirs(one: Case, options: PropagationOptions) -> NDArray[np.uint8]:
    image, scribble, probabilities = one
    regions = felzenszwalb(
        image, scale=options.scale, sigma=options.sigma, min_size=options.min_size
    ).astype(np.int64)
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
    chosen, _ = expand(
        np.rint(UNIT * unary).astype(np.int64),
        edges,
        np.rint(UNIT * weights).astype(np.int64),
        fixed,
    )
    labels = classes[chosen][regions].astype(np.uint8)
    return np.where(scribble == IGNORE, labels, scribble)


def neighbours(regions: NDArray[np.int64]) -> NDArray[np.int64]:
    pairs = np.concatenate(
        [
            np.stack([regions[:, :-1].ravel(), regions[:, 1:].ravel()], axis=1),
            np.stack([regions[:-1].ravel(), regions[1:].ravel()], axis=1),
        ]
    )
    pairs = np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1)
    return np.unique(pairs, axis=0).reshape(-1, 2)


def colours(image: NDArray[np.uint8], regions: NDArray[np.int64]) -> NDArray[np.float64]:
    bins = image.astype(np.int64) * 25 // 256 + 25 * np.arange(3)
    return histograms(bins, regions, 75)


def textures(image: NDArray[np.uint8], regions: NDArray[np.int64]) -> NDArray[np.float64]:
    grey = image.mean(2)
    slopes = np.stack([np.gradient(grey, axis=axis) for axis in range(2)])
    roots = np.sign(slopes) * np.sqrt(np.abs(slopes) / 127.5)
    bins = np.clip(((roots + 1) / 2 * 10).astype(np.int64), 0, 9)
    bins = np.moveaxis(bins, 0, -1) + 10 * np.arange(len(slopes))
    return histograms(bins, regions, 20)


def histograms(
    bins: NDArray[np.int64], regions: NDArray[np.int64], size: int
) -> NDArray[np.float64]:
    count = int(regions.max()) + 1
    places = (regions[..., None] * size + bins).ravel()
    counts = np.bincount(places, minlength=count * size).reshape(count, size)
    return counts / counts.sum(1, keepdims=True)


if __name__ == "__main__":
    show(rows())
