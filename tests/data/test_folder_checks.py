import shutil

import numpy as np
import pytest
from PIL import Image

from bpg.data.folder_checks import check_folder, read_full_mask
from bpg.data.folder_split import split_folder
from bpg.data.masks import write_mask
from bpg.data.strokes import Stroke
from bpg.errors import BPGError
from tests.data.folders import (
    CAT,
    DOG,
    GROUND,
    HEIGHT,
    SKY,
    WIDTH,
    draw,
    line,
    read,
    suspicious,
)


def mask(root, name="a.jpg", labels=None, size=(WIDTH, HEIGHT)):
    """Cat on the left half of the rows 10 to 20, dog on the right half."""
    if labels is None:
        labels = np.zeros(size[::-1], np.uint8)
        labels[10:20, : size[0] // 2 + 2] = 1
        labels[10:20, size[0] // 2 + 2 :] = 2
    path = (root / "masks" / name).with_suffix(".png")
    path.parent.mkdir(exist_ok=True)
    write_mask(path, labels)


@pytest.fixture
def sound(tmp_path):
    for number in range(4):
        draw(tmp_path, f"{number}.jpg")
    return tmp_path


def test_a_sound_folder_has_nothing_suspicious(sound):
    assert suspicious(read(sound)) == []


def test_images_without_background_or_with_one_class(sound):
    draw(sound, "no ground.jpg", (CAT, DOG))
    draw(sound, "ground.jpg", (GROUND, SKY))
    texts = suspicious(read(sound))
    assert "no stroke of background on 1 image: no ground.jpg" in texts
    assert "strokes of one class only on 1 image: ground.jpg" in texts


def test_strokes_of_two_classes_that_cross(sound):
    draw(sound, "crossing.jpg", (GROUND, CAT, line("dog", (15.5, 8.5), (15.5, 22.5))))
    (text,) = suspicious(read(sound))
    assert text == "crossing.jpg: strokes of cat and dog cross (9 pixels); the later one counts"


def test_strokes_that_touch_do_not_cross(sound):
    draw(sound, "touching.jpg", (GROUND, CAT, line("dog", (22.5, 15.5), (30.5, 15.5))))
    assert suspicious(read(sound)) == []


def test_strokes_may_run_over_their_border_by_the_tolerance(sound):
    mask(sound, "0.jpg")
    assert suspicious(read(sound)) == []
    # Two pixels below the cat.
    below = line("cat", (10.5, 21.5), (20.5, 21.5))
    draw(sound, "0.jpg", (GROUND, SKY, below, DOG))
    assert suspicious(read(sound)) == []
    (text,) = suspicious(read(sound, tolerance=0))
    assert text.startswith("0.jpg: stroke 3 (cat): ")
    assert "lies outside the cat of the mask, by more than 0 pixels" in text


def test_strokes_of_the_wrong_class_are_found(sound):
    mask(sound, "0.jpg")
    draw(sound, "0.jpg", (GROUND, SKY, Stroke("dog", CAT.shape)))
    (text,) = suspicious(read(sound))
    # Of 11 pixels length, the part near the dog is within the tolerance.
    assert text.startswith("0.jpg: stroke 3 (dog): ")


def test_where_the_mask_says_nothing_nothing_is_wrong(sound):
    mask(sound, "0.jpg", np.full((HEIGHT, WIDTH), 255, np.uint8))
    assert not [text for text in suspicious(read(sound)) if "outside" in text]


def test_masks_of_another_size_or_with_other_labels_are_errors(sound):
    mask(sound, "0.jpg", size=(20, 20))
    mask(sound, "1.jpg", np.full((HEIGHT, WIDTH), 9, np.uint8))
    folder = read(sound)
    errors = [f.text for f in check_folder(folder, None) if f.level == "error"]
    assert any("0.png: 20x20 pixels, but 0.jpg has 40x30" in text for text in errors)
    assert any(
        "1.png: has the label 9, but the classes are background, cat, dog" in e for e in errors
    )


def test_masks_shrink_and_turn_with_their_image(sound):
    mask(sound, "0.jpg")
    small = read_full_mask(read(sound, longest_side=20), "0.jpg")
    assert small.shape == (15, 20)
    assert set(np.unique(small)) == {0, 1, 2}
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(sound / "images/0.jpg") as image:
        image.load()
        image.save(sound / "images/0.jpg", exif=exif)
    (sound / "strokes/0.json").unlink()
    turned = read_full_mask(read(sound), "0.jpg")
    assert turned.shape == (40, 30)
    # Turned clockwise: the top row of the stored mask is the right column.
    assert (turned[:, 29] == 0).all()
    assert turned[0, 15] == 1
    assert turned[39, 15] == 2


def test_the_same_file_twice(sound):
    shutil.copy(sound / "images/0.jpg", sound / "images/copy.jpg")
    assert "the same file several times: 0.jpg, copy.jpg" in suspicious(read(sound))


def test_near_duplicates_across_the_split(sound):
    with Image.open(sound / "images/0.jpg") as image:
        image.resize((WIDTH * 2, HEIGHT * 2)).save(sound / "images/larger.jpg", quality=60)
    mask(sound, "larger.jpg", size=(WIDTH * 2, HEIGHT * 2))
    texts = suspicious(read(sound))
    assert texts == ["larger.jpg (scored on) and 0.jpg (trained on) are nearly the same image"]


def test_near_duplicates_are_those_of_a_full_search(tmp_path):
    for number in range(60):
        draw(tmp_path, f"{number:02d}.jpg", seed=number)
    for number in range(0, 60, 7):
        with Image.open(tmp_path / f"images/{number:02d}.jpg") as image:
            brighter = image.point(lambda value: min(255, value + 2))
        brighter.save(tmp_path / f"images/again{number:02d}.png")
        mask(tmp_path, f"again{number:02d}.png")
    folder = read(tmp_path)
    split = split_folder(folder)
    small = {name: photo.small.astype(float) for name, photo in folder.photos.items()}
    expected = {
        (name, other)
        for name in split.val
        for other in split.train
        if np.abs(small[name] - small[other]).mean() < 4
    }
    assert len(expected) == 9
    found = check_folder(folder, split)
    assert {f.images for f in found if "nearly the same" in f.text} == expected


def test_a_mask_that_cannot_be_read(sound):
    (sound / "masks").mkdir()
    (sound / "masks/0.png").write_bytes(b"nothing")
    with pytest.raises(BPGError, match=r"masks/0\.png: no PNG"):
        read_full_mask(read(sound), "0.jpg")


def test_held_out_strokes_do_not_divide_the_images(sound):
    folder = read(sound)
    split = split_folder(folder)
    assert set(split.val) <= set(split.train)
    assert not [f for f in check_folder(folder, split) if "nearly" in f.text]


def errors(folder):
    findings = check_folder(folder, split_folder(folder))
    return [finding.text for finding in findings if finding.level == "error"]


def test_one_class_alone_cannot_be_scored_or_learnt(tmp_path):
    draw(tmp_path, "a.jpg", (GROUND, SKY, line("background", (3, 9), (30, 9)), CAT))
    assert errors(read(tmp_path)) == [
        "the strokes to score on are all background; draw a second stroke of other classes"
    ]
    draw(tmp_path, "b.jpg", ())
    mask(tmp_path, "b.jpg", np.full((HEIGHT, WIDTH), 255, np.uint8))
    (text,) = errors(read(tmp_path))
    assert text.startswith("the masks to score on are all 255, unlabelled. Masks of 0 and 255?")
    draw(tmp_path, "a.jpg", (CAT,))
    (first, _) = errors(read(tmp_path, classes=["ground", "cat"]))
    assert first == "all strokes to learn from are cat; draw other classes"


def test_classes_that_are_not_scored_are_named(sound):
    draw(sound, "bird.jpg", (GROUND, SKY, line("bird", (3, 9), (30, 9))))
    assert suspicious(read(sound)) == ["learnt, but not scored on: bird"]
