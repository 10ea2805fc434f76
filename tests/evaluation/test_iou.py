import numpy as np
import pytest

from bpg.errors import BPGError
from bpg.evaluation.iou import (
    class_counts,
    class_iou,
    confusion_matrix,
    iou_metrics,
    mean_iou,
    read_counts,
    write_counts,
)

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


def _random(seed, shape=(3, 40, 50)):
    """Labels 0..3 with ignored pixels; the prediction has label 4 as well."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 4, shape).astype(np.uint8)
    prediction = np.where(rng.random(shape) < 0.6, truth, rng.integers(0, 5, shape))
    truth[rng.random(shape) < 0.1] = 255
    return truth, prediction.astype(np.uint8)


def test_class_counts_by_hand():
    counts = class_counts(TRUTH, PREDICTION, 4)
    assert counts.tolist() == [[2, 2, 0, 0], [3, 3, 0, 0], [2, 3, 1, 0]]
    assert class_iou(counts)[:2].tolist() == [pytest.approx(200 / 3), 50.0]
    assert np.isnan(class_iou(counts)[2:]).all()
    assert mean_iou(counts) == pytest.approx((200 / 3 + 50) / 2)


def test_predictions_in_ignored_pixels_do_not_count():
    truth, prediction = _random(0)
    other = np.where(truth == 255, 3 - prediction % 4, prediction).astype(np.uint8)
    assert (other != prediction).any()
    assert (class_counts(truth, other, 5) == class_counts(truth, prediction, 5)).all()


def test_a_class_that_is_never_found_counts_as_zero_in_the_mean():
    assert mean_iou(np.array([[4, 0], [4, 2], [6, 0]])) == pytest.approx(100 * 4 / 6 / 2)


def test_no_true_pixel_at_all_has_no_mean(recwarn):
    counts = np.zeros((2, 3, 3), int)
    counts[1] = [[1, 0, 0], [1, 0, 0], [2, 0, 0]]
    assert np.isnan(mean_iou(counts)[0])
    assert mean_iou(counts)[1] == 50
    assert not recwarn


def test_counts_add_up_to_the_confusion_matrix_of_all_images():
    truth, prediction = _random(1)
    counts = sum(class_counts(t, p, 6) for t, p in zip(truth, prediction, strict=True))
    whole = iou_metrics(confusion_matrix(truth, prediction, 6))
    assert mean_iou(counts) == pytest.approx(whole["miou"], abs=1e-12)
    assert class_iou(counts)[:4].tolist() == whole["iou"][:4]


def test_mean_agrees_with_torchmetrics():
    torch = pytest.importorskip("torch")
    classification = pytest.importorskip("torchmetrics.classification")
    truth, prediction = _random(2)
    metric = classification.MulticlassJaccardIndex(6, average="none", ignore_index=255)
    metric.update(torch.from_numpy(prediction).long(), torch.from_numpy(truth).long())
    expected = 100 * metric.compute().numpy()[:4].mean()  # 4 and 5 are never true
    assert mean_iou(class_counts(truth, prediction, 6)) == pytest.approx(expected, abs=1e-4)


def test_many_counts_are_scored_one_by_one():
    counts = np.stack([class_counts(*_random(seed), 5) for seed in range(6)])
    together = mean_iou(counts.reshape(2, 3, 3, 5))
    assert together.shape == (2, 3)
    assert together.ravel().tolist() == pytest.approx([float(mean_iou(c)) for c in counts])


@pytest.fixture
def counts():
    return np.arange(4 * 2 * 2 * 3 * 5, dtype=np.int32).reshape(4, 2, 2, 3, 5)


def test_what_is_written_is_read(tmp_path, counts):
    write_counts(tmp_path / "run" / "counts.npy", counts)
    again = read_counts(tmp_path / "run" / "counts.npy", images=4, classes=5)
    assert again.dtype == np.int32
    assert (again == counts).all()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["counts.npy"]


@pytest.mark.parametrize("wrong", [np.zeros((4, 2, 2, 3, 5)), np.zeros((4, 2, 3, 5), np.int32)])
def test_other_arrays_are_not_written(tmp_path, wrong):
    with pytest.raises(ValueError, match=r"int32 \(images, 2, 2, 3, classes\)"):
        write_counts(tmp_path / "counts.npy", wrong)


def _saved(**arrays):
    def spoil(path):
        with path.open("wb") as file:
            np.savez(file, **arrays) if len(arrays) > 1 else np.save(file, *arrays.values())

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), "cannot be read"),
        (lambda path: path.write_bytes(b""), "truncated"),
        (lambda path: path.write_bytes(path.read_bytes()[:60]), "truncated"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "truncated"),
        (lambda path: path.write_text("text"), "truncated"),
        (_saved(a=np.array([{}], object)), "truncated"),
        (_saved(a=np.zeros(1), b=np.zeros(1)), "an archive"),
        (_saved(a=np.zeros((4, 2, 2, 3, 5))), "holds float64"),
        (_saved(a=np.zeros((5, 2, 2, 3, 5), np.int32)), r"\(5, 2, 2, 3, 5\), not int32 \(4, 2"),
        (_saved(a=np.zeros((4, 2, 2, 3, 6), np.int32)), r"not int32 \(4, 2, 2, 3, 5\)"),
    ],
)
def test_a_broken_file_is_named(tmp_path, counts, spoil, message):
    path = tmp_path / "counts.npy"
    write_counts(path, counts)
    spoil(path)
    with pytest.raises(BPGError, match=message) as error:
        read_counts(path, images=4, classes=5)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
