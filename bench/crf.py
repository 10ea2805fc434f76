"""The dense CRF over a validation set, against pydensecrf: `python -m bench.crf`.

Theirs: all 21 classes, one process, as its README has it. Ours: probability files read, as the
stage does, over all cores. Floor: the bytes that splatting, blurring and slicing of the classes
kept must move, at the bandwidth of a copy.
"""

import tempfile
from pathlib import Path

import numpy as np
from joblib import Parallel, cpu_count, delayed
from pydensecrf import densecrf

from bench.measure import Row, copy_bandwidth, in_turns, photographs, probabilities, show
from bpg.evaluation.iou import confusion_matrix, iou_metrics
from bpg.inference.crf import dense_crf
from bpg.inference.options import CRFOptions
from bpg.inference.probabilities import SUFFIX, read_probabilities, write_probabilities

OPTIONS = CRFOptions(10, 3, 1, 4, 67, 3)


def plain(image: np.ndarray, unsure: np.ndarray) -> np.ndarray:
    classes, height, width = unsure.shape
    crf = densecrf.DenseCRF2D(width, height, classes)
    crf.setUnaryEnergy(np.ascontiguousarray(-np.log(unsure).reshape(classes, -1)))
    crf.addPairwiseGaussian(sxy=OPTIONS.gaussian_xy, compat=OPTIONS.gaussian_weight)
    crf.addPairwiseBilateral(
        sxy=OPTIONS.bilateral_xy,
        srgb=OPTIONS.bilateral_rgb,
        rgbim=image,
        compat=OPTIONS.bilateral_weight,
    )
    return np.array(crf.inference(OPTIONS.iterations)).argmax(0).reshape(height, width)


def truth_of(image: np.ndarray, seed: int) -> np.ndarray:
    """Labels whose borders are the photograph's: what a CRF is for."""
    from skimage.segmentation import felzenszwalb  # noqa: PLC0415 slow to import

    pieces = felzenszwalb(image, scale=800, sigma=1, min_size=1500)
    return np.random.default_rng(seed).integers(0, 21, pieces.max() + 1)[pieces].astype(np.uint8)


def measure(name: str, sharpness: float, noise: float) -> Row:
    images = photographs()
    truths = [truth_of(image, seed) for seed, image in enumerate(images)]
    unsure = [probabilities(t, sharpness, noise, n) for n, t in enumerate(truths)]
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}{SUFFIX}" for number in range(len(images))]
        for path, one in zip(paths, unsure, strict=True):
            write_probabilities(path, one)
        found = {}

        def refine(number: int) -> np.ndarray:
            classes, stored = read_probabilities(paths[number])
            return dense_crf(images[number], classes, stored, OPTIONS)

        def ours() -> None:
            jobs = (delayed(refine)(number) for number in range(len(images)))
            found["ours"] = Parallel(n_jobs=-1, prefer="threads")(jobs)

        def theirs() -> None:
            found["theirs"] = list(map(plain, images, unsure))

        seconds = [taken / len(images) for taken in in_turns(ours, theirs, rounds=3)]
        kept = np.mean([len(read_probabilities(path)[0]) for path in paths])
    miou = {
        way: iou_metrics(sum(map(confusion_matrix, truths, labels, [21] * len(truths))))["miou"]
        for way, labels in ({k: [m.astype(np.uint8) for m in v] for k, v in found.items()}).items()
    }
    floor = traffic(images[0].shape[0] * images[0].shape[1]) / copy_bandwidth() / cpu_count()
    return Row(
        f"dense CRF, {name} network ({kept:.1f} of 21 classes kept)",
        *seconds,
        "≥ 10",
        f"{floor:.1f} ms: lattice rows of one channel, 10 iterations",
        f"mIoU {miou['ours']:.2f}, theirs {miou['theirs']:.2f}",
    )


def traffic(pixels: int) -> float:
    """Bytes of ten iterations with one channel (two classes), 2.6 vertices a pixel."""
    vertices = 2.6 * pixels
    splat_and_slice = 2 * pixels * 6 * (4 + 4 + 4)  # a number, a weight and a value a corner
    blur = 6 * vertices * (2 * 4 + 4 * 4)  # two numbers; three values read, one written
    return 10 * (splat_and_slice + blur)


def rows() -> list[Row]:
    return [measure("a sure", 12, 0.5), measure("an unsure", 8, 1)]


if __name__ == "__main__":
    show(rows())
