"""HED on BSDS500: `python -m bench.bsds FOLDER [THRESHOLDS]`.

FOLDER is the archive's `BSDS500/data`, with `images/test/*.jpg` and `groundTruth/test/*.mat`.
Prints ODS, OIS and AP over the 200 test images at 99 thresholds; fewer thresholds take less time.
Published for HED (Xie and Tu, ICCV 2015, Table 4): ODS .782, OIS .804, AP .833, with the average of
the side outputs; the weights here are another training (`bpg/edges/hed.py`).
"""

import sys
from pathlib import Path

import numpy as np
import torch
from joblib import Parallel, delayed
from numpy.typing import NDArray
from scipy.io import loadmat
from tqdm import tqdm

from bpg.data.masks import read_image
from bpg.download.weights import HED
from bpg.edges.benchmark import count, score, thinned
from bpg.edges.hed import edge_map, load_hed
from bpg.errors import BPGError
from pipeline.paths import HED_WEIGHTS


def contours(path: Path) -> list[NDArray[np.bool_]]:
    """Read what each person has drawn on an image.

    Raises:
        BPGError: The file is no ground truth of BSDS500; the message names it.
    """
    try:
        people = loadmat(path, simplify_cells=True)["groundTruth"]
        return [np.asarray(one["Boundaries"], bool) for one in np.atleast_1d(people)]
    except (OSError, ValueError, KeyError, TypeError, NotImplementedError) as error:
        raise BPGError(f"{path}: no ground truth of BSDS500 ({error})") from error


def main() -> None:
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python -m bench.bsds BSDS500/data [THRESHOLDS]")
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)  # an image on each core
    thresholds = [number / 100 for number in range(1, 100)]
    if len(sys.argv) > 2:
        thresholds = [float(t) for t in np.linspace(0.01, 0.99, int(sys.argv[2]))]
    images = sorted((folder / "images/test").glob("*.jpg"))
    if not images:
        sys.exit(f"{folder}/images/test: no images; name the folder BSDS500/data")
    model = load_hed(HED.verified(HED_WEIGHTS))

    def one(path: Path) -> NDArray[np.int64]:
        edges = edge_map(model, read_image(path)) / 255
        truth = contours(folder / f"groundTruth/test/{path.stem}.mat")
        return count(thinned(edges), truth, thresholds)

    parallel = Parallel(n_jobs=-1, prefer="threads", return_as="generator")
    counted = parallel(delayed(one)(path) for path in images)
    counts = np.stack(list(tqdm(counted, "BSDS500", len(images))))
    found = score(counts, thresholds)
    print(f"{len(images)} images: ODS {found.ods:.3f} at {found.threshold:.2f}, ", end="")
    print(f"OIS {found.ois:.3f}, AP {found.ap:.3f}")


if __name__ == "__main__":
    main()
