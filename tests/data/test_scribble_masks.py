import json
import os

import numpy as np
import pytest
from PIL import Image

from bpg.data.formats.read import read_annotations
from bpg.data.human_strokes import HandOptions
from bpg.data.masks import read_mask, write_mask
from bpg.data.scribble_masks import FORMATS, class_names, scribble_masks
from bpg.data.strokes import Strokes, rasterise
from bpg.errors import BPGError

CLASSES = ("background", "cat", "Häuschen & <Zaun>")
THIN = HandOptions(min_size=0)


def a_mask(seed=0, thin=False):
    rng = np.random.default_rng(seed)
    mask = np.zeros((60, 90), np.uint8)
    row, column = rng.integers(2, 25, 2)
    mask[row : row + 20, column : column + 40] = 1
    mask[row + 5 : row + 30, column + 10 : column + 22] = 2
    mask[:, -20:] = 255
    if thin:
        mask[3:55, 68] = 2
    return mask


@pytest.fixture
def masks(tmp_path):
    """Three masks, one of them with a region of one pixel's width."""
    folder = tmp_path / "my masks"
    for seed, name in enumerate(["a.png", "sub folder/größe 1.png", "sub folder/deep/b.c.PNG"]):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_mask(path, a_mask(seed, thin=seed == 1))
    (folder / "notes.txt").write_text("no mask")
    (folder / "._a.png").write_bytes(b"left behind by a file manager")
    return folder


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def draw(masks, out, **options):
    options.setdefault("jobs", 1)
    return scribble_masks([masks], out, **options)


def labels_in(path):
    """The label maps in a file of annotations, by the image's name."""
    found = read_annotations(path)
    return {
        image.names[0]: rasterise(Strokes(*image.size, image.strokes), CLASSES, 3)
        for image in found.images
    }


def test_names_and_folders_are_kept(masks, tmp_path):
    draw(masks, tmp_path / "out", formats=FORMATS, classes=CLASSES)
    stems = ["a", "sub folder/größe 1", "sub folder/deep/b.c"]
    kinds = (("png", ".png"), ("scribblesup", ".xml"), ("labelme", ".json"))
    assert files(tmp_path / "out").keys() == {
        *(f"{kind}/{stem}{suffix}" for kind, suffix in kinds for stem in stems),
        "coco/strokes.json",
        "classes.txt",
        "scribble.json",
    }
    assert (tmp_path / "out/classes.txt").read_text(encoding="utf-8").split("\n")[:-1] == [*CLASSES]


def test_all_formats_hold_the_same_labels(masks, tmp_path):
    out = tmp_path / "out"
    summary = draw(masks, out, formats=FORMATS, classes=CLASSES, options=THIN)
    assert summary.narrow == 1
    coco = labels_in(out / "coco/strokes.json")
    assert list(coco) == ["a.png", "sub folder/deep/b.c.PNG", "sub folder/größe 1.png"]
    pixels = labelled = 0
    for name, from_coco in coco.items():
        stem, mask = name[:-4], read_mask(masks / name)
        label_map = read_mask(out / "png" / f"{stem}.png")
        assert (label_map == mask)[label_map != 255].all()
        assert set(np.unique(label_map)) == {0, 1, 2, 255}
        assert np.array_equal(from_coco, label_map)
        (from_labelme,) = labels_in(out / "labelme" / f"{stem}.json").values()
        assert np.array_equal(from_labelme, label_map)
        (from_xml,) = labels_in(out / "scribblesup" / f"{stem}.xml").values()
        if "größe" in name:
            label_map[:, 66:] = 255  # the format has no narrower lines
        assert np.array_equal(from_xml, label_map)
        pixels, labelled = pixels + mask.size, labelled + (from_coco != 255).sum()
    assert summary.labelled == pytest.approx(100 * labelled / pixels)


def test_the_description_says_how_it_was_made(masks, tmp_path):
    options = HandOptions(length=0.4, min_size=0)
    summary = draw(masks, tmp_path / "out", options=options, seed=3, formats=["coco", "png"])
    found = json.loads((tmp_path / "out/scribble.json").read_text())
    assert found["made_by"] == "bpg scribble"
    assert (found["seed"], found["options"]["length"]) == (3, 0.4)
    assert found["formats"] == ["png", "coco"]
    assert (found["images"], found["without"], found["narrow"]) == (3, 0, 1)
    assert found["strokes"] == summary.strokes
    assert found["classes"] == ["0", "1", "2"]  # without names, the labels


def test_the_same_bytes_however_many_jobs_there_are(masks, tmp_path):
    draw(masks, tmp_path / "one", formats=FORMATS)
    draw(masks, tmp_path / "two", formats=FORMATS, jobs=2)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    draw(masks, tmp_path / "other", formats=FORMATS, seed=1)
    assert files(tmp_path / "one")["png/a.png"] != files(tmp_path / "other")["png/a.png"]


def test_an_image_is_drawn_on_the_same_way_without_the_others(masks, tmp_path):
    draw(masks, tmp_path / "all")
    draw(masks / "a.png", tmp_path / "one")
    assert files(tmp_path / "one")["png/a.png"] == files(tmp_path / "all")["png/a.png"]


def test_a_folder_of_ours_is_replaced_and_an_empty_one_filled(masks, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    draw(masks, out, formats=FORMATS)
    (masks / "a.png").unlink()
    draw(masks, out)
    assert files(out).keys() == {
        "png/sub folder/größe 1.png",
        "png/sub folder/deep/b.c.png",
        "classes.txt",
        "scribble.json",
    }


def test_an_image_without_strokes_has_no_file_and_is_counted(masks, tmp_path):
    write_mask(masks / "unknown.png", np.full((8, 8), 255, np.uint8))
    summary = draw(masks, tmp_path / "out", formats=FORMATS)
    assert (summary.images, summary.without) == (4, 1)
    found = files(tmp_path / "out")
    assert not any("unknown" in name for name in found)
    assert b"unknown.png" in found["coco/strokes.json"]


def test_a_palette_of_any_colours_means_its_indices(masks, tmp_path):
    with Image.open(masks / "a.png") as opened:
        opened.load()
        opened.putpalette([0, 0, 0, 0, 128, 0, 128, 0, 0] + [0] * 759)  # VGA's: 1 is green
        opened.save(masks / "a.png")
    draw(masks, tmp_path / "out", classes=CLASSES)
    label_map = read_mask(tmp_path / "out/png/a.png")
    assert (label_map == a_mask())[label_map != 255].all()


def bad_mask(masks):
    (masks / "z.png").write_bytes((masks / "a.png").read_bytes()[:-30])


def colour_mask(masks):
    Image.new("RGB", (5, 5)).save(masks / "z.png")


def unnamed(masks):
    write_mask(masks / "z.png", np.full((5, 5), 3, np.uint8))


def twin(masks):
    write_mask(masks / "a.PNG", a_mask())


def control(masks):
    write_mask(masks / "a\nb.png", a_mask())


def no_utf8(masks):
    (masks / os.fsdecode(b"\xff.png")).write_bytes((masks / "a.png").read_bytes())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (bad_mask, "z.png: .*cut off"),
        (colour_mask, "z.png: a mask must be a palette PNG"),
        (unnamed, "z.png: label 3 in column 0, row 0 has no name"),
        (twin, "a.(png|PNG): has the same name as .*a.(png|PNG), so"),
        (control, r"a\\nb.png': has characters that cannot be written"),
        (no_utf8, r"udcff.png': has characters that cannot be written"),
    ],
)
def test_a_bad_mask_gets_one_line_and_the_old_folder_stays(masks, tmp_path, damage, message):
    draw(masks, tmp_path / "out", classes=CLASSES)
    before = files(tmp_path)
    damage(masks)
    with pytest.raises(BPGError, match=message) as caught:
        draw(masks, tmp_path / "out", classes=CLASSES, seed=1)
    assert "\n" not in str(caught.value)
    str(caught.value).encode()
    after = {name: data for name, data in files(tmp_path).items() if name in before}
    assert after == before
    assert {path.name for path in tmp_path.iterdir()} == {"my masks", "out"}


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("my masks", "overlaps with the masks"),
        ("my masks/out", "overlaps with the masks"),
        (".", "overlaps with the masks"),
        ("my masks/a.png", "overlaps with the masks"),
        ("other", "is not empty; give a new folder"),
        ("foreign", "is not empty; give a new folder"),
        ("file", "is no folder"),
        ("link", "is a link"),
    ],
)
def test_what_is_not_ours_is_not_replaced(masks, tmp_path, out, message):
    for name, text in (("other/a.txt", "precious"), ("foreign/scribble.json", "[1]")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    (tmp_path / "file").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "other")
    before = files(tmp_path)
    with pytest.raises(BPGError, match=message):
        draw(masks, tmp_path / out)
    assert files(tmp_path) == before


def test_the_folder_of_a_single_mask_is_not_replaced(masks, tmp_path):
    with pytest.raises(BPGError, match="overlaps with the masks"):
        draw(masks / "a.png", masks)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "no mask is given"),
        (["gone"], "gone: no such file or folder"),
        (["empty"], "empty: holds no PNG"),
        (["my masks", "my masks/a.png"], "has the same name as"),
    ],
)
def test_there_must_be_masks_of_different_names(masks, tmp_path, given, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(BPGError, match=message):
        scribble_masks([tmp_path / name for name in given], tmp_path / "out", jobs=1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("formats", [[], ["png", "gif"]])
def test_formats_have_names(masks, tmp_path, formats):
    with pytest.raises(BPGError, match=r"format .*choose from png, scribblesup, labelme, coco"):
        draw(masks, tmp_path / "out", formats=formats)


def test_class_names_are_a_list_or_a_file(tmp_path):
    assert class_names("background, cat ,zwei Wörter") == ("background", "cat", "zwei Wörter")
    path = tmp_path / "names.txt"
    path.write_text("\ufeffbackground\r\n\r\n cat, small\r\n", encoding="utf-8")
    assert class_names(str(path)) == ("background", "cat, small")
    plain = tmp_path / "names"
    plain.write_text("a\nb", encoding="utf-8")
    assert class_names(str(plain)) == ("a", "b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,,b", "a class has no name"),
        ("", "a class has no name"),
        ("a,b,a", "'a' is there twice"),
        (",".join(map(str, range(256))), "256 names, but labels are 0 to 254"),
        ("a,b\x07", "cannot be written in a name"),
        ("gone.txt", "gone.txt: cannot be read"),
    ],
)
def test_bad_class_names_get_one_line(text, message):
    with pytest.raises(BPGError, match=message):
        class_names(text)


def test_a_file_of_names_must_be_text(tmp_path):
    (tmp_path / "names.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(BPGError, match=r"names.txt: not UTF-8 text"):
        class_names(str(tmp_path / "names.txt"))
