"""Labels for all pixels by GrabCut (Rother et al., SIGGRAPH 2004), one class after another."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bpg.constants import IGNORE
from bpg.opencv import cv2
from bpg.propagation.options import GrabCutOptions

_UNUSED = (0, 0, 1, 1)  # a rectangle, for another way of starting
_MIXTURE = 65  # numbers of five Gaussians of colours: weights, means, covariances
_SEED = 0  # of the k-means that starts the mixtures: the labels are made once for all seeds


def grabcut_labels(
    image: NDArray[np.uint8], scribble: NDArray[np.uint8], options: GrabCutOptions
) -> NDArray[np.uint8]:
    """Label the pixels of an image that GrabCut gives to one class.

    Each class that has strokes is cut out from the rest: its strokes are certain foreground, those
    of all other classes certain background. A pixel gets the class that alone claims it. Where no
    class does or several do, it stays 255, and so does an image with strokes of one class only:
    there is nothing to separate it from.

    Args:
        image: (H, W, 3), RGB.
        scribble: Labels (H, W); 255 = nothing drawn.
        options: Of GrabCut.

    Returns:
        Labels uint8 (H, W), 255 = unknown; the pixels of the strokes keep theirs.
    """
    drawn = scribble != IGNORE
    classes = np.unique(scribble[drawn])
    if len(classes) < 2:
        return scribble.copy()
    claims = {
        int(label): _foreground(image, scribble == label, drawn & (scribble != label), options)
        for label in classes
    }
    return np.where(drawn, scribble, combine(claims))


def combine(claims: Mapping[int, NDArray[np.bool_]]) -> NDArray[np.uint8]:
    """Give each pixel to the class that alone claims it.

    Args:
        claims: {label: its pixels (H, W)}, at least one.

    Returns:
        Labels (H, W), 255 where no class or several claim a pixel.
    """
    labels = np.full(next(iter(claims.values())).shape, IGNORE, np.uint8)
    for label, claimed in claims.items():
        labels[claimed] = label
    labels[np.sum(list(claims.values()), axis=0) != 1] = IGNORE
    return labels


def _foreground(
    image: NDArray[np.uint8],
    inside: NDArray[np.bool_],
    outside: NDArray[np.bool_],
    options: GrabCutOptions,
) -> NDArray[np.bool_]:
    """Cut out what belongs to the strokes `inside` (H, W), not to those `outside` (H, W).

    OpenCV would fit the first mixtures to all pixels, each with the probable side that its mask
    gives it; strokes are few, so that one of the two would be a mixture of nearly the whole image.
    Here they are fitted to the strokes alone, and the first cut is made with these.
    """
    cv2.setRNGSeed(_SEED)  # of this thread
    drawn = inside | outside
    strokes, sides = image[drawn][None], inside[drawn].astype(np.uint8)[None]
    back, front = np.zeros((1, _MIXTURE)), np.zeros((1, _MIXTURE))
    cv2.grabCut(strokes, sides, _UNUSED, back, front, 1, cv2.GC_INIT_WITH_MASK)
    mask = np.full(inside.shape, cv2.GC_PR_BGD, np.uint8)
    mask[outside], mask[inside] = cv2.GC_BGD, cv2.GC_FGD
    cv2.grabCut(image, mask, _UNUSED, back, front, 1, cv2.GC_EVAL_FREEZE_MODEL)
    if options.iterations > 1:
        cv2.grabCut(image, mask, _UNUSED, back, front, options.iterations - 1, cv2.GC_EVAL)
    return (mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)
