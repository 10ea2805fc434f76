import numpy as np
import pytest

from bpg.data.colours import bright_colours
from bpg.data.folder_split import split_folder
from bpg.data.masks import read_image, read_mask, write_mask
from bpg.data.prepare_folder import describe_folder, ids, prepare_folder
from bpg.data.scribbles import label_map
from bpg.resumable import open_work, tree_digest
from tests.data.folders import HEIGHT, WIDTH, draw, read


@pytest.fixture
def prepare(tmp_path):
    def prepare(folder, out="out"):
        split = split_folder(folder)
        places = {name: tmp_path / out / name for name in ("images", "masks", "strokes")}
        with open_work(tmp_path / "unfinished", {}, places.values(), print) as work:
            prepare_folder(work, folder, split)
            work.publish(places)
        return split, tmp_path / out

    return prepare


@pytest.fixture
def root(tmp_path):
    for number in range(5):
        draw(tmp_path / "mine", f"été {number}.jpg")
    draw(tmp_path / "mine", "nothing.jpg", ())
    return tmp_path / "mine"


def test_kept_and_held_out_strokes_make_up_all_of_them(root, prepare):
    folder = read(root)
    split, out = prepare(folder)
    description = describe_folder(folder, split)
    assert description.truth == "held-out strokes"
    assert ids(folder, split.pool) == ["nothing.jpg"]
    assert not (out / "masks/nothing.jpg.png").exists()
    for name in folder.drawn_on:
        identity = folder.photos[name].id
        assert identity.startswith("été%20")
        kept = label_map(out / f"strokes/{identity}.json", (WIDTH, HEIGHT), folder.classes, 3)
        held = read_mask(out / f"masks/{identity}.png")
        assert ((held != 255).any()) == (name in split.val)
        assert not ((kept != 255) & (held != 255)).any()
        np.testing.assert_array_equal(np.minimum(kept, held), folder.label_map(name))
        np.testing.assert_array_equal(
            read_image(out / f"images/{identity}.png"), folder.photos[name].read()
        )


def test_images_masks_and_strokes_shrink_together(root, prepare):
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[10:20] = 1
    (root / "masks").mkdir()
    write_mask(root / "masks/nothing.png", labels)
    folder = read(root, longest_side=20)
    split, out = prepare(folder)
    assert split.val == ("nothing.jpg",)
    assert read_image(out / "images/nothing.jpg.png").shape == (15, 20, 3)
    mask = read_mask(out / "masks/nothing.jpg.png")
    assert mask.shape == (15, 20)
    assert (mask[5:10] == 1).all()
    assert (mask[:5] == 0).all()
    # A training image has no mask here: nothing can be learnt from one by mistake.
    assert (read_mask(out / "masks/été%200.jpg.png") == 255).all()


def test_equal_folders_give_equal_bytes(root, prepare):
    prepare(read(root), "one")
    prepare(read(root), "two")
    assert tree_digest(root.parent / "one") == tree_digest(root.parent / "two")


def test_chosen_colours_are_kept(root):
    folder = read(root, colours={"cat": "#ff8800"})
    description = describe_folder(folder, split_folder(folder))
    assert description.classes == ("background", "cat", "dog")
    assert description.colours == ("#000000", "#ff8800", bright_colours(3)[2])
