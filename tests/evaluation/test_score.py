import json

import numpy as np
import pytest

from bpg.data.masks import write_mask
from bpg.errors import BPGError
from bpg.evaluation.boundary import boundary_counts, trimap_counts
from bpg.evaluation.iou import class_counts, class_iou, confusion_matrix, iou_metrics, mean_iou
from bpg.evaluation.score import score

CLASSES = ["background", "cat", "dog"]


@pytest.fixture
def folders(tmp_path):
    truth = {"a": [[0, 1], [1, 255]], "b": [[0, 0, 2]]}
    raw = {"a": [[0, 1], [0, 2]], "b": [[0, 2, 2]]}
    crf = {"a": [[0, 1], [1, 0]], "b": [[0, 0, 2]]}
    for name, masks in (("masks", truth), ("raw", raw), ("crf", crf)):
        (tmp_path / name).mkdir()
        for image_id, labels in masks.items():
            write_mask(tmp_path / name / f"{image_id}.png", np.array(labels, np.uint8))
    return tmp_path / "masks", tmp_path / "raw", tmp_path / "crf"


def test_scores_both_kinds_over_all_images(folders):
    result, _ = score(["a", "b"], *folders, CLASSES)
    assert result == json.loads(json.dumps(result, allow_nan=False))
    assert result["classes"] == CLASSES
    assert result["raw"]["confusion"] == [[2, 0, 1], [1, 1, 0], [0, 0, 1]]
    assert result["raw"]["iou"] == [50.0, 50.0, 50.0]
    assert result["raw"]["miou"] == 50.0
    assert result["raw"]["pixel_accuracy"] == pytest.approx(100 * 4 / 6)
    assert result["crf"]["miou"] == result["crf"]["pixel_accuracy"] == 100.0


def test_only_the_listed_images_count(folders):
    result, counts = score(["a"], *folders, CLASSES)
    assert result["raw"]["iou"] == [50.0, 50.0, None]
    assert result["raw"]["boundary_iou_by_class"][2] is None
    assert counts.shape == (1, 2, 2, 3, 3)


def test_the_counts_by_hand(folders):
    _, counts = score(["a", "b"], *folders, CLASSES)
    assert counts.dtype == np.int32
    assert counts.shape == (2, 2, 2, 3, 3)
    assert counts[0, 0, 0].tolist() == [[1, 1, 0], [1, 2, 0], [2, 1, 0]]
    assert counts[1, 0, 0].tolist() == [[1, 0, 1], [2, 0, 1], [1, 0, 2]]
    assert counts[1, 1, 0].tolist() == [[2, 0, 1], [2, 0, 1], [2, 0, 1]]
    # So small that every pixel is near a contour.
    assert (counts[:, :, 1] == counts[:, :, 0]).all()


@pytest.fixture
def larger(tmp_path):
    """Three images of several sizes, each a block in a ring of 255, and noisy predictions."""
    rng = np.random.default_rng(0)
    labels = {"masks": {}, "raw": {}, "crf": {}}
    for image_id, (height, width) in {"a": (60, 90), "b": (72, 48), "c": (30, 100)}.items():
        truth = np.zeros((height, width), np.uint8)
        truth[10:-10, 8:-20] = 255
        truth[12:-12, 10:-22] = 1 if image_id == "a" else 2
        labels["masks"][image_id] = truth
        for kind, wrong in (("raw", 0.2), ("crf", 0.05)):
            moved = np.roll(np.where(truth == 255, 0, truth), 2, axis=1)
            noise = rng.random(truth.shape) < wrong
            labels[kind][image_id] = np.where(noise, rng.integers(0, 3, truth.shape), moved)
    for name, masks in labels.items():
        (tmp_path / name).mkdir()
        for image_id, values in masks.items():
            labels[name][image_id] = values.astype(np.uint8)
            write_mask(tmp_path / name / f"{image_id}.png", labels[name][image_id])
    return [tmp_path / name for name in labels], labels


def test_the_scores_are_those_of_the_parts(larger):
    folders, labels = larger
    ids = ["c", "a", "b"]
    metrics, counts = score(ids, *folders, CLASSES)
    for kind, key in enumerate(("raw", "crf")):
        pairs = [(labels["masks"][i], labels[key][i]) for i in ids]
        expected = iou_metrics(sum(confusion_matrix(*pair, 3) for pair in pairs))
        assert {name: metrics[key][name] for name in expected} == expected
        for image, pair in enumerate(pairs):
            assert (counts[image, kind, 0] == class_counts(*pair, 3)).all()
            assert (counts[image, kind, 1] == boundary_counts(*pair, 3)).all()
        assert mean_iou(counts[:, kind, 0].sum(0)) == pytest.approx(expected["miou"])
        boundary = sum(boundary_counts(*pair, 3) for pair in pairs)
        assert metrics[key]["boundary_iou"] == mean_iou(boundary)
        assert metrics[key]["boundary_iou_by_class"] == class_iou(boundary).tolist()
        trimap = mean_iou(sum(trimap_counts(*pair, 3) for pair in pairs))
        assert metrics[key]["trimap"] == trimap.tolist()
        assert len(trimap) == 40
        assert metrics[key]["boundary_iou"] < metrics[key]["miou"]
    assert metrics["raw"]["boundary_iou"] < metrics["crf"]["boundary_iou"]


def test_what_has_no_boundary_has_no_score(tmp_path):
    for name in ("masks", "raw", "crf"):
        (tmp_path / name).mkdir()
        write_mask(tmp_path / name / "a.png", np.zeros((9, 9), np.uint8))
    folders = [tmp_path / name for name in ("masks", "raw", "crf")]
    metrics, _ = score(["a"], *folders, CLASSES)
    # The frame is contour for the one measure, but no boundary for the other.
    assert metrics["raw"]["boundary_iou"] == 100.0
    assert metrics["raw"]["trimap"] == [None] * 40

    # A single scored pixel in a sea of ignored ones: no contour of the truth is near it.
    truth = np.full((9, 9), 255, np.uint8)
    truth[4, 4] = 1
    write_mask(tmp_path / "masks" / "a.png", truth)
    metrics, _ = score(["a"], *folders, CLASSES)
    assert metrics["raw"]["boundary_iou"] is None
    assert metrics["raw"]["boundary_iou_by_class"] == [None] * 3
    json.dumps(metrics, allow_nan=False)


def test_another_size_names_both_files(folders):
    masks, raw, crf = folders
    write_mask(crf / "b.png", np.zeros((2, 3), np.uint8))
    with pytest.raises(BPGError) as error:
        score(["a", "b"], masks, raw, crf, CLASSES)
    assert str(crf / "b.png") in str(error.value)
    assert str(masks / "b.png") in str(error.value)
    assert "3x2 and 3x1" in str(error.value)


def test_a_wrong_label_names_the_file(folders):
    masks, _, crf = folders
    with pytest.raises(BPGError, match=r"b\.png.*label 2"):
        score(["a", "b"], masks, crf, crf, CLASSES[:2])


def test_a_missing_prediction_names_the_file(folders):
    masks, raw, crf = folders
    (raw / "b.png").unlink()
    with pytest.raises(BPGError, match=r"raw/b\.png"):
        score(["a", "b"], masks, raw, crf, CLASSES)


def test_no_image_is_an_error(folders):
    with pytest.raises(BPGError, match="empty"):
        score([], *folders, CLASSES)


def test_held_out_strokes_have_no_boundaries(folders):
    with_them, _ = score(["a", "b"], *folders, CLASSES)
    result, counts = score(["a", "b"], *folders, CLASSES, boundaries=False)
    assert result["raw"]["iou"] == with_them["raw"]["iou"]
    assert result["raw"]["boundary_iou"] is None
    assert set(result["crf"]["trimap"]) == {None}
    assert not counts[:, :, 1].any()
    assert counts[:, :, 0].any()
