import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bpg.data.folder import read_folder
from bpg.data.formats.labelme import write_labelme
from bpg.data.masks import write_mask
from bpg.data.options import FolderOptions
from bpg.data.strokes import Line, Pixels
from bpg.draw.store import MergeError, Store
from bpg.errors import BPGError
from tests.data.folders import CAT, GROUND, HEIGHT, WIDTH, draw

WAY = [(2.5, 3.5), (20.25, 9.0)]


@pytest.fixture
def folder(tmp_path):
    for name in ("a.jpg", "sub/b ü.jpg"):
        draw(tmp_path, name, strokes=())
    return tmp_path


@pytest.fixture
def store(folder):
    made = Store(folder)
    made.add_class("cat")
    yield made
    made.close()


def read(root):
    """What a training reads: {image: strokes}."""
    return dict(read_folder(root, FolderOptions(), line_width=3).strokes)


def test_what_is_drawn_is_what_a_training_reads_at_once(store, folder):
    store.add("a.jpg", "cat", WAY, None)
    store.add("a.jpg", "background", [(1, 1)], None)
    store.add("sub/b ü.jpg", "cat", WAY, 7)
    found = read(folder)
    assert found == {name: store.sheets[name].strokes for name in found}
    line, dot = found["a.jpg"]
    assert (line.tag, line.shape) == ("cat", Line(tuple(WAY)))
    assert (dot.tag, dot.shape) == ("background", Line(((1.0, 1.0),)))
    (painted,) = found["sub/b ü.jpg"]
    assert isinstance(painted.shape, Pixels)
    assert read_folder(folder, FolderOptions()).classes == ("background", "cat")
    assert not [f for f in read_folder(folder, FolderOptions()).findings if f.level == "error"]


def run_killed(code, folder):
    """Run a program on the folder that kills itself."""
    begun = "import os, signal, sys; from pathlib import Path; import bpg.draw.store as module\n"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", begun + code, str(folder)]
    assert subprocess.run(command, check=False, env=environment).returncode == -9


def test_it_is_there_again_after_a_crash(store, folder):
    """A process that is killed has written every change that it had acknowledged."""
    code = (
        "store = module.Store(Path(sys.argv[1]))\n"
        "for place in range(20): store.add('a.jpg', 'cat', [(place, 1), (place, 9)], None)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    store.close()
    run_killed(code, folder)
    again = Store(folder)
    assert len(again.sheets["a.jpg"].own) == 20
    again.close()


def test_erasing_undo_and_redo(store, folder):
    drawn = store.add("a.jpg", "cat", [(2, 5), (38, 5)], None)
    before = read(folder)
    done = store.erase("a.jpg", [(20, 0), (20, 10)], 6)
    assert done.removed == drawn.added and len(done.added) == 2
    assert len(read(folder)["a.jpg"]) == 2
    back = store.undo("a.jpg", done)
    assert read(folder) == before
    store.undo("a.jpg", back)
    assert len(read(folder)["a.jpg"]) == 2
    store.undo("a.jpg", store.undo("a.jpg", back))


def test_clearing_an_image_and_back(store, folder):
    for width in (None, 7):
        store.add("a.jpg", "cat", WAY, width)
    store.add("sub/b ü.jpg", "cat", WAY, None)
    before = read(folder)
    done = store.clear("a.jpg")
    assert list(read(folder)) == ["sub/b ü.jpg"]
    store.undo("a.jpg", done)
    assert read(folder) == before


def tags(root):
    return {name: [stroke.tag for stroke in strokes] for name, strokes in read(root).items()}


def test_a_class_is_renamed_in_all_files_and_in_what_can_be_undone(store, folder):
    store.add_class("dog")
    store.add("a.jpg", "cat", WAY, None)
    gone = store.erase("a.jpg", WAY, 9)
    store.add("sub/b ü.jpg", "cat", WAY, 7)
    store.add("sub/b ü.jpg", "dog", WAY, None)
    revision = store.sheets["sub/b ü.jpg"].revision
    store.rename_class("cat", " Tiger ")
    assert store.classes == ["background", "Tiger", "dog"]
    assert (folder / "classes.txt").read_text().split() == store.classes
    assert store.sheets["sub/b ü.jpg"].revision > revision  # other windows look again
    store.undo("a.jpg", gone)
    assert tags(folder) == {"a.jpg": ["Tiger"], "sub/b ü.jpg": ["Tiger", "dog"]}
    assert store.counts() == [0, 2, 1]
    store.rename_class("Tiger", "tiger")
    assert store.classes == ["background", "tiger", "dog"]


def test_a_class_is_merged_into_another_one(store, folder):
    store.add_class("kitten")
    store.add("a.jpg", "kitten", WAY, None)
    store.add("a.jpg", "cat", WAY[:1], None)
    with pytest.raises(MergeError, match="a class cat already") as caught:
        store.rename_class("kitten", "Cat")
    assert caught.value.other == "cat"
    assert tags(folder) == {"a.jpg": ["kitten", "cat"]}
    store.rename_class("kitten", "Cat", merge=True)
    assert store.classes == ["background", "cat"]
    assert tags(folder) == {"a.jpg": ["cat", "cat"]}


def test_classes_whose_names_differ_in_case_alone(tmp_path):
    draw(tmp_path, "a.jpg", strokes=())
    (tmp_path / "classes.txt").write_text("background\nCat\ncat\n", encoding="utf-8")
    store = Store(tmp_path)
    with pytest.raises(MergeError):
        store.rename_class("cat", "Cat")
    store.rename_class("cat", "Cat", merge=True)
    store.close()
    again = Store(tmp_path)
    assert again.classes == ["background", "Cat"]
    again.close()


def test_a_class_without_strokes_is_removed(store, folder):
    done = store.add("a.jpg", "cat", WAY, None)
    with pytest.raises(BPGError, match=r"cat has strokes \(1\); erase them"):
        store.remove_class("cat")
    back = store.undo("a.jpg", done)
    store.remove_class("cat")
    assert store.classes == ["background"]
    store.undo("a.jpg", back)  # of a class that is no more
    assert not read(folder)
    store.close()
    again = Store(folder)
    assert again.classes == ["background"]
    again.close()


@pytest.mark.parametrize("change", ["rename", "merge", "remove"])
def test_classes_that_others_may_count_stay(tmp_path, change):
    draw(tmp_path, "a.jpg", strokes=(GROUND, CAT))
    store = Store(tmp_path)
    for name in ("dog", "fox"):
        store.add_class(name)
    with pytest.raises(BPGError, match="other tools"):
        match change:
            case "rename":
                store.rename_class("cat", "tiger")
            case "merge":
                store.rename_class("dog", "fox", merge=True)
            case "remove":
                store.remove_class("dog")
    store.rename_class("dog", "wolf")  # stays in its place
    assert store.classes == ["background", "cat", "wolf", "fox"]
    store.close()
    assert tags(tmp_path) == {"a.jpg": ["background", "cat"]}


@pytest.mark.parametrize("masks", [False, True])
def test_a_renaming_that_is_killed_is_completed(store, folder, masks):
    if masks:  # which count the classes
        (folder / "masks").mkdir()
        write_mask(folder / "masks/a.png", np.ones((HEIGHT, WIDTH), np.uint8))
    store.add_class("dog")
    for name in ("a.jpg", "sub/b ü.jpg"):
        store.add(name, "cat", WAY, None)
    code = (
        "write, done = module.write_labelme, []\n"
        "def killed(*given):\n"
        "    if done: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    done.append(write(*given))\n"
        "module.write_labelme = killed\n"
        "module.Store(Path(sys.argv[1])).rename_class('cat', 'tiger')"
    )
    store.close()
    run_killed(code, folder)
    assert sorted(tags(folder).values()) == [["cat"], ["tiger"]]
    assert not [f for f in read_folder(folder, FolderOptions()).findings if f.level == "error"]
    again = Store(folder)
    assert again.classes == ["background", "tiger", "dog"]
    assert sorted(tags(folder).values()) == [["tiger"], ["tiger"]]
    again.close()
    assert sorted(path.name for path in folder.glob(".*")) == [".bpg-draw.lock"]


def test_a_renaming_that_failed_is_completed_by_the_next_change(store, folder, monkeypatch):
    for name in ("a.jpg", "sub/b ü.jpg"):
        store.add(name, "cat", WAY, None)
    written = []

    def full(*given):
        if written:
            raise OSError(28, "No space left on device")
        written.append(write_labelme(*given))

    with monkeypatch.context() as patch:
        patch.setattr("bpg.draw.store.write_labelme", full)
        with pytest.raises(OSError, match="No space left"):
            store.rename_class("cat", "tiger")
    assert sorted(tags(folder).values()) == [["cat"], ["tiger"]]
    store.add_class("dog")
    assert store.classes == ["background", "tiger", "dog"]
    assert sorted(tags(folder).values()) == [["tiger"], ["tiger"]]


def test_what_is_no_renaming_is_named(folder):
    (folder / ".bpg-draw.rename").write_text("{}")
    with pytest.raises(BPGError, match=r"\.bpg-draw\.rename: .*old.*; delete it"):
        Store(folder)


def test_an_image_without_strokes_has_no_file(store, folder):
    done = store.add("a.jpg", "cat", WAY, None)
    assert list(store.place.rglob("*.json"))
    store.undo("a.jpg", done)
    assert not list(store.place.rglob("*.json"))


def test_two_windows_lose_nothing(store, folder):
    first = store.add("a.jpg", "cat", WAY, None)
    second = store.add("a.jpg", "background", [(1, 20), (30, 20)], None)
    store.undo("a.jpg", first)  # the other window's stroke stays
    assert list(store.sheets["a.jpg"].own) == list(second.added)
    assert store.undo("a.jpg", first).removed == ()  # twice does no harm


def test_what_other_tools_drew_is_shown_and_left_alone(tmp_path):
    draw(tmp_path, "a.jpg", strokes=(GROUND, CAT))
    file = tmp_path / "strokes/a.json"
    before = file.read_bytes()
    store = Store(tmp_path)
    assert store.classes == ["background", "cat"]
    assert store.sheets["a.jpg"].locked == (GROUND, CAT)
    store.add("a.jpg", "cat", WAY, None)
    assert store.erase("a.jpg", [(x, 15.5) for x in range(WIDTH)], 30).removed != ()
    store.add("a.jpg", "cat", WAY, None)
    store.close()
    assert file.read_bytes() == before
    assert [s.tag for s in read(tmp_path)["a.jpg"]] == ["background", "cat", "cat"]
    again = Store(tmp_path)
    assert len(again.sheets["a.jpg"].locked) == 2 and len(again.sheets["a.jpg"].own) == 1
    again.close()


def test_strokes_are_not_written_behind_a_link_out_of_the_folder(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (folder / "strokes").symlink_to(elsewhere)
    with pytest.raises(BPGError, match=r"strokes/drawn: a link out of"):
        Store(folder)
    assert not list(elsewhere.iterdir())


def test_images_beside_their_strokes_stay_readable(tmp_path):
    draw(tmp_path, "a.jpg", strokes=())
    (tmp_path / "images/a.jpg").rename(tmp_path / "a.jpg")
    (tmp_path / "images").rmdir()
    store = Store(tmp_path)
    store.add("a.jpg", "background", WAY, None)
    store.close()
    assert len(read(tmp_path)["a.jpg"]) == 1


def test_points_outside_are_left_out(store, folder):
    store.add("a.jpg", "cat", [(-5, 3), (2, 3), (9, 3), (100, 200)], None)
    (stroke,) = read(folder)["a.jpg"]
    assert stroke.shape.points == ((2.0, 3.0), (9.0, 3.0))
    with pytest.raises(BPGError, match="outside the image"):
        store.add("a.jpg", "cat", [(-5, 3)], None)


def test_the_drawing_order_outlives_erasing_and_undo(store, folder):
    """Where strokes cross, the later one counts: no piece of an earlier one gets on top."""
    store.add("a.jpg", "cat", [(2, 15), (38, 15)], 9)
    store.add("a.jpg", "background", [(20, 2), (20, 28)], 9)
    before = read_folder(folder, FolderOptions()).label_map("a.jpg")
    done = store.erase("a.jpg", [(37, 15)], 3)
    assert [s.tag for s in store.sheets["a.jpg"].own.values()] == ["cat", "background"]
    assert read_folder(folder, FolderOptions()).label_map("a.jpg")[15, 20] == before[15, 20] == 0
    store.undo("a.jpg", done)
    after = read_folder(folder, FolderOptions()).label_map("a.jpg")
    np.testing.assert_array_equal(after, before)


def test_a_correction_of_a_correction_counts(store, folder):
    for tag in ("cat", "background", "cat"):
        store.add("a.jpg", tag, [(2, 15), (38, 15)], 9)
    assert read_folder(folder, FolderOptions()).label_map("a.jpg")[15, 20] == 1


def test_what_another_window_erased_of_a_piece_does_not_come_back_twice(store):
    store.add("a.jpg", "cat", [(2, 5), (38, 5)], None)
    done = store.erase("a.jpg", [(20, 5)], 6)
    store.erase("a.jpg", [(4, 5)], 20)  # one of the two pieces, in another window
    store.undo("a.jpg", done)
    (left,) = store.sheets["a.jpg"].own.values()
    assert min(x for x, _ in left.shape.points) > 14


def test_an_image_of_another_size_in_its_place_is_named(store, folder):
    store.add("a.jpg", "cat", WAY, None)
    store.close()
    draw(folder, "a.jpg", strokes=(), size=(2 * WIDTH, 2 * HEIGHT))
    with pytest.raises(BPGError, match=r"drawn on 40x30 pixels, but a\.jpg has 80x60"):
        Store(folder)


def test_a_folder_without_a_usable_image_is_refused_and_named(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no image")
    with pytest.raises(BPGError, match=r"no image to draw on.*a\.jpg"):
        Store(tmp_path)
    draw(tmp_path / "other", "b.jpg", strokes=())
    (tmp_path / "other/images/broken.jpg").write_bytes(b"no image")
    store = Store(tmp_path / "other")
    assert len(store.problems) == 1 and "broken.jpg" in store.problems[0]
    store.close()


def test_a_folder_of_images_called_drawn(tmp_path):
    for name in ("a.jpg", "drawn/a.jpg"):
        draw(tmp_path, name, strokes=())
    store = Store(tmp_path)
    store.add("a.jpg", "background", WAY, None)
    store.close()
    assert list(read(tmp_path)) == ["a.jpg"]


def test_a_list_of_classes_beside_the_images_is_kept(tmp_path):
    draw(tmp_path, "a.jpg", strokes=())
    (tmp_path / "images/classes.txt").write_text("background\nzebra\nape\n", encoding="utf-8")
    for _ in range(2):
        store = Store(tmp_path)
        assert store.classes == ["background", "zebra", "ape"]
        store.add("a.jpg", "ape", WAY, None)
        store.close()
    assert [s.tag for s in read(tmp_path)["a.jpg"]] == ["ape"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda store: store.add("a.jpg", "dog", WAY, None), "no class 'dog'"),
        (lambda store: store.add("a.jpg", "cat", [], None), "1 to 20,000 points"),
        (lambda store: store.add_class(" Cat "), "a class Cat already"),
        (lambda store: store.add_class(" "), "a name of 1 to"),
        (lambda store: store.add_class("a\nb\0"), "a name of 1 to"),
        (lambda store: store.add_class("__ignore__"), "something else in labelme"),
        (lambda store: store.add_class("_Background_"), "something else in labelme"),
        (lambda store: store.rename_class("cat", " "), "a name of 1 to"),
        (lambda store: store.rename_class("dog", "fox"), "no class 'dog'"),
        (lambda store: store.rename_class("background", "fox"), "the background; it stays"),
        (lambda store: store.remove_class("dog"), "no class 'dog'"),
        (lambda store: store.remove_class("background"), "the background; it stays"),
    ],
)
def test_bad_changes_are_named_and_change_nothing(store, change, message):
    with pytest.raises(BPGError, match=message):
        change(store)
    assert not list(store.place.rglob("*.json"))
    assert store.classes == ["background", "cat"]


def test_a_change_that_cannot_be_saved_has_not_happened(store, monkeypatch):
    kept = store.add("a.jpg", "cat", WAY, None)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bpg.draw.store.write_labelme", full)
    with pytest.raises(OSError, match="No space left"):
        store.add("a.jpg", "cat", [(1, 1)], None)
    with pytest.raises(OSError, match="No space left"):
        store.erase("a.jpg", WAY[:1], 3)
    assert list(store.sheets["a.jpg"].own) == list(kept.added)


def test_one_process_at_a_time(store, folder):
    with pytest.raises(BPGError, match="another bpg draw has this folder open"):
        Store(folder)
