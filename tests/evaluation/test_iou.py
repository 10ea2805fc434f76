import numpy as np
import pytest

from bpg.errors import BPGError
from bpg.evaluation.iou import confusion_matrix, iou_metrics

TRUTH = np.array([[0, 0, 0, 1], [1, 1, 255, 255]], np.uint8)
PREDICTION = np.array([[0, 0, 1, 1], [1, 2, 0, 2]], np.uint8)


def test_counts_by_hand():
    matrix = confusion_matrix(TRUTH, PREDICTION, 4)
    assert matrix.dtype == np.int64
    assert matrix.tolist() == [[2, 1, 0, 0], [0, 2, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_scores_by_hand():
    result = iou_metrics(confusion_matrix(TRUTH, PREDICTION, 4))
    # Class 2 is predicted but never true: no score of its own, yet it costs class 1 a pixel.
    assert result["iou"] == [pytest.approx(200 / 3), pytest.approx(50), None, None]
    assert result["miou"] == pytest.approx((200 / 3 + 50) / 2)
    assert result["pixel_accuracy"] == pytest.approx(100 * 4 / 6)


def test_a_class_that_is_true_but_never_found_counts_as_zero():
    result = iou_metrics(np.array([[4, 0], [2, 0]]))
    assert result["iou"] == [pytest.approx(400 / 6), 0.0]
    assert result["miou"] == pytest.approx(200 / 6)


def test_large_label_numbers_do_not_overflow():
    truth = np.array([[19, 20, 20]], np.uint8)
    matrix = confusion_matrix(truth, truth, 21)
    assert (matrix[19, 19], matrix[20, 20], matrix.sum()) == (1, 2, 3)


@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [
        ([[3, 0]], [[0, 0]], "truth has label 3"),
        ([[0, 0]], [[0, 3]], "prediction has label 3"),
        ([[0, 255]], [[0, 255]], "prediction has label 255"),
    ],
)
def test_a_label_out_of_range_is_refused(truth, prediction, message):
    with pytest.raises(BPGError, match=message):
        confusion_matrix(np.array(truth, np.uint8), np.array(prediction, np.uint8), 3)


def test_nothing_to_score_is_refused():
    truth = np.full((2, 2), 255, np.uint8)
    with pytest.raises(BPGError, match="no labelled pixel"):
        iou_metrics(confusion_matrix(truth, np.zeros_like(truth), 3))


def test_agrees_with_torchmetrics():
    torch = pytest.importorskip("torch")
    classification = pytest.importorskip("torchmetrics.classification")
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, (3, 40, 50)).astype(np.uint8)  # class 4 is predicted only
    truth[rng.random(truth.shape) < 0.1] = 255
    prediction = np.where(rng.random(truth.shape) < 0.6, truth, rng.integers(0, 5, truth.shape))
    prediction[prediction == 255] = 0
    prediction = prediction.astype(np.uint8)

    # Six classes: 5 occurs nowhere. Counted over all images at once, as VOC does.
    ours = iou_metrics(
        sum(confusion_matrix(t, p, 6) for t, p in zip(truth, prediction, strict=True))
    )
    metric = classification.MulticlassJaccardIndex(6, average="none", ignore_index=255)
    for t, p in zip(truth, prediction, strict=True):
        metric.update(torch.from_numpy(p[None]).long(), torch.from_numpy(t[None]).long())
    theirs = 100 * metric.compute().numpy()

    assert ours["iou"][:4] == pytest.approx(theirs[:4].tolist(), abs=1e-4)
    assert ours["iou"][4:] == [None, None]
    assert ours["miou"] == pytest.approx(theirs[:4].mean(), abs=1e-4)
    accuracy = classification.MulticlassAccuracy(6, average="micro", ignore_index=255)
    expected = accuracy(torch.from_numpy(prediction).long(), torch.from_numpy(truth).long())
    assert ours["pixel_accuracy"] == pytest.approx(100 * float(expected), abs=1e-4)


def test_macro_mean_agrees_with_torchmetrics_where_all_classes_occur():
    torch = pytest.importorskip("torch")
    classification = pytest.importorskip("torchmetrics.classification")
    rng = np.random.default_rng(1)
    truth, prediction = rng.integers(0, 7, (2, 60, 60)).astype(np.uint8)
    metric = classification.MulticlassJaccardIndex(7, ignore_index=255)
    expected = metric(torch.from_numpy(prediction).long(), torch.from_numpy(truth).long())
    assert iou_metrics(confusion_matrix(truth, prediction, 7))["miou"] == pytest.approx(
        100 * float(expected), abs=1e-4
    )
