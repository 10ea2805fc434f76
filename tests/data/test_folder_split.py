import numpy as np
import pytest

from bpg.data.folder_split import split_folder
from bpg.data.masks import write_mask
from bpg.errors import BPGError
from tests.data.folders import ALL, CAT, DOG, GROUND, HEIGHT, SKY, WIDTH, draw, line, read


def mask(root, name):
    path = (root / "masks" / name).with_suffix(".png")
    path.parent.mkdir(exist_ok=True)
    write_mask(path, np.zeros((HEIGHT, WIDTH), np.uint8))


def test_without_masks_whole_strokes_are_held_out(tmp_path):
    for number in range(5):
        draw(tmp_path, f"{number}.jpg")
    draw(tmp_path, "nothing.jpg", ())
    folder = read(tmp_path)
    split = split_folder(folder)
    assert split.truth == "held-out strokes"
    tags = [
        folder.strokes[name][place].tag for name, out in split.held_out.items() for place in out
    ]
    # A fifth of each class's strokes: 10 of background, 5 of cat, 5 of dog.
    assert sorted(tags) == ["background", "background", "cat", "dog"]
    assert set(split.val) == set(split.held_out)
    assert split.train == tuple(folder.drawn_on)
    assert split.pool == ("nothing.jpg",)
    for name in folder.drawn_on:
        kept = split.kept(folder, name)
        assert set(kept) | split.held_out.get(name, frozenset()) == {0, 1, 2, 3}
        assert not set(kept) & split.held_out.get(name, frozenset())


def test_by_image_all_strokes_of_some_images_are_held_out(tmp_path):
    for number in range(10):
        draw(tmp_path, f"{number}.jpg")
    split = split_folder(read(tmp_path, hold_out_by="image", hold_out=0.3))
    assert len(split.val) == 3
    assert not set(split.val) & set(split.train)
    assert all(len(out) == 4 for out in split.held_out.values())


def test_a_list_says_which_images_are_scored_on(tmp_path):
    for number in range(4):
        draw(tmp_path, f"{number}.jpg")
    (tmp_path / "val.txt").write_text("1\n 3.jpg\n", encoding="utf-8")
    split = split_folder(read(tmp_path))
    assert split.val == ("1.jpg", "3.jpg")
    assert split.train == ("0.jpg", "2.jpg")
    (tmp_path / "val.txt").write_text("five.jpg\n", encoding="utf-8")
    folder = read(tmp_path)
    assert any("'five.jpg' is no image" in finding.text for finding in folder.findings)


def test_masks_of_images_without_strokes_are_for_scoring(tmp_path):
    for number in range(4):
        draw(tmp_path, f"{number}.jpg", ALL if number < 3 else ())
    mask(tmp_path, "0.jpg")
    mask(tmp_path, "3.jpg")
    split = split_folder(read(tmp_path))
    assert split.truth == "masks"
    assert split.val == ("3.jpg",)
    assert split.train == ("0.jpg", "1.jpg", "2.jpg")
    assert not split.held_out
    assert split_folder(read(tmp_path, truth="strokes")).truth == "held-out strokes"


def test_else_a_share_of_the_images_with_masks_is(tmp_path):
    for number in range(10):
        draw(tmp_path, f"{number}.jpg")
        mask(tmp_path, f"{number}.jpg")
    split = split_folder(read(tmp_path))
    assert len(split.val) == 2
    assert len(split.train) == 8
    assert not set(split.val) & set(split.train)
    assert split_folder(read(tmp_path, seed=1)).val != split.val


def test_what_cannot_be_divided_is_refused(tmp_path):
    draw(tmp_path, "a.jpg", (GROUND, CAT))
    with pytest.raises(BPGError, match="every class has only one; draw a second one of each"):
        split_folder(read(tmp_path))
    with pytest.raises(BPGError, match="truth: masks, but there is no mask in masks/"):
        split_folder(read(tmp_path, truth="masks"))
    with pytest.raises(BPGError, match="no image with strokes is left to learn from"):
        split_folder(read(tmp_path, hold_out_by="image"))
    draw(tmp_path, "b.jpg", (SKY, DOG))
    (tmp_path / "val.txt").write_text("a.jpg\n", encoding="utf-8")
    mask(tmp_path, "b.jpg")
    with pytest.raises(BPGError, match=r"val\.txt: a\.jpg has no mask to score on"):
        split_folder(read(tmp_path))


def test_the_pool_is_limited(tmp_path):
    draw(tmp_path, "a.jpg")
    draw(tmp_path, "b.jpg")
    for number in range(20):
        draw(tmp_path, f"{number}.jpg", ())
    assert len(split_folder(read(tmp_path, pool=5)).pool) == 5
    assert split_folder(read(tmp_path, pool=0)).pool == ()


def test_where_only_ignored_pixels_are_drawn_nothing_is_learnt(tmp_path):
    for number in range(4):
        draw(tmp_path, f"{number}.jpg")
    draw(tmp_path, "ignored.jpg", (line(None, (3, 3), (9, 3)),))
    split = split_folder(read(tmp_path))
    assert "ignored.jpg" not in split.train
    assert "ignored.jpg" not in split.val


def test_listed_images_without_strokes_are_named(tmp_path):
    draw(tmp_path, "a.jpg")
    draw(tmp_path, "b.jpg")
    draw(tmp_path, "c.jpg", ())
    (tmp_path / "val.txt").write_text("a.jpg\nc.jpg\n", encoding="utf-8")
    with pytest.raises(BPGError, match=r"val\.txt: c\.jpg has no strokes to score on"):
        split_folder(read(tmp_path))
