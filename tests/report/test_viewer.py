import base64
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from bpg.data.masks import write_mask
from bpg.report.viewer import choose, rule, scores_by_image, shot


def counts(hits, seeds=1):
    """One class on each image, of 100 pixels, so many of them found: (images, 2, 2, 3, 2)."""
    found = np.zeros((len(hits), 2, 2, 3, 2), np.int32)
    found[:, 0, 0, 0, 1] = hits
    found[:, 0, 0, 1, 1] = 100
    found[:, 0, 0, 2, 1] = hits
    return [found] * seeds


def test_an_images_score_is_its_iou_over_its_classes_and_the_seeds():
    seeds = [*counts([50, 100]), *counts([70, 100])]
    np.testing.assert_allclose(scores_by_image(seeds), [60, 100])
    seeds[0][1] = seeds[1][1] = 0  # not a labelled pixel
    assert np.isnan(scores_by_image(seeds)[1])


def test_best_typical_and_worst_by_the_gain_over_the_baseline():
    gains = [0, 40, -10, 5, 30, 3, 20, -20, 4, -30, 1]
    found = choose(
        {"bpg": counts([50 + gain for gain in gains]), "scribble": counts([50] * len(gains))},
        "bpg",
        "scribble",
    )
    assert [one.place for one in found] == [1, 4, 6, 8, 5, 10, 2, 7, 9]
    assert [one.why for one in found] == [
        *("best, +40.0", "best, +30.0", "best, +20.0"),
        *("typical, +4.0", "typical, +3.0", "typical, +1.0"),
        *("worst, −10.0", "worst, −20.0", "worst, −30.0"),
    ]
    assert rule("BPG", "DeepLab").startswith("Ordered by BPG's mIoU of the image minus that of")


@pytest.mark.parametrize(
    ("hits", "expected"),
    [
        ([10], ["best, 10.0"]),
        ([10, 30], ["best, 30.0", "worst, 10.0"]),
        ([10, 30, 20], ["best, 30.0", "typical, 20.0", "worst, 10.0"]),
        ([10, 30, 20, 40, 50], ["best, 50.0", "typical, 30.0", "worst, 10.0"]),
        (
            [10, 20, 30, 40, 50, 60],
            [
                *("best, 60.0", "best, 50.0"),
                *("typical, 40.0", "typical, 30.0"),
                *("worst, 20.0", "worst, 10.0"),
            ],
        ),
    ],
)
def test_by_its_own_score_without_a_baseline_and_few_images(hits, expected):
    assert [one.why for one in choose({"bpg": counts(hits)}, "bpg", None)] == expected


def test_a_large_image_is_shrunk_with_its_labels(tmp_path):
    image, mask = tmp_path / "a.jpg", tmp_path / "mask.png"
    Image.fromarray(np.full((1500, 2000, 3), 90, np.uint8)).save(image)
    labels = np.zeros((1500, 2000), np.uint8)
    labels[:750] = 7
    write_mask(mask, labels)
    for layer in shot("a", "best", image, {"truth": mask}).layers:
        with Image.open(BytesIO(base64.b64decode(layer.data.partition(",")[2]))) as small:
            assert small.size == (1000, 750)
            if layer.name == "truth":
                assert small.mode == "P"
                found = np.asarray(small)
    assert set(np.unique(found)) == {0, 7}
    assert (found == 7).mean() == 0.5


@pytest.mark.parametrize(("side", "kind"), [(16, "png"), (200, "jpeg")])
def test_a_small_image_is_kept_and_a_large_one_becomes_a_jpeg(tmp_path, side, kind):
    image, mask = tmp_path / "a.png", tmp_path / "mask.png"
    pixels = np.random.default_rng(0).integers(0, 255, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(image)
    write_mask(mask, np.zeros((side, side), np.uint8))
    found = shot("a", "best", image, {"truth": mask}, {"truth": "note"})
    assert [(layer.name, layer.note) for layer in found.layers] == [
        ("image", ""),
        ("truth", "note"),
    ]
    head, _, data = found.layers[0].data.partition(",")
    assert head == f"data:image/{kind};base64"
    if kind == "png":
        assert base64.b64decode(data) == image.read_bytes()
    assert base64.b64decode(found.layers[1].data.partition(",")[2]) == mask.read_bytes()
