"""dataset: voc, from a mirror of archives to the tables, on five made-up images."""

import csv
import io
import json
import re

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat

from bpg.data.ids import read_ids
from bpg.data.masks import PALETTE, image_path, read_image, read_mask

CAT, DOG = 8, 12  # VOC's own labels
SIZES = {"v1": (50, 38), "v2": (41, 60), "both": (33, 47), "s1": (60, 40), "leak": (52, 39)}


def test_a_mirror_becomes_pictures_masks_and_scribbles(voc, tools):
    for name in ("fetch", "prepare", "scribbles"):
        assert tools.call(voc.folder, name).code == 0
    data = voc.folder / "data/voc"
    for archive in (voc.mirror.voc, voc.mirror.sbd, voc.mirror.scribbles):
        assert (data / "archives" / archive.name).read_bytes() == archive.read_bytes()

    train, val = read_ids(data / "train.txt"), read_ids(data / "val.txt")
    assert train == ["both", "s1", "v1", "v2"]  # VOC train and SBD, once each, sorted
    assert val == ["leak"]  # although SBD has it, too
    assert not {p.stem for p in (data / "scribbles").iterdir()} & set(val)
    assert {p.stem for p in (data / "scribbles").iterdir()} == set(train)

    for name in (*train, *val):
        width, height = SIZES[name]
        assert read_image(image_path(data / "images", name)).shape == (height, width, 3)
        mask = read_mask(data / f"masks/{name}.png")
        assert mask.shape == (height, width)
        # VOC's mask where there is one; the frame row of 255 is kept.
        assert set(np.unique(mask)) == {0, DOG if name == "s1" else CAT, 255}
    for name in train:
        scribble = read_mask(data / f"scribbles/{name}.png")
        truth = read_mask(data / f"masks/{name}.png")
        assert scribble.shape == truth.shape
        assert set(np.unique(scribble)) == {0, DOG if name == "s1" else CAT, 255}
        drawn = scribble != 255
        assert (scribble[drawn] == truth[drawn]).all()
        assert Image.open(data / f"scribbles/{name}.png").mode == "P"


def test_pictures_of_all_sizes_reach_the_tables(voc, tools):
    for name in ("fetch", "prepare", "scribbles"):
        assert tools.call(voc.folder, name).code == 0
    for name in ("train", "predict", "crf", "evaluate"):
        assert tools.call(voc.folder, name, "scribble", "0").code == 0
    edges = voc.folder / "data/voc/edges"
    edges.mkdir()
    for path in (voc.folder / "data/voc/scribbles").iterdir():
        Image.fromarray(np.zeros(read_mask(path).shape, np.uint8)).save(edges / path.name)
    for name in ("cost", "samples", "draw_next", "tables", "report"):
        outcome = tools.call(voc.folder, name)
        assert outcome.code == 0, outcome.error
    page = voc.folder / "results/report"
    # Only a variant that was not run stands beside the baseline, so there is no difference.
    assert {path.name for path in page.glob("*.png")} == {
        *(f"figure{number}.png" for number in (1, 4, 5, 6)),
        *("miou.png", "classes.png", "trimap.png", "curves.png", "draw_next.png"),
    }

    run = voc.folder / "runs/scribble/0"
    for folder in ("masks", "masks_crf"):
        assert [p.name for p in (run / folder).iterdir()] == ["leak.png"]
        mask = read_mask(run / folder / "leak.png")
        assert mask.shape == SIZES["leak"][::-1]
        assert mask.max() <= 20
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    # Ignored pixels are not counted: 52 x 2 of the mask's 52 x 39.
    assert np.sum(metrics["raw"]["confusion"]) == 52 * 37
    assert np.flatnonzero(np.sum(metrics["raw"]["confusion"], 1)).tolist() == [0, CAT]

    with (voc.folder / "results/table1.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["variant"] == "scribble"]
    ours, papers = (
        next(row for row in rows if (row["crf"], row["numbers"]) == ("0", whose))
        for whose in ("ours", "paper's")
    )
    assert ours["iou_dog"] == "absent"
    assert float(ours["iou_cat"]) >= 0
    assert {(row["dataset"], row["train_images"], row["val_images"]) for row in rows} == {
        ("voc", "4", "1")
    }
    # On VOC's classes the paper's row follows each of ours.
    assert float(papers["iou_dog"]) == 78.0


def test_a_second_fetch_keeps_what_is_right(voc, tools):
    assert tools.call(voc.folder, "fetch").code == 0
    kept = voc.folder / "data/voc/archives" / voc.mirror.voc.name
    before = kept.stat().st_mtime_ns, kept.stat().st_ino
    assert tools.call(voc.folder, "fetch").code == 0
    assert (kept.stat().st_mtime_ns, kept.stat().st_ino) == before


def test_the_mirrors_checksums_go_before_the_published_ones(voc, tools):
    # The archives here are not the official ones, so that without SHA256SUMS they are refused.
    (voc.mirror.folder / "SHA256SUMS").unlink()
    outcome = tools.call(voc.folder, "fetch")
    assert outcome.code == 1
    assert "VOCtrainval_11-May-2012.tar: wrong checksum" in outcome.error


# Labels as a set


def every_mask(change):
    """Change all masks of VOC's and SBD's archives; `change` maps labels to labels."""

    def apply(voc, sbd, strokes):
        del strokes
        for name in [name for name in voc if "SegmentationClass" in name]:
            mask = np.array(Image.open(io.BytesIO(voc[name])))
            picture = Image.fromarray(change(mask, name).astype(np.uint8))
            picture.putpalette(PALETTE.tobytes())
            buffer = io.BytesIO()
            picture.save(buffer, "PNG")
            voc[name] = buffer.getvalue()
        for name in [name for name in sbd if name.endswith(".mat")]:
            mask = loadmat(io.BytesIO(sbd[name]))["GTcls"][0, 0]["Segmentation"]
            buffer = io.BytesIO()
            inside = {
                "Segmentation": change(mask, name).astype(np.uint8),
                "CategoriesPresent": np.uint8([[1]]),
            }
            savemat(buffer, {"GTcls": inside})
            sbd[name] = buffer.getvalue()

    return apply


def prepared(voc, tools, change):
    voc.mirror.fill(change)
    assert tools.call(voc.folder, "fetch").code == 0
    return tools.call(voc.folder, "prepare")


def test_what_the_labels_hold_is_printed_and_what_is_odd_is_said(voc, tools):
    found = prepared(voc, tools, None)
    assert found.code == 0
    assert re.search(r"cat +3 images +\d+ % +1 images +\d+ %", found.out)
    assert "warning: no pixel of plane, bike" in found.out
    drawn = tools.call(voc.folder, "scribbles")
    assert re.search(r"dog +1 images", drawn.out)
    assert "warning: no stroke of plane, bike" in drawn.out


@pytest.mark.parametrize(
    ("change", "named"),
    [
        # 0 and 255, as annotation tools export them
        (lambda mask, name: np.where(mask == 0, 0, 255), "only class is background"),
        (lambda mask, name: np.where(mask == 0, CAT, CAT), "only class is cat"),
        (
            lambda mask, name: np.full_like(mask, 255) if "leak" in name else mask,
            "validation masks: no pixel has a label",
        ),
    ],
    ids=["binary", "one class", "nothing to score"],
)
def test_labels_that_cannot_be_trained_or_scored_are_refused_before_anything_trains(
    voc, tools, change, named
):
    found = prepared(voc, tools, every_mask(change))
    assert found.code == 1
    assert re.match(rf"prepare: error: data/voc/masks: .*{named}", found.error), found.error
    assert "\n" not in found.error
    assert not (voc.folder / "data/voc/masks").exists()


def test_strokes_of_one_class_are_refused(voc, tools):
    def change(voc_members, sbd, strokes):
        del voc_members, sbd
        for name in strokes:
            strokes[name] = re.sub(rb"<tag>\w+</tag>", b"<tag>background</tag>", strokes[name])

    assert prepared(voc, tools, change).code == 0
    found = tools.call(voc.folder, "scribbles")
    assert found.code == 1
    assert found.error.startswith("scribbles: error: data/voc/strokes: the only class is backgr")
    assert not (voc.folder / "data/voc/scribbles").exists()


def test_a_data_set_of_strokes_reaches_the_page(voc, tools):
    """Training masks that are all 255: whoever has strokes alone has no others."""
    found = prepared(
        voc,
        tools,
        every_mask(lambda mask, name: mask if "leak" in name else np.full_like(mask, 255)),
    )
    assert found.code == 0, found.error
    assert "warning: the training masks are all 255" in found.out
    assert tools.call(voc.folder, "scribbles").code == 0
    for name in ("train", "predict", "crf", "evaluate"):
        assert tools.call(voc.folder, name, "scribble", "0").code == 0
    (voc.folder / "data/voc/edges").mkdir()
    for path in (voc.folder / "data/voc/scribbles").iterdir():
        blank = Image.fromarray(np.zeros(read_mask(path).shape, np.uint8))
        blank.save(voc.folder / "data/voc/edges" / path.name)
    for name in ("cost", "samples", "draw_next", "tables", "report"):
        outcome = tools.call(voc.folder, name)
        assert outcome.code == 0, outcome.error
    assert read_ids(voc.folder / "results/samples/train.txt")
