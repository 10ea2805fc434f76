"""How near `bpg scribble` comes to strokes that are given: both beside each other.

    python -m bench.human_strokes MASKS STROKES --classes names.txt

MASKS are PNGs, STROKES holds ScribbleSup XML files of the same names. What a row means:

- strokes: number in an image
- labelled: share of the image's pixels that strokes of 3 pixels cover, in %
- right: share of those pixels that lie on the mask's label (255 left out), in %
- regions: share of the regions of 0.2 % of the image or more that a stroke runs through, in %
- length: of a stroke, over the square root of its region's area
- depth: distance of a stroke's points to its region's border, over the region's largest
- ends: the same at its two ends
- turn: mean change of direction from one step of 5 pixels to the next, in degrees
"""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np

from bpg.data.human_strokes import HandOptions, draw_strokes
from bpg.data.masks import read_mask
from bpg.data.scribble_masks import class_names
from bpg.data.scribbles import read_strokes
from bpg.data.strokes import Line, Strokes, covered, rasterise
from bpg.opencv import cv2

WIDTH, STEP, LEAST = 3, 5, 0.002


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("masks", type=Path)
    parser.add_argument("strokes", type=Path)
    parser.add_argument("--classes", required=True, help="names by label, or a file of them")
    parser.add_argument("--length", type=float, default=HandOptions().length)
    parser.add_argument("--jitter", type=float, default=HandOptions().jitter)
    given = parser.parse_args()
    classes = class_names(given.classes)
    options = HandOptions(length=given.length, jitter=given.jitter)
    ours, theirs = defaultdict(list), defaultdict(list)
    for number, path in enumerate(sorted(given.strokes.glob("*.xml"))):
        mask = read_mask(given.masks / f"{path.stem}.png")
        add(ours, draw_strokes(mask, classes, options, [0, number]), mask, classes)
        add(theirs, read_strokes(path), mask, classes)
    print(f"{number + 1} images\n")
    print("| | ours: mean | median | given: mean | median |\n" + "| --- " * 5 + "|")
    for row in ours:
        cells = (f"{f(side[row]):.2f}" for side in (ours, theirs) for f in (np.mean, np.median))
        print(f"| {row} | {' | '.join(cells)} |")


def add(
    found: dict[str, list[float]], strokes: Strokes, mask: np.ndarray, classes: tuple[str, ...]
) -> None:
    """Measure the strokes of one image."""
    drawn = rasterise(strokes, classes, WIDTH)
    labelled = drawn != 255
    found["strokes"].append(len(strokes.strokes))
    found["labelled"].append(100 * labelled.mean())
    known = labelled & (mask != 255)
    found["right"] += (100.0 * (drawn == mask)[known]).tolist()
    regions, areas, depths = parts(mask)
    large = np.flatnonzero(areas >= LEAST * mask.size)
    met = np.unique(regions[labelled & (drawn == mask)])
    found["regions"] += (100.0 * np.isin(large[large > 0], met)).tolist()
    for stroke in strokes.strokes:
        pixels = covered(stroke.shape, strokes.width, strokes.height, 1)
        height, width = pixels.mask.shape
        box = np.s_[pixels.top : pixels.top + height, pixels.left : pixels.left + width]
        inside = pixels.mask & (mask[box] == classes.index(stroke.tag))
        if not inside.any() or not isinstance(stroke.shape, Line):
            continue
        region = int(np.bincount(regions[box][inside]).argmax())
        kind = "background" if stroke.tag == classes[0] else "objects"
        points = np.array(stroke.shape.points)
        along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
        found[f"length, {kind}"].append(along[-1] / np.sqrt(areas[region]))
        most = depths[regions == region].max()
        deep = (depths * (regions == region))[box][inside] / most
        found[f"depth, {kind}"].append(float(deep.mean()))
        ends = points[[0, -1]].astype(int).clip(0, (strokes.width - 1, strokes.height - 1))
        at = regions[ends[:, 1], ends[:, 0]] == region
        found[f"ends, {kind}"] += (depths[ends[:, 1], ends[:, 0]] * at / most).tolist()
        if along[-1] >= 3 * STEP:
            places = np.arange(0, along[-1], STEP)
            x, y = (np.interp(places, along, points[:, axis]) for axis in (0, 1))
            angle = np.arctan2(np.diff(y), np.diff(x))
            turn = np.abs((np.diff(angle) + np.pi) % (2 * np.pi) - np.pi)
            found[f"turn, {kind}"].append(float(np.degrees(turn.mean())))


def parts(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number the connected regions from 1; return numbers, areas and distances to the border."""
    regions = np.zeros(mask.shape, int)
    depths = np.zeros(mask.shape, np.float32)
    for label in np.unique(mask[mask != 255]):
        numbers = cv2.connectedComponents((mask == label).astype(np.uint8), connectivity=4)[1]
        padded = np.pad((mask == label).astype(np.uint8), 1)
        inside = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
        depths[numbers > 0] = inside[numbers > 0]
        regions[numbers > 0] = numbers[numbers > 0] + regions.max()
    return regions, np.bincount(regions.ravel()), depths


if __name__ == "__main__":
    main()
