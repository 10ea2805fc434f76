import filecmp

import joblib
import numpy as np
import pytest

from bpg.data.masks import read_image, read_mask
from bpg.data.scribbles import label_map
from bpg.data.shapes import CLASSES, draw_sample, prepare_shapes
from bpg.data.strokes import rasterise
from bpg.resumable import open_work

SIZE = 96
LINE = 3  # ScribbleSup's usual width


@pytest.fixture(scope="module")
def pictures():
    return [draw_sample([7, 0, number], SIZE) for number in range(40)]


@pytest.fixture(scope="module")
def labels(pictures):
    return [rasterise(picture.strokes, CLASSES, LINE) for picture in pictures]


def test_a_picture_follows_from_its_seed(pictures):
    again = draw_sample([7, 0, 3], SIZE)
    assert np.array_equal(again.image, pictures[3].image)
    assert np.array_equal(again.mask, pictures[3].mask)
    assert again.strokes == pictures[3].strokes


def test_every_seed_split_and_number_is_another_picture(pictures):
    seeds = [[8, 0, 3], [7, 1, 3], [7, 0, 40]]
    images = [p.image for p in pictures] + [draw_sample(s, SIZE).image for s in seeds]
    assert len({image.tobytes() for image in images}) == len(images)


def test_sizes_and_types(pictures):
    for picture, size in [(pictures[0], SIZE), (pictures[1], SIZE), (draw_sample([1], 50), 50)]:
        assert (picture.image.shape, picture.image.dtype) == ((size, size, 3), np.uint8)
        assert (picture.mask.shape, picture.mask.dtype) == ((size, size), np.uint8)
        assert (picture.strokes.width, picture.strokes.height) == (size, size)


def test_every_class_is_there_and_none_is_rare(pictures):
    present = np.zeros(len(CLASSES), int)
    for picture in pictures:
        present[np.unique(picture.mask)] += 1
    assert present[0] == len(pictures)
    assert present.min() >= 4
    assert max(picture.mask.max() for picture in pictures) < len(CLASSES)


def test_pictures_have_several_objects_occlusion_and_ground(pictures):
    ground = np.mean([(picture.mask == 0).mean() for picture in pictures])
    assert 0.6 < ground < 0.9
    assert sum(len(np.unique(picture.mask)) > 2 for picture in pictures) >= 10


def test_strokes_label_3_to_8_percent(labels):
    shares = np.array([(label != 255).mean() for label in labels])
    assert 0.03 < shares.mean() < 0.08
    # The single image may stray, but has a label.
    assert shares.min() > 0.01
    assert shares.max() < 0.15


def test_strokes_lie_on_their_class(pictures, labels):
    """98 % of all labelled pixels; a stroke is wider than the thinnest parts."""
    drawn = np.concatenate([label[label != 255] for label in labels])
    mask = np.concatenate([p.mask[x != 255] for p, x in zip(pictures, labels, strict=True)])
    assert (drawn == mask).mean() > 0.98
    for picture, label in zip(pictures, labels, strict=True):
        chosen = label != 255
        assert (label[chosen] == picture.mask[chosen]).mean() > 0.9


def test_strokes_cover_what_a_picture_shows(pictures, labels):
    """Objects that are not mere slivers have a stroke, and so has the ground."""
    for picture, label in zip(pictures, labels, strict=True):
        assert (label == 0).any()
        for k in np.unique(picture.mask):
            if (picture.mask == k).sum() >= 200:
                assert (label == k).any()


def balanced_accuracy(guess, truth):
    return (guess[truth].mean() + (~guess[~truth]).mean()) / 2


def test_colour_alone_does_not_tell_objects_from_ground(pictures):
    """Measured: 0.54, 0.62 (chance is 0.5)."""
    half = len(pictures) // 2
    known = np.concatenate([p.image.reshape(-1, 3) for p in pictures[:half]])
    object_ = np.concatenate([p.mask.ravel() > 0 for p in pictures[:half]])
    image = np.concatenate([p.image.reshape(-1, 3) for p in pictures[half:]])
    truth = np.concatenate([p.mask.ravel() > 0 for p in pictures[half:]])

    means = [known[object_ == side].mean(0) for side in (False, True)]
    distance = [np.square(image - mean).sum(1) for mean in means]
    assert balanced_accuracy(distance[1] < distance[0], truth) < 0.65

    def bins(pixels):
        return (pixels // 32).astype(int) @ np.array([64, 8, 1])

    counts = [np.bincount(bins(known[object_ == s]), minlength=512) + 1 for s in (False, True)]
    likely = counts[1] / counts[1].sum() > counts[0] / counts[0].sum()
    assert balanced_accuracy(likely[bins(image)], truth) < 0.70


def test_colour_alone_does_not_even_separate_one_picture_of_known_mask(pictures):
    """Nearest of the two mean colours, means taken from the very mask. Measured: 0.79."""
    scores = []
    for picture in pictures:
        pixels, truth = picture.image.reshape(-1, 3).astype(float), picture.mask.ravel() > 0
        means = [pixels[truth == side].mean(0) for side in (False, True)]
        distance = [np.square(pixels - mean).sum(1) for mean in means]
        scores.append(balanced_accuracy(distance[1] < distance[0], truth))
    assert np.mean(scores) < 0.84
    assert np.mean(np.array(scores) < 0.75) > 0.2, "every image can be cut out by colour"


def prepare(folder, seed=3, train=3, val=2):
    # Threads: the workers' start-up would take longer than the drawing.
    with (
        joblib.parallel_config(backend="threading"),
        open_work(
            folder.with_name(f"{folder.name}-work"), {"draw": [train, val, seed]}, [], print
        ) as work,
    ):
        lists = prepare_shapes(work, size=48, train=train, val=val, seed=seed)
        work.publish({name: folder / name for name in ("images", "masks", "strokes")})
    for name, ids in zip(("train", "val"), lists, strict=True):
        (folder / f"{name}.txt").write_text("".join(f"{i}\n" for i in ids))
    return folder


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_prepared_folder(tmp_path):
    folder = prepare(tmp_path / "shapes")
    train, val = [f"train_{n:05d}" for n in range(3)], [f"val_{n:05d}" for n in range(2)]
    assert files(folder) == sorted(
        ["train.txt", "val.txt"]
        + [f"{place}/{name}.png" for place in ("images", "masks") for name in train + val]
        + [f"strokes/{name}.xml" for name in train]
    )
    assert (folder / "train.txt").read_text() == "".join(f"{name}\n" for name in train)
    assert (folder / "val.txt").read_text() == "".join(f"{name}\n" for name in val)
    for split, names in enumerate([train, val]):
        for number, name in enumerate(names):
            expected = draw_sample([3, split, number], 48)
            assert np.array_equal(read_image(folder / f"images/{name}.png"), expected.image)
            assert np.array_equal(read_mask(folder / f"masks/{name}.png"), expected.mask)
    for number, name in enumerate(train):
        found = label_map(folder / f"strokes/{name}.xml", (48, 48), CLASSES, LINE)
        strokes = draw_sample([3, 0, number], 48).strokes
        assert np.array_equal(found, rasterise(strokes, CLASSES, LINE))


def test_prepared_folder_repeats_byte_by_byte_and_follows_the_seed(tmp_path):
    one, two, other = (prepare(tmp_path / n, s) for n, s in (("a", 3), ("b", 3), ("c", 4)))
    assert files(one) == files(two) == files(other)
    match, mismatch, errors = filecmp.cmpfiles(one, two, files(one), shallow=False)
    assert (mismatch, errors) == ([], [])
    assert len(match) == len(files(one))
    assert (one / "images/train_00000.png").read_bytes() != (
        other / "images/train_00000.png"
    ).read_bytes()


def test_preparing_again_leaves_nothing_of_a_larger_set(tmp_path):
    folder = prepare(tmp_path / "shapes")
    prepare(folder, train=1, val=1)
    assert len(files(folder)) == 2 + 2 + 2 + 1
