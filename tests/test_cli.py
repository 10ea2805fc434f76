"""The command line: help, exit statuses and one-line errors, as a user gets them."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from bpg import cli
from bpg.data.masks import read_mask
from bpg.errors import BPGError
from bpg.inference.options import CRFOptions
from tests.colours import CARD, write_colours

ROOT = Path(__file__).parents[1]


def bpg(*words, **options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "bpg", *map(str, words)]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, **options
    )


def test_help_names_every_command_and_loads_nothing():
    done = bpg("--help")
    assert done.returncode == 0
    for registered in cli.app.registered_commands:
        assert f"  {registered.name} " in done.stdout
    program = (
        "import sys\nfrom bpg import cli\n"
        "heavy = {'torch', 'numpy', 'cv2', 'PIL', 'dvc', 'onnxruntime', 'rich'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env={"PYTHONPATH": str(ROOT)})


def test_a_wrong_command_line_is_status_2():
    done = bpg("pedict")
    assert done.returncode == 2
    assert "No such command 'pedict'" in done.stderr


@pytest.fixture
def raising(monkeypatch):
    """Return a function that runs a command which raises an error."""
    app = typer.Typer()
    monkeypatch.setattr(cli, "app", app)
    app.callback()(lambda: None)

    def run(error):
        def fails() -> None:
            """Fail."""
            raise error

        cli.command(fails)
        return CliRunner().invoke(app, ["fails"])

    return run


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (BPGError("a.png: broken"), 1, "bpg fails: error: a.png: broken"),
        (FileNotFoundError(2, "No such file", "b.png"), 1, "bpg fails: error: b.png: No such file"),
        (MemoryError(), 1, "bpg fails: error: the memory is full; close other programs"),
        (KeyboardInterrupt(), 130, "bpg fails: interrupted"),
    ],
)
def test_what_goes_wrong_is_said_in_one_line(raising, error, status, line):
    done = raising(error)
    assert done.exit_code == status
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1


def test_a_fault_of_ours_is_not_hidden(raising):
    assert isinstance(raising(ZeroDivisionError()).exception, ZeroDivisionError)


# As where only the base dependencies are installed, which the metadata of this project name.
WITHOUT_TRAINING = """
import importlib.abc, runpy, sys, tomllib
from pathlib import Path

project = tomllib.loads(Path({pyproject!r}).read_text())["project"]
named = {{"scikit-image": "skimage", "scikit-learn": "sklearn", "pyyaml": "yaml"}}
extra = [line.partition(">")[0] for line in project["optional-dependencies"]["train"]]
missing = {{named.get(name, name) for name in extra}}

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
assert "torch" in missing and "skimage" in missing
sys.argv = ["bpg", *{words!r}]
runpy.run_module("bpg", run_name="__main__", alter_sys=True)
"""


def without_training(*words):
    pyproject = str(ROOT / "pyproject.toml")
    program = WITHOUT_TRAINING.format(pyproject=pyproject, words=list(map(str, words)))
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_exported_network_needs_nothing_that_training_needs(tmp_path, patches, labels):
    crf = CRFOptions(5, 3, 1, 4, 10, 10)
    model = write_colours(tmp_path / "model.onnx", replace(CARD, crf=crf))
    Image.fromarray(patches).save(tmp_path / "photo.png")
    done = without_training(
        "predict", tmp_path / "photo.png", "--model", model, "--out", tmp_path / "out", "--crf"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"1 of 1 images segmented into {tmp_path / 'out'}\n"
    np.testing.assert_array_equal(read_mask(tmp_path / "out/photo.png"), labels)
    done = without_training("info", model)
    assert done.returncode == 0
    assert "background, red, blue" in done.stdout
    done = without_training("--help")
    assert done.returncode == 0


def test_what_needs_pytorch_says_so(tmp_path, patches):
    Image.fromarray(patches).save(tmp_path / "photo.png")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/model.safetensors").write_bytes(b"")
    run = tmp_path / "run"
    done = without_training("predict", tmp_path / "photo.png", "-m", run, "-o", tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.startswith("bpg predict: error: ")
    assert "needs the packages for training (no module skimage): pip install" in done.stderr
    assert done.stderr.count("\n") == 1
    done = without_training("export", "-m", run, "-o", tmp_path / "x.onnx")
    assert done.returncode == 1
    assert done.stderr.startswith("bpg export: error: exporting: needs the packages for training")


def test_one_bad_image_is_status_1_and_the_others_are_done(colours, patches, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(patches).save(folder / "good.png")
    (folder / "bad.png").write_bytes(b"x")
    done = bpg("predict", folder, "-m", colours, "-o", tmp_path / "out", "--overlay")
    assert done.returncode == 1
    assert done.stdout.startswith("1 of 2 images segmented")
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "out/good.overlay.jpg").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tile", "100"], "--tile: 100 pixels with an overlap of 256"),
        (["--longest-side", "-1"], "--longest-side: Input should be greater than or equal to 0"),
        (["--crf"], "colours.onnx: its card has no options for a CRF"),
    ],
)
def test_options_out_of_range_are_one_line(colours, patches, tmp_path, words, message):
    Image.fromarray(patches).save(tmp_path / "a.png")
    arguments = ["predict", str(tmp_path / "a.png"), "-m", str(colours), "-o", str(tmp_path / "o")]
    done = CliRunner().invoke(cli.app, [*arguments, *words])
    assert done.exit_code == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "o").exists()
