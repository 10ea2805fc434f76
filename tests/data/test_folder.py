import base64
import io
import json
import os
import re
import unicodedata
from urllib.parse import unquote

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bpg.data.folder import image_id, read_folder
from bpg.data.formats.label_studio import png_names
from bpg.data.formats.scribblesup import write_scribblesup
from bpg.data.masks import write_mask
from bpg.data.options import FolderOptions
from bpg.data.scribble_masks import scribble_masks
from bpg.data.strokes import Area, Line, Pixels, Stroke, Strokes, rasterise
from bpg.errors import BPGError
from tests.data.folders import ALL, CAT, DOG, GROUND, HEIGHT, SKY, WIDTH, draw, found, line, read
from tests.data.formats import fixtures


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
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
    assert left_out.startswith("not used as strokes: ")
    assert {"background", "cat", "größe-2", "0"} == set(folder.classes)
    assert folder.classes[0] == "background"
    for name, strokes in fixtures.IMAGES.items():
        expected = rasterise(strokes, folder.classes, 3)
        # Lines of tools without lines are brush masks; some tools' coordinates are rounded.
        assert (folder.label_map(name) != expected).mean() < 0.01


def test_what_is_not_used_is_named_with_its_files(tmp_path):
    for name, strokes in fixtures.IMAGES.items():
        draw(tmp_path, name, (), size=(strokes.width, strokes.height))
    (tmp_path / "strokes").mkdir()
    (tmp_path / "strokes/a.xml").write_bytes(fixtures.cvat(fixtures.IMAGES, extras=True))
    (tmp_path / "strokes/b.json").write_bytes(fixtures.coco(fixtures.IMAGES, extras=True))
    assert found(read(tmp_path), "warning") == [
        "not used as strokes: box 2 (in strokes/a.xml, strokes/b.json); "
        "keypoints 1 (in strokes/b.json); "
        "polyline without a label 1, skeleton 1, tag 1, track 1 (in strokes/a.xml)"
    ]


def test_the_same_strokes_in_two_exports_count_once(tmp_path):
    for name, strokes in fixtures.IMAGES.items():
        draw(tmp_path, name, (), size=(strokes.width, strokes.height))
    (tmp_path / "strokes").mkdir()
    (tmp_path / "strokes/a.xml").write_bytes(fixtures.cvat(fixtures.IMAGES))
    (tmp_path / "strokes/b.json").write_bytes(fixtures.coco(fixtures.IMAGES))
    folder = read(tmp_path)
    assert len(folder.strokes["café 1.jpg"]) == len(fixtures.FIRST.strokes)
    assert any(
        "4 strokes drawn twice (in strokes/a.xml, strokes/b.json)" in text
        for text in found(folder, "note")
    )


# Images inside labelme's files


def embedded(root, file, image_path, *, seed=0, strokes=ALL):
    """labelme's file with an image of its own inside."""
    path = root / "strokes" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    document = json.loads(fixtures.labelme("x", Strokes(WIDTH, HEIGHT, strokes)))
    noise = np.random.default_rng(seed).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    png = io.BytesIO()
    Image.fromarray(noise).save(png, "PNG")
    document["imageData"] = base64.b64encode(png.getvalue()).decode()
    document["imagePath"] = image_path
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("image_path", "name"),
    [
        ("été 1.jpg", "sub/été 1.jpg"),
        (r"C:\Users\me\photos\b.tif", "sub/b.tif"),
        ("../../../etc/passwd", "sub/passwd"),
        ("a", "sub/a.json"),
        (None, "sub/a.json"),
        ("..", "sub/a.json"),
    ],
)
def test_an_image_inside_a_file_has_the_name_that_the_file_gives_it(tmp_path, image_path, name):
    path = embedded(tmp_path, "sub/a.json", image_path)
    folder = read(tmp_path)
    assert not found(folder)
    assert folder.strokes == {name: ALL}
    assert list(folder.photos) == [name]
    (note,) = [text for text in found(folder, "note") if "inside the file" in text]
    called = "" if name == "sub/a.json" else f", called {name}"
    assert note == f"{path}: the image inside the file is used{called}"


def test_an_image_inside_a_file_is_found_in_lists_and_masks(tmp_path):
    embedded(tmp_path, "x.json", "a.jpg")
    embedded(tmp_path, "y.json", "b.jpg", seed=1)
    (tmp_path / "val.txt").write_text("b.jpg\n", encoding="utf-8")
    (tmp_path / "masks").mkdir()
    write_mask(tmp_path / "masks/b.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    folder = read(tmp_path)
    assert not found(folder)
    assert folder.held_out == {"b.jpg"}
    assert list(folder.masks) == ["b.jpg"]


def test_copies_of_an_image_inside_two_files_are_one_image(tmp_path):
    embedded(tmp_path, "x.json", "a.jpg", strokes=(GROUND, CAT))
    embedded(tmp_path, "y.json", "a.jpg", strokes=(SKY,))
    folder = read(tmp_path)
    assert folder.strokes == {"a.jpg": (GROUND, CAT, SKY)}


def test_other_images_of_one_name_inside_two_files_stay_apart(tmp_path):
    embedded(tmp_path, "x.json", "a.jpg", strokes=(GROUND, CAT))
    path = embedded(tmp_path, "y.json", "a.jpg", seed=1, strokes=(SKY, DOG))
    embedded(tmp_path, "sub/z.json", "a.jpg", seed=2, strokes=(GROUND,))
    folder = read(tmp_path)
    assert folder.strokes == {
        "a.jpg": (GROUND, CAT),
        "sub/a.jpg": (GROUND,),
        "y.json": (SKY, DOG),
    }
    assert found(folder, "warning") == [
        f"{path}: another file has an image a.jpg, too; this one is called y.json"
    ]


def test_an_image_inside_a_file_takes_no_others_place(tmp_path):
    embedded(tmp_path, "a.json", "c.json")
    embedded(tmp_path, "b.json", "c.json", seed=1)
    path = embedded(tmp_path, "c.json", "c", seed=2)
    folder = read(tmp_path)
    assert list(folder.photos) == ["b.json", "c.json"]
    assert found(folder) == [f"{path}: another image is called c.json, too; rename this file"]


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
    assert "(strokes/task-1-annotation-1-tag-cat-0.png)" in text
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
    assert found(folder, "warning") == [
        "1 file .heic not read (later.HEIC); save as JPEG, PNG, TIFF or WebP",
        "no annotations that are read: notes.txt; unpack archives, and save what was painted "
        "as PNG",
    ]


def test_every_fault_in_a_file_is_named_in_one_run(tmp_path):
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        draw(tmp_path, name, ())
    (tmp_path / "strokes").mkdir()
    files = {"a.jpg": Strokes(20, 30), "b.jpg": Strokes(40, 31), "c.jpg": Strokes(40, 30, ALL)}
    document = json.loads(fixtures.coco(files))
    document["annotations"][0]["category_id"] = 77
    document["annotations"][2]["image_id"] = 78
    path = tmp_path / "strokes/all.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    folder = read(tmp_path)
    assert [text.removeprefix(f"{path}: ") for text in found(folder)] == [
        "annotation 1 (id 0): its category_id '77' is none of the categories' ids",
        "annotation 3 (id 2): its image_id '78' is none of the images' ids",
        "image 1 (id 0) 'a.jpg': drawn on 20x30 pixels, but a.jpg has 40x30",
        "image 2 (id 3) 'b.jpg': drawn on 40x31 pixels, but b.jpg has 40x30",
    ]
    assert [stroke.tag for stroke in folder.strokes["c.jpg"]] == ["background", "dog"]


def test_strokes_outside_an_image_of_unknown_size_are_all_named_by_their_place(tmp_path):
    draw(tmp_path, "a.jpg", ())
    (tmp_path / "strokes").mkdir()
    document = json.loads(fixtures.labelme("a.jpg", Strokes(40, 30, ALL)))
    del document["imageWidth"], document["imageHeight"]
    for number in (1, 3):
        document["shapes"][number]["points"] = [[70, 5], [75, 5]]
    path = tmp_path / "strokes/a.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    folder = read(tmp_path)
    assert found(folder) == [
        f"{path}: shape {number}: lies wholly outside the 40x30 image" for number in (2, 4)
    ]
    assert len(folder.strokes["a.jpg"]) == 2


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
    assert text.startswith("strokes of unknown classes: dog (3 strokes), on a.jpg, b.jpg; add them")
    folder = read(tmp_path, classes=["background", "cat"], unknown_tags="unlabelled")
    assert not found(folder)
    assert any("dog (3 strokes), on a.jpg, b.jpg" in text for text in found(folder, "warning"))
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
        ({"images": "photos"}, "photos: no such folder of images"),
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


def test_the_result_is_the_same_in_any_order_of_files(tmp_path, monkeypatch):
    draw(tmp_path, "b.jpg")
    draw(tmp_path, "a.jpg", (GROUND, DOG, CAT))
    first = read_folder(tmp_path, FolderOptions())
    walk = os.walk

    def backwards(top):
        for parent, folders, files in walk(top):
            yield parent, folders[::-1], files[::-1]

    monkeypatch.setattr(os, "walk", backwards)
    again = read_folder(tmp_path, FolderOptions())
    assert list(first.photos) == list(again.photos)
    assert first.classes == again.classes == ("background", "cat", "dog")
    assert first.strokes == again.strokes


def test_maps_of_values_turn_with_the_image(tmp_path):
    stored(draw(tmp_path, "a.jpg", ()), 6)
    labels = np.full((HEIGHT, WIDTH), 255, np.uint8)
    labels[5:8, 10:30] = 1
    labels[20:22, 3:9] = 0
    painted(tmp_path, "a.png", labels)
    folder = read(tmp_path, classes=["ground", "cat"])
    assert not found(folder)
    # Shown, it is turned clockwise.
    np.testing.assert_array_equal(folder.label_map("a.jpg"), np.rot90(labels, -1))


def test_what_a_tool_saved_beside_the_image_is_read_too(tmp_path):
    draw(tmp_path)
    draw(tmp_path, "b.jpg")
    (tmp_path / "strokes/b.json").rename(tmp_path / "images/b.json")
    assert read(tmp_path).drawn_on == ["a.jpg", "b.jpg"]


def test_in_one_folder_drawn_pngs_are_pointed_out(tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "b.jpg")
    painted(tmp_path, "../b.png", label_map())
    painted(tmp_path, "../b_cat.png", label_map())
    Image.new("RGB", (20, 20), "red").save(tmp_path / "other.png")
    (tmp_path / "strokes").rmdir()
    texts = found(read(tmp_path), "warning")
    assert "taken for images: b.png, b_cat.png; if they are strokes, move them to strokes/" in texts


def test_a_stroke_twice_in_one_file_counts_once(tmp_path):
    draw(tmp_path, "a.jpg", (GROUND, CAT, CAT))
    folder = read(tmp_path)
    assert len(folder.strokes["a.jpg"]) == 2
    assert any("1 stroke drawn twice" in text for text in found(folder, "note"))


def test_a_region_of_two_parts_in_label_studios_png_is_one_stroke(tmp_path):
    blobs = np.zeros((30, 40), bool)
    blobs[15:20, 5:10] = blobs[15:20, 20:25] = True
    strokes = Strokes(40, 30, (Stroke("cat", Pixels(0, 0, blobs)), *fixtures.FIRST.strokes[:1]))
    draw(tmp_path, "café 1.jpg", (), size=(40, 30))
    (tmp_path / "strokes").mkdir()
    data = fixtures.label_studio({"café 1.jpg": strokes})
    (tmp_path / "strokes/p.json").write_bytes(data)
    (key,) = [key for key in png_names(json.loads(data), "p.json") if "-cat-" in key]
    png = re.sub("(annotation-[^-]*)", rf"\1-by-{fixtures.EMAIL}", key) + ".png"
    Image.fromarray(blobs).save(tmp_path / "strokes" / png)
    folder = read(tmp_path)
    assert [stroke.tag for stroke in folder.strokes["café 1.jpg"]].count("cat") == 1
    said = "".join(finding.text for finding in folder.findings)
    assert "drawn twice" in said
    assert fixtures.EMAIL not in said


def test_two_names_for_one_image_are_refused(tmp_path):
    draw(tmp_path, "train/1.jpg", (), size=(40, 30))
    (tmp_path / "strokes").mkdir()
    files = {"train/1.jpg": fixtures.FIRST, "val/1.jpg": fixtures.FIRST}
    (tmp_path / "strokes/c.json").write_bytes(fixtures.coco(files))
    (text,) = found(read(tmp_path))
    assert "'train/1.jpg' and 'val/1.jpg' would both be train/1.jpg" in text


def test_a_mask_in_another_folder_is_of_another_image(tmp_path):
    draw(tmp_path, "a/1.jpg")
    for name in ("b/1.png", "2.png"):
        (tmp_path / "masks" / name).parent.mkdir(parents=True, exist_ok=True)
        write_mask(tmp_path / "masks" / name, np.zeros((HEIGHT, WIDTH), np.uint8))
    folder = read(tmp_path)
    assert not folder.masks
    assert any("match no image: 2.png, b/1.png" in text for text in found(folder, "warning"))


def test_a_folder_of_maps_is_no_class(tmp_path):
    draw(tmp_path, "a.jpg", ())
    painted(tmp_path, "exported/a.png", label_map())
    folder = read(tmp_path, classes=["ground", "cat"])
    assert not found(folder)
    np.testing.assert_array_equal(folder.label_map("a.jpg"), label_map())


def test_strokes_drawn_on_masks_by_program_are_read_as_they_are(tmp_path):
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[8:22, 5:30] = 1
    (tmp_path / "masks").mkdir()
    write_mask(tmp_path / "masks/a.png", labels)
    draw(tmp_path, "a.jpg", ())
    for kind in ("png", "labelme", "coco", "scribblesup"):
        scribble_masks(
            [tmp_path / "masks"], tmp_path / kind, formats=[kind], classes=["ground", "cat"]
        )
        folder = read(tmp_path, strokes=kind, truth="strokes", line_width=3)
        assert folder.classes == ("ground", "cat"), kind
        assert not found(folder), kind
        drawn = folder.label_map("a.jpg")
        assert set(np.unique(drawn)) == {0, 1, 255}
        assert (drawn == labels)[drawn != 255].all()


def test_a_palette_of_any_colours_means_its_indices(tmp_path):
    draw(tmp_path, "a.jpg", ())
    image = Image.fromarray(label_map())
    image.putpalette([0, 0, 0, 0, 128, 0, 128, 0, 0] + [0] * 759)  # VGA's: label 1 is green
    (tmp_path / "strokes").mkdir()
    image.save(tmp_path / "strokes/a.png")
    folder = read(tmp_path, classes=["ground", "cat", "dog"])
    np.testing.assert_array_equal(folder.label_map("a.jpg"), label_map())


@pytest.mark.parametrize("classes", [["cat"], ["cat", "cat"], [str(n) for n in range(300)]])
def test_impossible_classes_are_refused(tmp_path, classes):
    draw(tmp_path)
    with pytest.raises(BPGError, match="2 to 254 different class names"):
        read(tmp_path, classes=classes)


def test_labelmes_own_list_of_labels_is_a_list_of_classes(tmp_path):
    draw(tmp_path)
    text = "__ignore__\n_background_\ncat\ndog\n"
    (tmp_path / "classes.txt").write_text(text, encoding="utf-8")
    folder = read(tmp_path)
    assert folder.classes == ("_background_", "cat", "dog")
    assert not found(folder)


def test_a_png_of_two_images_is_not_used(tmp_path):
    draw(tmp_path, "a.jpg", ())
    draw(tmp_path, "a.webp", ())
    painted(tmp_path, "a.png", label_map())
    texts = found(read(tmp_path, classes=["ground", "cat"]), "warning")
    assert texts == [
        f"{tmp_path}/strokes/a.png: not used: may be the map of values of a.jpg, a.webp; call it "
        "a.jpg.png or a.webp.png"
    ]
    painted(tmp_path, "a.webp.png", label_map())
    (tmp_path / "strokes/a.png").unlink()
    assert read(tmp_path, classes=["ground", "cat"]).drawn_on == ["a.webp"]


# A name that fits two images


def blot(root, name, mode="L"):
    """What is painted of one class, on black."""
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
    pixels[5:9, 4:30] = 255
    path = root / "strokes" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path)


@pytest.fixture
def two_images(tmp_path):
    draw(tmp_path, "my.jpg", ())
    draw(tmp_path, "my_cat.jpg", ())
    return tmp_path


CLASSES = ["ground", "cat"]


def test_a_map_of_values_cannot_be_a_class(two_images):
    painted(two_images, "my_cat.png", label_map())
    folder = read(two_images, classes=CLASSES)
    assert not found(folder)
    assert folder.drawn_on == ["my_cat.jpg"]
    np.testing.assert_array_equal(folder.label_map("my_cat.jpg"), label_map())


@pytest.mark.parametrize("mode", ["L", "1", "RGB"])
def test_what_is_painted_on_black_cannot_be_a_map_of_values(two_images, mode):
    blot(two_images, "my_cat.png", mode)
    folder = read(two_images, classes=CLASSES)
    assert not found(folder)
    assert folder.drawn_on == ["my.jpg"]
    assert [stroke.tag for stroke in folder.strokes["my.jpg"]] == ["cat"]
    said = f"{two_images}/strokes/my_cat.png: by its content the class cat of my.jpg, none of "
    assert said + "my_cat.jpg" in found(folder, "note")


def test_what_may_be_both_is_refused_with_both_readings_and_names_that_help(two_images):
    painted(two_images, "my_cat.png", label_map(unlabelled=0, shift=1))
    (text,) = found(read(two_images, classes=CLASSES, unlabelled=0))
    assert text == (
        f"{two_images}/strokes/my_cat.png: may be the map of values of my_cat.jpg, or the class "
        "cat of my.jpg; call it my_cat.jpg.png or my.jpg/cat.png"
    )
    (two_images / "strokes/my_cat.png").rename(two_images / "strokes/my_cat.jpg.png")
    assert read(two_images, classes=CLASSES, unlabelled=0).drawn_on == ["my_cat.jpg"]
    (two_images / "strokes/my.jpg").mkdir()
    (two_images / "strokes/my_cat.jpg.png").rename(two_images / "strokes/my.jpg/cat.png")
    assert read(two_images, classes=CLASSES, unlabelled=0).drawn_on == ["my.jpg"]


def test_two_classes_of_two_images_are_refused_with_both_readings(two_images):
    blot(two_images, "my_cat_eye.png")
    (text,) = found(read(two_images, classes=["ground", "eye", "cat_eye"]))
    assert text.endswith(
        "my_cat_eye.png: may be the class eye of my_cat.jpg, or the class cat_eye of my.jpg; call "
        "it my_cat.jpg/eye.png or my.jpg/cat_eye.png"
    )
    folder = read(two_images, classes=["ground", "cat_eye"])  # only one is a class
    assert folder.drawn_on == ["my.jpg"]


def test_classes_that_only_names_tell_make_a_name_unclear_too(two_images):
    for name in ("my_background.png", "my_cat_cat.png", "my_cat.png"):
        blot(two_images, name)
    folder = read(two_images)
    assert folder.drawn_on == ["my.jpg", "my_cat.jpg"]
    assert sorted(stroke.tag for stroke in folder.strokes["my.jpg"]) == ["background", "cat"]


def test_links_and_colours_of_no_class_are_named(tmp_path):
    draw(tmp_path)
    (tmp_path / "images/more").symlink_to(tmp_path / "strokes")
    texts = found(read(tmp_path, colours={"cow": "#ffffff"}), "warning")
    assert any(
        text.endswith("images/more: a link to a folder, which is not read") for text in texts
    )
    assert "source.colours: there is no class cow" in texts


def test_strokes_far_over_the_border_are_pointed_out(tmp_path):
    draw(tmp_path, "a.jpg", (*ALL, line("cat", (30, 15), (60, 15))))
    (text,) = found(read(tmp_path), "warning")
    assert "1 stroke of a.jpg run far over the image's border" in text
    draw(tmp_path, "a.jpg", (*ALL, line("cat", (30, 15), (43, 15))))  # a slip
    assert not found(read(tmp_path), "warning")


def test_names_make_no_lines_of_their_own(tmp_path):
    draw(tmp_path, "a.jpg", (GROUND, CAT, line("cat\x1b[31m\nerror: fake", (3, 3), (9, 3))))
    folder = read(tmp_path, classes=["background", "cat"])
    assert all(finding.text.isprintable() for finding in folder.findings)


def test_a_pipe_is_not_waited_for(tmp_path):
    draw(tmp_path)
    os.mkfifo(tmp_path / "strokes/pipe.json")
    assert read(tmp_path).drawn_on == ["a.jpg"]


def test_classes_that_differ_in_case_are_pointed_out(tmp_path):
    draw(tmp_path, "a.jpg", (*ALL, line("Cat", (3, 9), (9, 9))))
    assert "classes that differ in case alone: Cat, cat" in found(read(tmp_path), "warning")


def test_a_slip_of_the_pen_in_a_class_is_pointed_out(tmp_path):
    draw(tmp_path, "a.jpg", ALL)
    draw(tmp_path, "b.jpg", (GROUND, DOG, CAT, line("dgo", (3, 9), (9, 9))))
    texts = found(read(tmp_path), "warning")
    assert "the class dgo has a single stroke; did you mean dog?" in texts
    (text,) = found(read(tmp_path, classes=["background", "cat", "dog"]))
    assert "dgo (1 stroke; did you mean dog?), on b.jpg" in text


def test_pngs_beside_no_subfolder_find_their_image(tmp_path):
    draw(tmp_path, "sub/a_1.jpg", ())
    pixels = np.zeros((HEIGHT, WIDTH), bool)
    pixels[5:8, 5:20] = True
    (tmp_path / "strokes").mkdir()
    for tag in ("background", "my_cat"):
        Image.fromarray(np.roll(pixels, 9 * (tag == "my_cat"), 0)).save(
            tmp_path / f"strokes/a_1_{tag}.png"
        )
    folder = read(tmp_path)
    assert [stroke.tag for stroke in folder.strokes["sub/a_1.jpg"]] == ["background", "my_cat"]
