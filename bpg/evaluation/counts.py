"""Region counts: what each image adds to an IoU, so that any set of images can be scored later."""

from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bpg.errors import BPGError
from bpg.evaluation.confusion import confusion_matrix
from bpg.files import whole_file


def class_counts(
    truth: NDArray[np.uint8], prediction: NDArray[np.uint8], classes: int
) -> NDArray[np.int64]:
    """Count the pixels of [intersection, truth, prediction] by class: (3, classes).

    Labels as in `confusion_matrix`: 0..classes-1, pixels where `truth` is 255 are not counted,
    any other label raises BPGError.
    """
    return counts_of(confusion_matrix(truth, prediction, classes))


def counts_of(confusion: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the counts (3, classes) in a [truth, prediction] matrix of pixel counts."""
    return np.stack([np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)])


def class_iou(counts: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the IoU in percent, (..., classes), of counts (..., 3, classes).

    NaN for a class without a true pixel. To score a set of images, add their counts first.
    """
    hits, true, predicted = np.moveaxis(np.asarray(counts, np.float64), -2, 0)
    iou = np.full(true.shape, np.nan)
    return 100 * np.divide(hits, true + predicted - hits, out=iou, where=true > 0)


def mean_iou(counts: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the mean IoU in percent, (...), of counts (..., 3, classes), as `scores` defines it.

    The mean is over the classes that have a true pixel; NaN where no class has one.
    """
    iou = class_iou(counts)
    present = ~np.isnan(iou)
    number = present.sum(axis=-1)
    total = np.where(present, iou, 0).sum(axis=-1)
    return np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)


def write_counts(path: Path, counts: NDArray[np.int32]) -> None:
    """Write the int32 counts of `evaluate`, (images, 2, 2, 3, classes), as .npy; whole or not."""
    if counts.dtype != np.int32 or counts.ndim != 5 or counts.shape[1:4] != (2, 2, 3):
        raise ValueError(f"counts are int32 (images, 2, 2, 3, classes), not {_kind(counts)}")
    # By way of memory: of a full disk, NumPy's own writing says only how many bytes are missing.
    data = BytesIO()
    np.save(data, counts, allow_pickle=False)
    with whole_file(path) as partial:
        partial.write_bytes(data.getvalue())


def read_counts(path: Path, *, images: int, classes: int) -> NDArray[np.int32]:
    """Read what `write_counts` wrote: int32 (images, 2, 2, 3, classes).

    BPGError names the file if it is missing, cut off, no .npy or of another shape or type.
    """
    try:
        counts = np.load(BytesIO(path.read_bytes()), allow_pickle=False)
    except OSError as error:
        raise BPGError(f"{path}: cannot be read ({error.strerror}); run evaluate") from error
    except Exception as error:  # NumPy reads a broken header as Python, which raises anything
        raise BPGError(f"{path}: no .npy file, or cut off; evaluate the run anew") from error
    expected = (images, 2, 2, 3, classes)
    if not isinstance(counts, np.ndarray):
        raise BPGError(f"{path}: an archive and no .npy file; evaluate the run anew")
    if counts.shape != expected or counts.dtype != np.int32:
        raise BPGError(
            f"{path}: holds {_kind(counts)}, not int32 {expected}; evaluate the run anew"
        )
    return counts


def _kind(counts: np.ndarray) -> str:
    return f"{counts.dtype} {counts.shape}"
