"""docs/own_images.md, word for word, on a folder of generated photographs in several formats."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bpg.data.formats.labelme import write_labelme
from bpg.data.masks import read_mask
from bpg.data.shapes import CLASSES, draw_sample
from bpg.data.strokes import rasterise
from tests.data.formats import fixtures

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/own_images.md").read_text(encoding="utf-8")
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()
]
IMAGES = 12
SIZE = 96


def photographs(root):
    """Images with blanks and accents in their names, strokes of four tools, most of them mixed."""
    drawn = {}
    for number in range(IMAGES):
        sample = draw_sample([21, 0, number], SIZE)
        name = f"été {number // 6}/photo n° {number}.jpg"
        path = root / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(sample.image).save(path, quality=95)
        drawn[name] = sample.strokes
    names = sorted(drawn)
    strokes = root / "strokes"
    strokes.mkdir()
    for name in names[:3]:
        path = strokes / Path(name).with_suffix(".json").name
        write_labelme(path, drawn[name], "..\\images\\" + name.replace("/", "\\"))
    (strokes / "cvat.xml").write_bytes(fixtures.cvat({name: drawn[name] for name in names[3:5]}))
    (strokes / "coco.json").write_bytes(fixtures.coco({name: drawn[name] for name in names[5:7]}))
    (strokes / "studio.json").write_bytes(
        fixtures.label_studio({name: drawn[name] for name in names[7:9]})
    )
    for name in names[9:10]:
        labels = rasterise(drawn[name], CLASSES, 3)
        for label in np.unique(labels[labels != 255]):
            png = Image.fromarray(labels == label)
            png.save(strokes / f"{Path(name).stem}_{CLASSES[label]}.png")
    return names


@pytest.mark.network
def test_the_walk_through_works_to_the_letter(checkout, tools, run, wheels, tmp_path):
    folder = checkout(tmp_path / "repository")
    # A network from scratch, trained briefly, in place of recipe small.
    shutil.copy(folder / "params/recipe/tiny.yaml", folder / "params/recipe/small.yaml")
    names = photographs(tmp_path / "photos")
    run(folder, "git", "init", "--quiet")
    run(folder, "dvc", "init", "--quiet", "--force")
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "--message", "Start")
    assert len(COMMANDS) == 8
    said = {
        command: run(folder, "bash", "-c", command, HOME=str(tmp_path), PYTHONPATH=str(ROOT))
        for command in COMMANDS
    }
    checked = said["bpg check ~/photos"]
    assert "error" not in checked
    assert "images: 10 with strokes, 0 with masks, 2 with neither" in checked
    assert "no image is called" not in checked
    assert (folder / "bpg-check.html").read_text(encoding="utf-8").count("<figure>") == IMAGES

    summary = said["cat results/summary.md"]
    assert "held-out strokes, which alone are scored on" in summary
    page = (folder / "results/report/index.html").read_text(encoding="utf-8")
    page = re.sub(r'data:image/[^"]+', "", page)  # which may spell any word
    for text in (summary, page.partition("<body>")[2]):
        assert "Class by class" in text and "95 % interval" in text
        for foreign in ("paper", "Wang", "not run", "n/a", "claim", "Table 1"):
            assert foreign not in text
    assert 'alt="The least sure images"' in page
    card = json.loads((folder / "runs/bpg/0/card.json").read_text(encoding="utf-8"))
    assert card["scores"]["measured_on"] == "held-out strokes"
    assert card["classes"][0] == "background"
    with (folder / "results/draw_next/draw_next.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["image"] for row in rows} <= set(names)
    assert {row["image"] for row in rows if row["strokes"] == "no"} == set(names[10:])

    assert "background" in said["bpg info model.onnx"]
    for name in names:
        masks = [
            read_mask((folder / out / name).with_suffix(".png")) for out in ("masks", "masks_onnx")
        ]
        assert masks[0].shape == (SIZE, SIZE)
        assert (masks[0] == masks[1]).mean() > 0.98  # bf16 or not; the export has compared them
