"""The compiled parts are those of the source, and found from a copy of the checkout."""

import subprocess
import sys
from pathlib import Path

import pytest

from bpg.compiled import compiled
from bpg.errors import BPGError
from bpg.inference import crf

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def anew():
    compiled.cache_clear()
    yield
    compiled.cache_clear()


def test_another_source_than_was_compiled_is_refused(tmp_path):
    changed = tmp_path / "mean_field.cpp"
    changed.write_bytes(crf._SOURCE.read_bytes() + b"\n")
    with pytest.raises(BPGError, match=r"mean_field\.cpp .*make check"):
        compiled("_bpg_mean_field", changed)
    assert compiled("_bpg_mean_field", crf._SOURCE).SOURCE


def test_without_the_source_what_is_installed_is_used(tmp_path):
    assert compiled("_bpg_mean_field", tmp_path / "mean_field.cpp").SOURCE


def test_a_part_that_is_not_built_is_named(tmp_path):
    with pytest.raises(BPGError, match=r"other\.cpp is not compiled; .*make check"):
        compiled("_bpg_other", tmp_path / "other.cpp")


def test_a_copy_of_the_checkout_finds_them(tmp_path):
    """As `dvc exp run --temp` makes it: what git tracks, nothing that was built."""
    program = (
        "import numpy as np; from bpg.inference.crf import *;"
        "from bpg.propagation.superpixels import superpixels;"
        "image = np.zeros((8, 9, 3), np.uint8);"
        "even = np.full((2, 8, 9), 0.5, np.float32);"
        "dense_crf(image, [0, 1], even, CRFOptions(1, 3, 1, 4, 9, 3));"
        "superpixels(image, scale=50, sigma=0.5, min_size=4); import bpg; print(bpg.__path__[0])"
    )
    for source in ROOT.glob("bpg/**/*"):
        if source.suffix in (".py", ".cpp", ".yaml"):
            target = tmp_path / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "bpg")
