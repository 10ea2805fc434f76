import unicodedata
from urllib.parse import unquote

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bpg.data.folder import image_id, read_folder
from bpg.data.formats.scribblesup import write_scribblesup
from bpg.data.masks import write_mask
from bpg.data.options import FolderOptions
from bpg.data.strokes import Area, Line, Stroke, Strokes, rasterise
from bpg.errors import BPGError
from tests.data.folders import ALL, CAT, DOG, GROUND, HEIGHT, SKY, WIDTH, draw, found, line, read
from tests.data.formats import fixtures


@given(st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=30))
def test_an_id_is_a_file_name_that_gives_the_path_back(name):
    identity = image_id(name)
    assert "/" not in identity
    assert not any(character.isspace() for character in identity)
    assert unquote(identity) == name
    assert len(identity.split()) == 1


def test_strokes_are_matched_and_classes_found(tmp_path):
    draw(tmp_path, "one.jpg")
    draw(
        tmp_path,
        "été 2024/two words.png",
        (GROUND, CAT),
        tool_name=r"..\..\images\été 2024\two words.png",
    )
    draw(tmp_path, "nothing.jpg", ())
    folder = read(tmp_path)
    assert not found(folder)
    assert not found(folder, "warning")
    assert list(folder.photos) == ["nothing.jpg", "one.jpg", "été 2024/two words.png"]
    assert folder.drawn_on == ["one.jpg", "été 2024/two words.png"]
    assert folder.classes == ("background", "cat", "dog")
    assert folder.strokes["one.jpg"] == ALL
    expected = rasterise(Strokes(WIDTH, HEIGHT, ALL), folder.classes, 3)
    np.testing.assert_array_equal(folder.label_map("one.jpg"), expected)


FORMATS = {
    "labelme": lambda: {
        "strokes/café 1.json": fixtures.labelme("café 1.jpg", fixtures.FIRST, extras=True),
        "strokes/more/b.json": fixtures.labelme("b.png", fixtures.SECOND),
    },
    "cvat": lambda: {"strokes/annotations.xml": fixtures.cvat(fixtures.IMAGES, extras=True)},
    "coco": lambda: {"strokes/instances.json": fixtures.coco(fixtures.IMAGES, extras=True)},
    "label studio": lambda: {
        "strokes/project-1.json": fixtures.label_studio(fixtures.IMAGES, extras=True)
    },
    "label studio, min": lambda: {
        "strokes/min.json": fixtures.label_studio_min(fixtures.IMAGES, extras=True)
    },
}


@pytest.mark.parametrize("files", FORMATS.values(), ids=FORMATS)
def test_every_tools_file_is_found_and_means_the_same(tmp_path, files):
    for name, strokes in fixtures.IMAGES.items():
        draw(tmp_path, name, (), size=(strokes.width, strokes.height))
    for name, data in files().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    folder = read(tmp_path)
    assert not found(folder)
    (left_out,) = found(folder, "warning")
    assert left_out.startswith("left out, because they are no strokes: ")
    assert {"background", "cat", "größe-2", "0"} == set(folder.classes)
    assert folder.classes[0] == "background"
    for name, strokes in fixtures.IMAGES.items():
        expected = rasterise(strokes, folder.classes, 3)
        # Lines of tools without lines are brush masks; some tools' coordinates are rounded.
        assert (folder.label_map(name) != expected).mean() < 0.01


def test_the_same_strokes_in_two_exports_count_once(tmp_path):
    for name, strokes in fixtures.IMAGES.items():
        draw(tmp_path, name, (), size=(strokes.width, strokes.height))
    (tmp_path / "strokes").mkdir()
    (tmp_path / "strokes/a.xml").write_bytes(fixtures.cvat(fixtures.IMAGES))
    (tmp_path / "strokes/b.json").write_bytes(fixtures.coco(fixtures.IMAGES))
    folder = read(tmp_path)
    assert len(folder.strokes["café 1.jpg"]) == len(fixtures.FIRST.strokes)
    assert any(
        "4 strokes in several files (strokes/a.xml, strokes/b.json)" in text
        for text in found(folder, "note")
    )


def test_two_equal_strokes_in_one_file_are_two(tmp_path):
    draw(tmp_path, "a.jpg", (GROUND, CAT, CAT))
    assert len(read(tmp_path).strokes["a.jpg"]) == 3


# PNG strokes


def painted(root, name, labels):
    path = root / "strokes" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mask(path, labels)


def label_map(unlabelled=255, shift=0):
    labels = np.full((HEIGHT, WIDTH), unlabelled, np.uint8)
    labels[2:4, 2:30] = 0 + shift
    labels[10:12, 5:9] = 1 + shift
    labels[20:22, 5:9] = 1 + shift
    return labels


def test_a_map_of_values_has_a_stroke_for_each_part(tmp_path):
    draw(tmp_path, "a.jpg", ())
    painted(tmp_path, "a.png", label_map())
    folder = read(tmp_path, classes=["ground", "cat"])
    assert [stroke.tag for stroke in folder.strokes["a.jpg"]] == ["ground", "cat", "cat"]
    np.testing.assert_array_equal(folder.label_map("a.jpg"), label_map())


def test_where_0_is_unlabelled_classes_count_from_1(tmp_path):
    draw(tmp_path, "a.jpg", ())
    painted(tmp_path, "a.png", label_map(unlabelled=0, shift=1))
    folder = read(tmp_path, classes=["ground", "cat"], unlabelled=0)
    np.testing.assert_array_equal(folder.label_map("a.jpg"), label_map())
    (text,) = found(read(tmp_path, classes=["ground", "cat", "dog"]))
    assert "no pixel has the value 255, which means unlabelled; if 0 does" in text


def test_values_need_names(tmp_path):
    draw(tmp_path, "a.jpg", ())
    painted(tmp_path, "a.png", label_map())
    assert any("have no names; list them in classes" in text for text in found(read(tmp_path)))
    (tmp_path / "classes.txt").write_text("ground\ncat\n", encoding="utf-8")
    folder = read(tmp_path)
    assert not found(folder)
    assert folder.classes == ("ground", "cat")
    (text,) = found(read(tmp_path, classes=["a", "b"])) or [""]
    assert text == ""
    painted(tmp_path, "a.png", np.where(label_map() == 1, 7, label_map()).astype(np.uint8))
    (text,) = found(read(tmp_path))
    assert text.endswith(
        "strokes/a.png: has the value 7, but the classes are ground, cat, from 0 on"
    )


@pytest.mark.parametrize(
    "layout",
    ["a/{}.png", "{}/a.png", "a_{}.png", "a-{}.png", "a__{}.png", "a.{}.png"],
)
def test_one_png_for_each_class(tmp_path, layout):
    draw(tmp_path, "a.jpg", ())
    for tag, rows in (("background", slice(2, 4)), ("my-cat_2", slice(10, 12))):
        path = tmp_path / "strokes" / layout.format(tag)
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.zeros((HEIGHT, WIDTH), bool)
        pixels[rows, 5:20] = True
        Image.fromarray(pixels).save(path)
    folder = read(tmp_path)
    assert not found(folder)
    assert folder.classes == ("background", "my-cat_2")
    labels = folder.label_map("a.jpg")
    assert (labels[2:4, 5:20] == 0).all()
    assert (labels[10:12, 5:20] == 1).all()
    assert (labels != 255).sum() == 60


def test_label_studios_pngs_are_joined_through_its_json(tmp_path):
    for name, strokes in fixtures.IMAGES.items():
        draw(tmp_path, name, (), size=(strokes.width, strokes.height))
    (tmp_path / "strokes").mkdir()
    labels = np.zeros((fixtures.FIRST.height, fixtures.FIRST.width), np.uint8)
    labels[5:8, 5:20] = 255
    png = f"task-1-annotation-1-by-{fixtures.EMAIL}-tag-cat-0.png"
    Image.fromarray(labels).save(tmp_path / "strokes" / png)
    alone = read(tmp_path)
    (text,) = [text for text in found(alone, "warning") if "Label Studio" in text]
    assert "put the JSON export of the project beside them" in text
    assert fixtures.EMAIL not in "".join(f.text for f in alone.findings)


# What is wrong


def test_names_that_match_no_image_are_listed(tmp_path):
    draw(tmp_path)
    draw(tmp_path, "gone.jpg").unlink()
    (text,) = found(read(tmp_path), "warning")
    assert text.endswith("strokes/gone.json: no image is called gone.jpg: strokes not used")


def test_names_that_match_two_images_are_refused(tmp_path):
    draw(tmp_path, "one/a.jpg", ())
    draw(tmp_path, "two/a.jpg", ())
    draw(tmp_path, "three.jpg", ALL, tool_name="a.jpg")
    (text,) = found(read(tmp_path))
    assert "'a.jpg' may be one/a.jpg, two/a.jpg; give the images different names" in text


def test_every_broken_file_is_named(tmp_path):
    draw(tmp_path)
    (tmp_path / "images/broken.jpg").write_bytes(b"no image")
    (tmp_path / "images/later.HEIC").write_bytes(b"")
    (tmp_path / "strokes/cut.json").write_text('{"shapes": [', encoding="utf-8")
    (tmp_path / "strokes/notes.txt").write_text("hello", encoding="utf-8")
    (tmp_path / "images/.DS_Store").write_bytes(b"")
    folder = read(tmp_path)
    errors = found(folder)
    assert len(errors) == 2
    assert any("broken.jpg: no JPEG" in text for text in errors)
    assert any("cut.json: no valid JSON" in text for text in errors)
    assert found(folder, "warning") == ["1 file .heic not read; save as JPEG, PNG, TIFF or WebP"]
    assert any("no annotations, not read: notes.txt" in text for text in found(folder, "note"))


def test_another_size_than_the_images_is_refused(tmp_path):
    draw(tmp_path)
    draw(tmp_path, "b.jpg", ())
    write_scribblesup(tmp_path / "strokes/b.xml", Strokes(WIDTH * 2, HEIGHT, (GROUND,)))
    (text,) = found(read(tmp_path))
    assert text.endswith("b.xml: drawn on 80x30 pixels, but b.jpg has 40x30")


def test_classes_without_background_are_refused(tmp_path):
    draw(tmp_path, "a.jpg", (CAT, DOG))
    (text,) = found(read(tmp_path))
    assert text.startswith("no stroke of a class called background")
    assert not found(read(tmp_path, classes=["cat", "dog"]))
    draw(tmp_path, "a.jpg", (GROUND, SKY))
    assert found(read(tmp_path)) == ["all strokes are background; draw your objects, too"]


def test_background_has_many_names(tmp_path):
    draw(tmp_path, "a.jpg", (CAT, line("Background", (2, 2), (9, 2))))
    draw(tmp_path, "b.jpg", (DOG, line("_background_", (2, 2), (9, 2))))
    assert read(tmp_path).classes == ("background", "cat", "dog")


def test_unknown_tags_are_counted_and_refused_or_left_out(tmp_path):
    draw(tmp_path, "a.jpg", ALL)
    draw(tmp_path, "b.jpg", (GROUND, DOG, CAT, DOG))
    (text,) = found(read(tmp_path, classes=["background", "cat"]))
    assert text.startswith("strokes of unknown classes: dog 3; add them to classes, or set")
    folder = read(tmp_path, classes=["background", "cat"], unknown_tags="unlabelled")
    assert not found(folder)
    assert any("dog 3" in text for text in found(folder, "warning"))
    assert [stroke.tag for stroke in folder.strokes["b.jpg"]] == ["background", "cat"]


def test_declared_classes_without_strokes_are_listed_and_not_trained(tmp_path):
    draw(tmp_path, "a.jpg", (), size=(fixtures.SECOND.width, fixtures.SECOND.height))
    (tmp_path / "strokes").mkdir()
    strokes = Strokes(24, 18, (*fixtures.SECOND.strokes, line("background", (2, 2), (9, 2))))
    files = {"a.jpg": strokes, "elsewhere.jpg": fixtures.FIRST}
    (tmp_path / "strokes/c.xml").write_bytes(fixtures.cvat(files))
    folder = read(tmp_path)
    assert folder.classes == ("background", "cat")
    assert folder.unused == ("größe-2", "0")
    assert any("not trained: größe-2, 0" in text for text in found(folder, "note"))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"images": "pictures"}, "pictures: no such folder of images"),
        ({"strokes": "drawn"}, "drawn: no such folder of strokes"),
        ({"masks": "truth"}, "truth: no such folder of masks"),
        ({"masks": "images"}, "images and masks share the folder images"),
        ({"masks": "strokes"}, "strokes and masks share the folder strokes"),
    ],
)
def test_which_folder_is_what_must_be_clear(tmp_path, options, text):
    draw(tmp_path)
    with pytest.raises(BPGError, match=text):
        read(tmp_path, **options)


@pytest.mark.parametrize("path", ["../x", "/etc", "a/../../b", ""])
def test_folders_outside_the_root_are_refused(path):
    with pytest.raises(ValueError, match="below the root"):
        FolderOptions(images=path)


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(BPGError, match="no such folder; give the folder of your images"):
        read(tmp_path / "none")
    with pytest.raises(BPGError, match="no JPEG, PNG, TIFF or WebP in it"):
        read(tmp_path)


def test_images_without_strokes_are_no_data_set(tmp_path):
    draw(tmp_path, "a.jpg", ())
    (text,) = found(read(tmp_path))
    assert "no strokes; draw some with labelme" in text


def test_everything_in_one_folder(tmp_path):
    draw(tmp_path)
    flat = tmp_path / "flat"
    flat.mkdir()
    (tmp_path / "images/a.jpg").rename(flat / "a.jpg")
    (tmp_path / "strokes/a.json").rename(flat / "a.json")
    Image.new("RGB", (20, 20)).save(flat / "b.png")
    folder = read(flat)
    assert not found(folder)
    assert list(folder.photos) == ["a.jpg", "b.png"]
    assert folder.strokes["a.jpg"] == ALL


def test_accents_may_be_written_in_two_ways(tmp_path):
    name = "é.jpg"
    draw(
        tmp_path,
        unicodedata.normalize("NFD", name),
        ALL,
        tool_name=unicodedata.normalize("NFC", name),
    )
    assert len(read(tmp_path).drawn_on) == 1


# Turned and shrunk


def stored(path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    with Image.open(path) as image:
        image.load()
        image.save(path, exif=exif)


def test_strokes_on_the_image_as_shown_and_as_stored(tmp_path):
    """A camera held upright stores 40x30 pixels and asks for 30x40 to be shown."""
    shown = line("cat", (5.5, 10.5), (5.5, 30.5)), line("background", (25.5, 2.5), (25.5, 38.5))
    stored(draw(tmp_path, "a.jpg", ()), 6)
    stored(draw(tmp_path, "b.jpg", ()), 6)
    (tmp_path / "strokes").mkdir()
    write_scribblesup(tmp_path / "strokes/a.xml", Strokes(HEIGHT, WIDTH, shown))
    # Shown (x, y) is stored (y, height - x) when turned clockwise.
    as_stored = tuple(
        Stroke(s.tag, Line(tuple((y, HEIGHT - x) for x, y in s.shape.points))) for s in shown
    )
    write_scribblesup(tmp_path / "strokes/b.xml", Strokes(WIDTH, HEIGHT, as_stored))
    folder = read(tmp_path)
    assert not found(folder)
    assert (folder.photos["a.jpg"].width, folder.photos["a.jpg"].height) == (30, 40)
    assert folder.strokes["a.jpg"] == shown
    assert folder.strokes["b.jpg"] == shown
    assert sum("drawn on the image as stored" in text for text in found(folder, "note")) == 1


def test_strokes_shrink_with_their_image(tmp_path):
    draw(
        tmp_path, "a.jpg", (GROUND, Stroke("cat", Area((((8.0, 8.0), (20.0, 8.0), (20.0, 20.0)),))))
    )
    folder = read(tmp_path, longest_side=20)
    assert folder.size("a.jpg") == (20, 15)
    assert folder.strokes["a.jpg"][0].shape == Line(((1.25, 13.75), (18.75, 13.75)))
    assert folder.strokes["a.jpg"][1].shape == Area((((4.0, 4.0), (10.0, 4.0), (10.0, 10.0)),))
    assert folder.label_map("a.jpg").shape == (15, 20)


def test_masks_are_found_by_name(tmp_path):
    draw(tmp_path, "sub/a.jpg")
    draw(tmp_path, "b.jpg")
    (tmp_path / "masks/sub").mkdir(parents=True)
    write_mask(tmp_path / "masks/sub/a.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    write_mask(tmp_path / "masks/other.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    folder = read(tmp_path)
    assert list(folder.masks) == ["sub/a.jpg"]
    assert any("match no image: other.png" in text for text in found(folder, "warning"))


def test_the_result_is_the_same_in_any_order_of_files(tmp_path):
    draw(tmp_path, "b.jpg")
    draw(tmp_path, "a.jpg", (GROUND, DOG, CAT))
    first = read_folder(tmp_path, FolderOptions())
    again = read_folder(tmp_path, FolderOptions())
    assert first.classes == again.classes == ("background", "cat", "dog")
    assert first.strokes == again.strokes
