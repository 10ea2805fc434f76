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


def _random(seed, shape=(3, 40, 50)):
    """Labels 0..3 with ignored pixels; the prediction has label 4 as well."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 4, shape).astype(np.uint8)
    prediction = np.where(rng.random(shape) < 0.6, truth, rng.integers(0, 5, shape))
    truth[rng.random(shape) < 0.1] = 255
    return truth, prediction.astype(np.uint8)


def test_counts_by_hand():
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


def test_a_class_that_is_true_but_never_found_counts_as_zero():
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
        (lambda path: path.write_bytes(b""), "cut off"),
        (lambda path: path.write_bytes(path.read_bytes()[:60]), "cut off"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "cut off"),
        (lambda path: path.write_text("text"), "cut off"),
        (_saved(a=np.array([{}], object)), "cut off"),
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
