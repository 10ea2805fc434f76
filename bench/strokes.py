"""Strokes to labels, beside OpenCV's thick lines: `python -m bench.strokes`.

OpenCV is faster and not used: it draws wider lines than asked for. The row says which share of the
pixels either labels, and how many have a centre within half the width of a line.
"""

import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np

from bench.measure import CLASSES, HEIGHT, WIDTH, Row, in_turns, show
from bpg.data.formats.scribblesup import write_scribblesup
from bpg.data.scribbles import read_strokes
from bpg.data.strokes import Line, Stroke, Strokes, rasterise
from bpg.opencv import cv2

NAMES = [f"class{number}" for number in range(CLASSES)]
LINE, COUNT = 3, 50


def strokes(seed: int) -> Strokes:
    """Three strokes of 23 points, as ScribbleSup's files have on average."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(3):
        steps = np.cumsum(rng.normal(0, 6, (23, 2)), 0) + rng.uniform(0.2, 0.8, 2) * (WIDTH, HEIGHT)
        points = np.clip(steps, 0, (WIDTH - 1, HEIGHT - 1)).round() + 0.5
        line = Line(tuple(map(tuple, points.tolist())))
        found.append(Stroke(NAMES[rng.integers(CLASSES)], line))
    return Strokes(WIDTH, HEIGHT, tuple(found))


def by_opencv(given: Strokes) -> np.ndarray:
    labels = np.full((given.height, given.width), 255, np.uint8)
    for stroke in given.strokes:
        points = (np.array(stroke.shape.points) - 0.5).astype(np.int32)
        cv2.polylines(labels, [points], False, NAMES.index(stroke.tag), LINE)
    return labels


def exactly(given: Strokes) -> np.ndarray:
    labels = np.full((given.height, given.width), 255, np.uint8)
    y, x = np.mgrid[: given.height, : given.width] + 0.5
    for stroke in given.strokes:
        points = np.array(stroke.shape.points)
        for (x0, y0), (x1, y1) in pairwise(points):
            length = (x1 - x0) ** 2 + (y1 - y0) ** 2
            along = ((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / max(length, 1e-9)
            along = along.clip(0, 1)
            away = (x - x0 - along * (x1 - x0)) ** 2 + (y - y0 - along * (y1 - y0)) ** 2
            labels[away <= (LINE / 2) ** 2] = NAMES.index(stroke.tag)
    return labels


def rows() -> list[Row]:
    given = [strokes(seed) for seed in range(COUNT)]
    times = in_turns(
        lambda: [rasterise(one, NAMES, LINE) for one in given],
        lambda: [by_opencv(one) for one in given],
    )
    drawn = {
        name: 100 * np.mean([(way(one) != 255).mean() for one in given[:10]])
        for name, way in {
            "ours": lambda one: rasterise(one, NAMES, LINE),
            "theirs": by_opencv,
            "exact": exactly,
        }.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.xml" for number in range(COUNT)]
        for path, one in zip(paths, given, strict=True):
            write_scribblesup(path, one)
        reading, _ = in_turns(lambda: [read_strokes(path) for path in paths], lambda: None)
    return [
        Row(
            "drawing the strokes of an image",
            *(taken / COUNT for taken in times),
            "where faster",
            f"reading its XML takes {reading / COUNT:.2f} ms",
            "labelled {ours:.2f} % of the pixels, theirs {theirs:.2f}, exact {exact:.2f}".format(
                **drawn
            ),
        )
    ]


if __name__ == "__main__":
    show(rows())
