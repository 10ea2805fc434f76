"""Convert the dense CRF loss's published weight to ours: `python -m bench.published_weights TAR`.

TAR is VOCtrainval_11-May-2012.tar, the official one or a sample in its layout. The published loss
(rloss) sums the energy over the pairs of pixels of crops of 513x513, taken at half size, and
divides by the number of images; ours divides by the sum of the affinities instead. So
ours = published · (mean over images of the sum of the affinities), which is measured here.
"""

import io
import sys
import tarfile
import time

import numpy as np
import torch
from PIL import Image

from bpg.grid import halve
from bpg.losses.gaussian_filter import gaussian_sums, pixel_features

PUBLISHED, CROP, XY, RGB = 2e-9, 513, 100, 15  # rloss, its PyTorch version
PICTURES = 12


def main() -> None:
    sums = []
    with tarfile.open(sys.argv[1]) as archive:
        names = sorted(name for name in archive.getnames() if name.endswith(".jpg"))
        for name in names[:: max(1, len(names) // PICTURES)][:PICTURES]:
            started = time.monotonic()
            content = archive.extractfile(name).read()
            total = affinity_sum(Image.open(io.BytesIO(content)).convert("RGB"))
            sums.append(total)
            seconds = time.monotonic() - started
            print(f"{name}: {total:.3e}, {seconds:.1f} s", flush=True)
    mean, deviation = np.mean(sums), np.std(sums, ddof=1)
    print(f"sum of the affinities: {mean:.3e} ± {deviation:.1e} ({len(sums)} images)")
    print(f"published {PUBLISHED:g} is {PUBLISHED * mean:.3f} ± {PUBLISHED * deviation:.3f} here")


def affinity_sum(picture: Image.Image) -> float:
    """Sum of A over all pairs of the image's middle square, at half size."""
    scale = CROP / min(picture.size)
    size = [max(CROP, round(side * scale)) for side in picture.size]
    left, top = ((side - CROP) // 2 for side in size)
    square = picture.resize(size, Image.Resampling.BILINEAR).crop(
        (left, top, left + CROP, top + CROP)
    )
    image = torch.from_numpy(np.array(square)).permute(2, 0, 1)[None].float()
    features = pixel_features(halve(image), xy=XY, rgb=RGB, spacing=2)
    return float(gaussian_sums(features, torch.ones(1, 1, features.shape[2])).double().sum())


if __name__ == "__main__":
    main()
