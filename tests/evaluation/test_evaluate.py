import json

import numpy as np
import pytest

from bpg.data.masks import write_mask
from bpg.errors import BPGError
from bpg.evaluation.evaluate import evaluate

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
    result = evaluate(["a", "b"], *folders, CLASSES)
    assert result == json.loads(json.dumps(result, allow_nan=False))
    assert result["classes"] == CLASSES
    assert result["raw"]["confusion"] == [[2, 0, 1], [1, 1, 0], [0, 0, 1]]
    assert result["raw"]["iou"] == [50.0, 50.0, 50.0]
    assert result["raw"]["miou"] == 50.0
    assert result["raw"]["pixel_accuracy"] == pytest.approx(100 * 4 / 6)
    assert result["crf"]["miou"] == result["crf"]["pixel_accuracy"] == 100.0


def test_only_the_listed_images_count(folders):
    assert evaluate(["a"], *folders, CLASSES)["raw"]["iou"] == [50.0, 50.0, None]


def test_another_size_names_both_files(folders):
    masks, raw, crf = folders
    write_mask(crf / "b.png", np.zeros((2, 3), np.uint8))
    with pytest.raises(BPGError) as error:
        evaluate(["a", "b"], masks, raw, crf, CLASSES)
    assert str(crf / "b.png") in str(error.value)
    assert str(masks / "b.png") in str(error.value)
    assert "3x2 and 3x1" in str(error.value)


def test_a_wrong_label_names_the_file(folders):
    masks, _, crf = folders
    with pytest.raises(BPGError, match=r"b\.png.*label 2"):
        evaluate(["a", "b"], masks, crf, crf, CLASSES[:2])


def test_a_missing_prediction_names_the_file(folders):
    masks, raw, crf = folders
    (raw / "b.png").unlink()
    with pytest.raises(BPGError, match=r"raw/b\.png"):
        evaluate(["a", "b"], masks, raw, crf, CLASSES)


def test_no_image_is_an_error(folders):
    with pytest.raises(BPGError, match="empty"):
        evaluate([], *folders, CLASSES)
