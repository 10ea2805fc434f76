"""dataset: voc, from a mirror of archives to the tables, on five made-up images."""

import csv
import json

import numpy as np
from PIL import Image

from bpg.data.ids import read_ids
from bpg.data.masks import image_path, read_image, read_mask

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
    for name in ("cost", "samples", "tables", "report"):
        outcome = tools.call(voc.folder, name)
        assert outcome.code == 0, outcome.error
    page = voc.folder / "results/report"
    # Only a variant that was not run stands beside the baseline, so there is no difference.
    assert {path.name for path in page.glob("*.png")} == {
        *(f"figure{number}.png" for number in (1, 4, 5, 6)),
        *("miou.png", "trimap.png", "curves.png"),
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
