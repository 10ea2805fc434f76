"""From strokes to an exported model, in a real browser: with the real commands, in a checkout.

BPG_SCREENSHOTS=docs/images writes the images of docs/own_images.md there, of recipe small as it is.
"""

import contextlib
import json
import os
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import skimage
from PIL import Image
from playwright.sync_api import expect

from bpg.data.formats.labelme import write_labelme
from bpg.data.strokes import Line, Stroke, Strokes
from bpg.inference.model import open_model
from tests.browsers import new_window
from tests.draw.conftest import serving
from tests.draw.test_page import COFFEE, add_class, stroke

SHOTS = os.environ.get("BPG_SCREENSHOTS")
EPOCHS = 60 if SHOTS else 40
LONG = 1_800_000  # milliseconds


@pytest.fixture
def repository(checkout, run, tools, tmp_path):
    folder = checkout(tmp_path / "repository")
    small = folder / "params/recipe/small.yaml"
    if not SHOTS:  # a network from scratch, trained briefly
        shutil.copy(folder / "params/recipe/tiny.yaml", small)
        tools.edit(small, {"training.augmentation.crop": 161})
    else:
        tools.edit(small, {"training.batch_size": 4})
    run(folder, "git", "init", "--quiet")
    run(folder, "dvc", "init", "--quiet", "--force")
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "--message", "Start")
    return folder


def photographs(folder):
    """A photograph to draw on, and its mirror images, on which labelme has drawn."""
    folder.mkdir()
    with Image.open(Path(skimage.__file__).parent / "data/coffee.png") as image:
        width, height = image.size
        image.save(folder / "coffee.png")
        for name, axes in (("left", (0,)), ("down", (1,)), ("both", (0, 1))):
            mirrored = np.flip(np.asarray(image), [1 - axis for axis in axes])
            Image.fromarray(mirrored).save(folder / f"{name}.png")
            shown = [
                Stroke(tag, Line(tuple(_mirrored(point, (width, height), axes) for point in line)))
                for tag, lines in COFFEE.items()
                for line in lines
            ]
            strokes = Strokes(width, height, tuple(shown))
            write_labelme(folder / f"{name}.json", strokes, f"{name}.png")
    return folder


def _mirrored(point, size, axes):
    return tuple(size[n] - value if n in axes else value for n, value in enumerate(point))


@pytest.fixture
def ending(repository):
    """Ends what a failed test leaves running."""
    yield
    for path in (repository / "unfinished").glob("*.json"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(json.loads(path.read_text())["session"], signal.SIGKILL)


@pytest.mark.network
@pytest.mark.usefixtures("ending")
def test_from_strokes_to_an_exported_model(repository, environment, wheels, browser, tmp_path):
    photographs(tmp_path / "own")
    shots = Path(SHOTS or tmp_path)
    with serving(tmp_path) as start:
        settings = {**environment, "HOME": str(tmp_path)}
        link = start(cwd=repository, **settings)
        context = new_window(browser, viewport={"width": 1280, "height": 760})
        view = context.new_page()
        view.goto(link)
        view.locator("#images button", has_text="coffee").click()
        expect(view.locator("#name")).to_have_text("coffee.png")
        for name, lines in COFFEE.items():
            view.locator("#classes button", has_text=name).click()
            for line in lines:
                stroke(view, *line, size=(600, 400))
        expect(view.locator("#trained")).to_be_hidden()
        plan = view.locator("#plan")
        expect(plan).to_contain_text("4 images, 800 in all")  # 200 steps of 4
        view.fill("#epochs", str(EPOCHS))
        expect(plan).to_contain_text(f"4 images, {4 * EPOCHS} in all")
        view.click("#start")
        expect(view.locator("#train-says")).to_contain_text("training …")
        said = view.locator("#train-says")
        expect(said).to_contain_text("stage train boundary: ", timeout=LONG)
        expect(view.locator("#said")).to_contain_text("loss=", timeout=LONG)
        expect(view.locator("#progress")).to_contain_text(
            "stage train boundary: "
        )  # always in view
        view.locator("#said").scroll_into_view_if_needed()
        view.screenshot(path=shots / "training.jpg", type="jpeg", quality=85)

        # It outlives the page, and the next one finds it.
        start.processes[0].send_signal(signal.SIGINT)
        start.processes[0].wait()
        assert "the training is still running" in (tmp_path / "said0").read_text()
        view.goto(start(cwd=repository, **settings))
        expect(said).to_contain_text("training …")
        expect(view.locator("#stop")).to_be_visible()
        expect(said).not_to_contain_text("training …", timeout=LONG)
        expect(said).to_contain_text("done: mIoU")
        expect(said).to_contain_text("on held-out strokes")
        expect(view.locator("#progress")).to_be_empty()
        summary = json.loads((repository / "results/metrics.json").read_text())
        number = re.search(r"mIoU ([\d.]+) on", said.text_content())
        assert float(number[1]) == pytest.approx(summary["bpg"]["miou"], abs=0.06)  # rounded twice

        expect(view.locator("#by")).to_have_value("network", timeout=LONG)  # by itself
        add_class(view, "spoon")  # which the network does not know
        expect(view.locator("#answer-says")).to_contain_text("network with CRF", timeout=LONG)
        expect(view.locator("#score-says")).to_contain_text("on held-out strokes", timeout=LONG)
        view.select_option("#by", "forest")
        expect(view.locator("#answer-says")).to_contain_text("forest", timeout=LONG)
        view.select_option("#by", "network")
        expect(view.locator("#answer-says")).to_contain_text("network with CRF", timeout=LONG)
        view.click("#export")
        exported = view.locator("#export-says")
        expect(exported).to_contain_text("~/repository/model.onnx: ", timeout=LONG)
        expect(exported).to_contain_text("MB; verified on")
        command = "bpg predict ~/own --model model.onnx --out masks --overlay --crf"
        expect(view.locator("#command")).to_have_text(command)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        view.click("#copy")
        expect(view.locator("#copy")).to_have_text("Copied")
        assert view.evaluate("navigator.clipboard.readText()") == command
        with view.expect_response("**/api/answer/*", timeout=LONG):
            view.locator("#images button", has_text="coffee").click()
        view.wait_for_timeout(500)  # it is drawn
        exported.scroll_into_view_if_needed()
        view.screenshot(path=shots / "network.jpg", type="jpeg", quality=85)
        context.close()
    model = open_model(repository / "model.onnx")
    assert list(model.classes) == ["background", "cup", "saucer"]
    found = model.probabilities(np.full((40, 60, 3), 128, np.uint8))
    assert found.shape == (3, 40, 60)
    assert found.sum(0) == pytest.approx(1, abs=1e-3)
