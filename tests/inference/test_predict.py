"""What is written for many images."""

import csv

import numpy as np
import pytest
from PIL import Image

from bpg.data.masks import read_mask
from bpg.errors import BPGError
from bpg.inference.inputs import Input, find_inputs
from bpg.inference.model import open_model
from bpg.inference.predict import JPEG_SIDE, predict_files
from bpg.inference.segment import SegmentOptions


@pytest.fixture
def photos(tmp_path, patches):
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    Image.fromarray(patches).save(folder / "one.png")
    turned = Image.fromarray(patches)
    exif = turned.getexif()
    exif[0x0112] = 3  # upside down
    turned.save(folder / "trip/two.png", exif=exif)
    return folder


def test_masks_overlays_and_areas(colours, photos, labels, patches, tmp_path):
    out = tmp_path / "out"
    inputs = find_inputs([str(photos)], out)
    model = open_model(colours)
    assert predict_files(model, inputs, out, SegmentOptions(), overlay=True) == []
    np.testing.assert_array_equal(read_mask(out / "one.png"), labels)
    np.testing.assert_array_equal(read_mask(out / "trip/two.png"), labels[::-1, ::-1])
    with Image.open(out / "one.png") as mask:
        assert mask.mode == "P"
        assert mask.getpalette()[3:9] == [200, 0, 0, 0, 0, 200]
    overlay = np.asarray(Image.open(out / "one.overlay.jpg")).astype(int)
    assert np.abs(overlay[5, 5] - patches[5, 5]).max() < 6
    assert np.abs(overlay[5, 25] - [225, 10, 15]).max() < 6
    with (out / "areas.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert rows[1] == {"image": "one", "class": "red", "pixels": "150", "share": "0.25"}
    assert sum(float(row["share"]) for row in rows if row["image"] == "trip/two") == 1
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    predict_files(model, inputs, out, SegmentOptions(), overlay=True)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_broken_image_is_named_and_the_others_done(colours, photos, tmp_path, capsys):
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    out = tmp_path / "out"
    inputs = find_inputs([str(photos)], out)
    wrong = predict_files(open_model(colours), inputs, out, SegmentOptions(), overlay=False)
    assert len(wrong) == 1
    assert f"{photos / 'broken.jpg'}: no JPEG" in wrong[0]
    assert capsys.readouterr().err == f"bpg predict: error: {wrong[0]}\n"
    written = sorted(path.name for path in out.rglob("*") if path.is_file())
    assert written == ["areas.csv", "one.png", "two.png"]


def test_an_image_too_long_for_a_jpeg_has_a_png_as_overlay(colours, tmp_path, capsys):
    for side in (JPEG_SIDE, JPEG_SIDE + 1):
        Image.new("RGB", (side, 1), (250, 20, 30)).save(tmp_path / f"{side}.png")
    out = tmp_path / "out"
    inputs = find_inputs([str(tmp_path / "*.png")], out)
    options = SegmentOptions(tile=8192)
    assert predict_files(open_model(colours), inputs, out, options, overlay=True) == []
    assert {path.name for path in out.glob("*.overlay.*")} == {
        "65500.overlay.jpg",
        "65501.overlay.png",
    }
    with Image.open(out / "65501.overlay.png") as overlay:
        assert overlay.getpixel((65500, 0)) == (225, 10, 15)
    assert f"{out / '65501.overlay.png'}: too long for a JPEG" in capsys.readouterr().err


def test_an_interrupt_leaves_no_areas_of_other_masks(colours, photos, tmp_path):
    out = tmp_path / "out"
    inputs = find_inputs([str(photos)], out)
    model = open_model(colours)
    predict_files(model, inputs, out, SegmentOptions(), overlay=False)
    assert (out / "areas.csv").is_file()

    class Interrupting(list):
        def __iter__(self):
            yield self[0]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_files(model, Interrupting(inputs), out, SegmentOptions(), overlay=False)
    assert not (out / "areas.csv").exists()
    predict_files(model, inputs, out, SegmentOptions(), overlay=False)
    assert (out / "areas.csv").is_file()


def test_what_the_model_cannot_do_is_said_before_the_first_image(colours, tmp_path):
    inputs = [Input(tmp_path / "missing.png", "missing")]
    with pytest.raises(BPGError, match="has no options for a CRF"):
        predict_files(
            open_model(colours), inputs, tmp_path / "out", SegmentOptions(crf=True), overlay=False
        )
    assert not (tmp_path / "out").exists()
