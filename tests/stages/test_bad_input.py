"""Bad input ends in one line that says what and where, status 1, and nothing half-written."""

import contextlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

DATA = Path("data/shapes")
RUN = Path("runs/scribble/0")
TRAIN, VAL = "train_00003", "val_00001"


@pytest.fixture
def refused(tools) -> Callable[..., None]:
    """Run a stage, and check that it ends as bad input must."""

    def check(folder: Path, stage: str, *arguments: str, says: str) -> None:
        before = tools.snapshot(folder)
        outcome = tools.call(folder, stage, *arguments)
        assert outcome.code == 1
        assert outcome.error.startswith(f"{tools.script(stage)}: error: ")
        assert "\n" not in outcome.error
        assert re.search(says, outcome.error), outcome.error
        assert tools.snapshot(folder) == before

    return check


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.search(old, text)
    path.write_text(re.sub(old, new, text), encoding="utf-8")


def grey(path: Path, size: tuple[int, int], label: int = 255) -> None:
    Image.new("L", size, label).save(path)


TABLES = ("table1", "table2", "table3", "ranking", "gains", "claims", "boundaries")
TRAINING = ("model.safetensors", "training.json", "curves")
ROUND = Path("runs/scribblesup_1/0")


def ran_before(folder: Path, stage: str) -> None:
    """Remove what the stage writes, as DVC does before it runs one."""
    outputs = {
        "scribbles": [DATA / "scribbles"],
        "train": [RUN / name for name in TRAINING],
        "train_boundary": [Path("runs/bpg/0") / name for name in TRAINING],
        "fine_tune": [Path("runs/kernelcut")],
        "fine_tune_boundary": [Path("runs/bpg_kernelcut")],
        "propagate": [ROUND / "propagated"],
        "train_propagated": [ROUND / name for name in TRAINING],
        "edges": [DATA / "edges"],
        "predict": [RUN / "probabilities", RUN / "masks"],
        "crf": [RUN / "masks_crf"],
        "evaluate": [RUN / "metrics.json", RUN / "counts.npy", RUN / "card.json"],
        "cost": [Path("results/cost.csv")],
        "samples": [Path("results/samples")],
        "tables": [
            *(Path("results") / f"{name}.{suffix}" for name in TABLES for suffix in ("csv", "md")),
            *(Path("results") / name for name in ("class_iou", "trimap", "curves")),
            Path("results/cost.md"),
            Path("results/metrics.json"),
            Path("results/summary.md"),
        ],
        "report": [Path("results/report")],
    }
    for output in outputs[stage]:
        path = folder / output
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def stroke(body: str) -> Callable[[Path], None]:
    """Replace all strokes of one image."""
    path = DATA / f"strokes/{TRAIN}.xml"
    return lambda folder: rewrite(folder / path, r"(?s)<polygon>.*</polygon>", body)


OUTSIDE = "<polygon><tag>dots</tag><point><X>70</X><Y>70</Y></point></polygon>"
ODD_TAG = "<polygon><tag>zebra</tag><point><X>7</X><Y>7</Y></point></polygon>"
XML, IMAGE, SCRIBBLE = (
    DATA / f"strokes/{TRAIN}.xml",
    DATA / f"images/{TRAIN}.png",
    DATA / f"scribbles/{TRAIN}.png",
)
SPOILT: dict[str, tuple[str, Callable[[Path], None], str]] = {
    # what is wrong: (stage and arguments, how it is spoilt, what the line says)
    "id list missing": (
        "scribbles",
        lambda f: (f / DATA / "train.txt").unlink(),
        "data/shapes/train.txt: ",
    ),
    "unknown tag": (
        "scribbles",
        stroke(ODD_TAG),
        rf"{TRAIN}.xml: stroke 1: .*'zebra'",
    ),
    "HED's weights missing": (
        "edges",
        lambda _: None,
        "data/weights/hed/hed_bsds500.h5: ",
    ),
    "model cut off": (
        "predict scribble 0",
        lambda f: cut(f / RUN / "model.safetensors"),
        "runs/scribble/0/model.safetensors: ",
    ),
    "probabilities cut off": (
        "crf scribble 0",
        lambda f: cut(f / RUN / f"probabilities/{VAL}.zst"),
        f"probabilities/{VAL}.zst: ",
    ),
    "mask to score of another size": (
        "evaluate scribble 0",
        lambda f: grey(f / RUN / f"masks_crf/{VAL}.png", (64, 60), 0),
        f"masks_crf/{VAL}.png .*64x60.*64x64",
    ),
    "training summary cut off": (
        "evaluate scribble 0",
        lambda f: cut(f / RUN / "training.json"),
        "runs/scribble/0/training.json: ",
    ),
    "metrics cut off": (
        "tables",
        lambda f: cut(f / RUN / "metrics.json"),
        "runs/scribble/0/metrics.json: ",
    ),
    "cost missing": (
        "tables",
        lambda f: (f / "results/cost.csv").unlink(),
        "results/cost.csv: ",
    ),
    "model missing for the samples": (
        "samples",
        lambda f: (f / RUN / "model.safetensors").unlink(),
        "runs/scribble/0/model.safetensors: ",
    ),
    "samples missing": (
        "report",
        lambda f: shutil.rmtree(f / "results/samples"),
        "results/samples/train.txt: ",
    ),
    "curves missing": (
        "report",
        lambda f: shutil.rmtree(f / RUN / "curves"),
        "runs/scribble/0/curves",
    ),
    "model to go on from missing": (
        "fine_tune kernelcut 0",
        lambda f: (f / "runs/warm/0/model.safetensors").unlink(),
        "runs/warm/0/model.safetensors: ",
    ),
    "model to go on from of another recipe": (
        "fine_tune kernelcut 0",
        lambda f: rewrite(f / "params/recipe/tiny.yaml", "stem_width: 8", "stem_width: 4"),
        "backbone_options: .*8.*, not .*4",
    ),
    "strokes to propagate of another size": (
        "propagate scribblesup_1 0",
        lambda f: grey(f / SCRIBBLE, (60, 64)),
        f"scribbles/{TRAIN}.png: ",
    ),
    "no image to train on": (
        "train scribble 0",
        lambda f: (f / DATA / "train.txt").write_text("\n"),
        r"train\.txt: lists no image",
    ),
}


@pytest.mark.parametrize(("command", "spoil", "says"), SPOILT.values(), ids=SPOILT)
def test_a_spoilt_input_is_named(workspace, refused, command, spoil, says):
    stage, *arguments = command.split()
    ran_before(workspace, stage)
    spoil(workspace)
    refused(workspace, stage, *arguments, says=says)


# The images are read while the curves are being written.
SPOILT_IN_TRAINING: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "label map of another size": (
        "train scribble 0",
        lambda f: grey(f / SCRIBBLE, (60, 64)),
        f"scribbles/{TRAIN}.png: 60x64",
    ),
    "nothing labelled anywhere": (
        "train scribble 0",
        lambda f: [grey(p, (64, 64)) for p in (f / DATA / "scribbles").iterdir()],
        "no labelled pixel",
    ),
    "propagated label missing": (
        "train_propagated scribblesup_1 0",
        lambda f: (f / ROUND / f"propagated/{TRAIN}.png").unlink(),
        f"propagated/{TRAIN}.png: ",
    ),
    "edge map of another size": (
        "train_boundary bpg 0",
        lambda f: grey(f / DATA / f"edges/{TRAIN}.png", (63, 64), 0),
        f"edges/{TRAIN}.png: 63x64",
    ),
}


@pytest.mark.parametrize(
    ("command", "spoil", "says"), SPOILT_IN_TRAINING.values(), ids=SPOILT_IN_TRAINING
)
def test_a_spoilt_input_of_the_training_is_named(workspace, refused, command, spoil, says):
    stage, *arguments = command.split()
    ran_before(workspace, stage)
    spoil(workspace)
    refused(workspace, stage, *arguments, says=says)


def test_a_training_that_diverges_is_stopped_and_named(workspace, refused, tools):
    ran_before(workspace, "train")
    changes = {"training.lr": 1e30, "training.max_grad_norm": None, "training.epochs": 3}
    tools.edit(workspace / "params/recipe/tiny.yaml", changes)
    refused(workspace, "train", "scribble", "0", says=r"epoch \d: the loss is not finite; lower")


def test_probabilities_of_another_size_than_the_image_are_named(workspace, refused):
    ran_before(workspace, "crf")
    grey(workspace / DATA / f"images/{VAL}.png", (70, 64), 90)
    refused(workspace, "crf", "scribble", "0", says=f"{VAL}.zst.* 70x64")


def test_only_what_is_trained_on_propagated_labels_has_them(workspace, refused):
    refused(workspace, "propagate", "kernelcut", "0", says="kernelcut is not trained on propagated")


# Archives


def without(*names: str) -> Callable[[dict, dict, dict], None]:
    def change(*archives: dict[str, bytes]) -> None:
        for members in archives:
            for name in [n for n in members if n.endswith(names)]:
                del members[name]

    return change


def other_mask(voc: dict, sbd: dict, strokes: dict) -> None:
    del strokes
    where = "VOCdevkit/VOC2012/SegmentationClass"
    voc[f"{where}/v1.png"] = voc[f"{where}/v2.png"]


def other_sbd_mask(voc: dict, sbd: dict, strokes: dict) -> None:
    del voc, strokes
    where = "benchmark_RELEASE/dataset/cls"
    sbd[f"{where}/s1.mat"] = sbd[f"{where}/both.mat"]


@pytest.mark.parametrize("archive", ["voc", "sbd", "scribbles"])
def test_a_cut_off_archive_is_refused_by_its_checksum(voc, refused, archive):
    path = getattr(voc.mirror, archive)
    cut(path)
    archives = voc.folder / "data/voc/archives"
    archives.mkdir(parents=True)
    if archive != "voc":  # those before it arrive in good order and stay
        shutil.copy(voc.mirror.voc, archives)
    if archive == "scribbles":
        shutil.copy(voc.mirror.sbd, archives)
    refused(voc.folder, "fetch", says=f"{path.name}: wrong checksum, expected sha256:")


def test_an_archive_missing_in_the_mirror_is_named(voc, refused):
    voc.mirror.voc.unlink()
    (voc.folder / "data/voc/archives").mkdir(parents=True)
    refused(voc.folder, "fetch", says=f"{voc.mirror.voc}: no such file in the mirror")


def test_an_archive_missing_in_sha256sums_is_named(voc, refused):
    rewrite(voc.mirror.folder / "SHA256SUMS", ".*VOCtrainval.*\n", "")
    (voc.folder / "data/voc/archives").mkdir(parents=True)
    refused(voc.folder, "fetch", says="SHA256SUMS: has no valid line for VOCtrainval")


def test_a_missing_mirror_is_named(voc, refused, tools):
    tools.edit(voc.folder / "params.yaml", {"mirror": "nowhere"})
    (voc.folder / "data/voc/archives").mkdir(parents=True)
    refused(voc.folder, "fetch", says="mirror nowhere: no such folder")


@pytest.mark.parametrize("archive", ["voc", "sbd", "scribbles"])
def test_a_cut_off_archive_is_not_unpacked(voc, refused, tools, archive):
    cut(getattr(voc.mirror, archive))
    voc.mirror.sum()  # as if the mirror itself had been filled with a broken download
    assert tools.call(voc.folder, "fetch").code == 0
    name = getattr(voc.mirror, archive).name
    refused(voc.folder, "prepare", says=f"archives/{name}: .*broken or cut off.*fetch it again")


@pytest.mark.parametrize("archive", ["voc", "sbd", "scribbles"])
def test_an_archive_that_was_not_fetched_is_named(voc, refused, tools, archive):
    assert tools.call(voc.folder, "fetch").code == 0
    name = getattr(voc.mirror, archive).name
    (voc.folder / "data/voc/archives" / name).unlink()
    refused(voc.folder, "prepare", says=f"archives/{name}: cannot be read .*; fetch it first")


WRONG_MEMBERS = {
    "image missing": (without("JPEGImages/s1.jpg"), "JPEGImages/s1.jpg is missing"),
    "mask missing": (without("cls/s1.mat"), "SegmentationClass/s1.png is missing, and benchmark"),
    "scribble missing": (without("pascal_2012/v2.xml"), "pascal_2012/v2.xml is missing"),
    "list missing": (without("Segmentation/val.txt"), "Segmentation/val.txt is missing"),
    "VOC mask of another size": (
        other_mask,
        "SegmentationClass/v1.png: the mask has 41x60 pixels, its image 50x38",
    ),
    "SBD mask of another size": (
        other_sbd_mask,
        "cls/s1.mat: the mask has 33x47 pixels, its image 60x40",
    ),
}


@pytest.mark.parametrize(("change", "says"), WRONG_MEMBERS.values(), ids=WRONG_MEMBERS)
def test_a_wrong_member_of_an_archive_is_named(voc, refused, tools, change, says):
    voc.mirror.fill(change)
    assert tools.call(voc.folder, "fetch").code == 0
    refused(voc.folder, "prepare", says=says)


# Parameters, arguments, machine


@pytest.mark.parametrize(
    ("file", "key", "value", "says"),
    [
        ("params.yaml", "lamda", 1, "params.yaml: lamda: .*lambda"),
        ("params.yaml", "lambda", None, "params.yaml: lambda: "),
        (
            "params.yaml",
            "dataset",
            "vok",
            "vok.yaml: no such parameter file; there are: folder, shapes",
        ),
        (
            "params/recipe/tiny.yaml",
            "training.epoch",
            3,
            "recipe/tiny.yaml: training.epoch: unknown key",
        ),
        (
            "params/dataset/shapes.yaml",
            "classes",
            ["background", "cat"],
            "dataset/shapes.yaml: classes: the generated data set draws background, stripes",
        ),
    ],
)
def test_a_wrong_parameter_is_named(workspace, refused, tools, file, key, value, says):
    tools.edit(workspace / file, {key: value})
    refused(workspace, "prepare", says=says)


def test_a_missing_parameter_is_named(workspace, refused, tools):
    tools.edit(workspace / "params/recipe/tiny.yaml", {"crf.bilateral_xy": tools.DELETE})
    refused(workspace, "crf", "bpg", "0", says="recipe/tiny.yaml: crf.bilateral_xy: missing key")


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("train", "usage: python -m stages.train VARIANT SEED"),
        ("train scribble", "usage: python -m stages.train VARIANT SEED"),
        ("predict scribble 0 1", "usage: python -m stages.predict VARIANT SEED"),
        ("propagate scribblesup", "usage: python -m stages.propagate VARIANT SEED"),
        ("train skribble 0", "unknown variant 'skribble'; did you mean scribble"),
        ("crf bpg -1", "seed '-1' is not a whole number from 0"),
        ("evaluate bpg one", "seed 'one' is not a whole number from 0"),
        ("tables bpg", "unexpected argument 'bpg'"),
    ],
)
def test_wrong_arguments_are_named(workspace, refused, command, says):
    stage, *arguments = command.split()
    refused(workspace, stage, *arguments, says=says)


def test_help_says_how_to_call_a_stage_and_what_it_writes(workspace, tools):
    found = tools.call(workspace, "predict", "--help")
    assert found.code == 0
    assert found.out.startswith("usage: python -m stages.predict VARIANT SEED\n")
    assert "masks" in found.out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize(
    "command",
    [
        "edges",
        "train scribble 0",
        "train_boundary bpg 0",
        "predict scribble 0",
        "propagate scribblesup_1 0",
    ],
)
def test_a_gpu_that_is_not_there_is_refused_by_name(workspace, refused, tools, command):
    stage, *arguments = command.split()
    ran_before(workspace, stage)
    tools.edit(workspace / "params.yaml", {"device": "cuda"})
    refused(workspace, stage, *arguments, says="device: cuda was asked for, but PyTorch sees no")


# The disk


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a file system of its own at `folder`; skip the test where that is not permitted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    try:
        refusal = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    except FileNotFoundError as error:
        refusal = str(error)
    if not folder.is_mount():
        pytest.skip(f"a small file system can't be mounted: {refusal.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize(
    ("command", "place", "outputs"),
    [
        ("prepare", "unfinished/prepare", ["images", "masks", "strokes", "train.txt"]),
        ("scribbles", "unfinished/scribbles", ["scribbles"]),
        ("train scribble 0", "unfinished/train-scribble-0", ["model.safetensors", "training.json"]),
        ("predict scribble 0", "unfinished/predict-scribble-0", ["probabilities", "masks"]),
        ("propagate scribblesup_1 0", "unfinished/propagate-scribblesup_1-0", ["propagated"]),
        ("crf scribble 0", "unfinished/crf-scribble-0", ["masks_crf"]),
        ("report", "results/report", ["index.html"]),
    ],
)
def test_a_full_disk_is_named_and_once_there_is_room_the_stage_goes_on(
    workspace, tools, tmp_path, refused, command, place, outputs
):
    stage, *arguments = command.split()
    if stage == "prepare":
        shutil.rmtree(workspace / "data/shapes")
        (workspace / "data/shapes").mkdir()
    else:
        ran_before(workspace, stage)
    with small_disk(tmp_path / "disk", "6m") as disk:
        folder = shutil.copytree(workspace, disk / "workspace")
        (disk / "filling").write_bytes(bytes(shutil.disk_usage(disk).free))
        # Room for folders (they need none here) and for the first small file.
        os.truncate(disk / "filling", (disk / "filling").stat().st_size - 8192)
        refused(folder, stage, *arguments, says=rf"(?i){place}.*(disk is full|no space left)")
        (disk / "filling").unlink()
        for one in (folder, workspace):  # stopped, and never stopped
            assert tools.call(one, stage, *arguments).code == 0
        made = "results/report" if stage == "report" else f"runs/{'/'.join(arguments)}"
        made = Path(made if arguments or stage == "report" else "data/shapes")
        for output in outputs:
            same = [bytes_below(one / made / output) for one in (folder, workspace)]
            assert same[0] == same[1]


def bytes_below(path: Path) -> dict[str, bytes]:
    assert path.exists()
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    return {str(file.relative_to(path)): file.read_bytes() for file in files if file.is_file()}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    ("command", "output"),
    [
        ("train scribble 0", "runs/scribble/0/model.safetensors"),
        ("train scribble 0", "runs/scribble/0/training.json"),
        ("evaluate scribble 0", "runs/scribble/0/metrics.json"),
        ("tables", "results/metrics.json"),
    ],
)
def test_a_file_that_finds_the_disk_full_is_named(workspace, tools, command, output):
    stage, *arguments = command.split()
    ran_before(workspace, stage)
    path = workspace / output
    path.parent.mkdir(exist_ok=True)
    # Outputs are written under this name first; whatever is written to /dev/full finds no room.
    path.with_name(f".partial-{os.getpid()}-{path.name}").symlink_to("/dev/full")
    outcome = tools.call(workspace, stage, *arguments)
    assert outcome.code == 1
    assert "\n" not in outcome.error
    folder = Path(output).parent
    says = rf"(?i){tools.script(stage)}: error: {folder}.*(full|no space left)"
    assert re.search(says, outcome.error)
    assert not path.exists()
    assert not list(workspace.rglob(".partial*"))


def test_a_limit_on_file_sizes_is_named(workspace, tools):
    # `ulimit -f`, as set on some clusters: the write fails with another error number.
    ran_before(workspace, "train")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        outcome = tools.call(workspace, "train", "scribble", "0")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert outcome.code == 1
    assert re.search(r"unfinished/train-scribble-0.*File too large", outcome.error)
    assert not (workspace / RUN / "model.safetensors").exists()
    assert not list(workspace.rglob(".partial*"))


# Real processes


def test_a_process_prints_one_line_and_no_stack_trace(workspace, tools, environment):
    tools.edit(workspace / "params.yaml", {"lamda": 1})
    result = subprocess.run(
        [sys.executable, "-m", "stages.prepare"],
        cwd=workspace,
        env={**environment, "PYTHONPATH": str(tools.ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line == "prepare: error: params.yaml: lamda: unknown key; did you mean lambda?"
    assert result.stdout == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_stops_at_once_with_a_checkpoint_alone(
    workspace, tools, environment, number
):
    ran_before(workspace, "train")
    tools.edit(workspace / "params/recipe/tiny.yaml", {"training.epochs": 100_000})
    before = tools.snapshot(workspace)
    process = subprocess.Popen(
        [sys.executable, "-m", "stages.train", "scribble", "0"],
        cwd=workspace,
        env={**environment, "PYTHONPATH": str(tools.ROOT), "PYTHONUNBUFFERED": "1"},
        stderr=subprocess.PIPE,
        start_new_session=True,
        # Where the tests run in a shell's background, SIGINT is ignored and so it would be here.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    try:
        seen = b""
        while b"loss=" not in seen:  # the progress bar, after the first epoch
            chunk = process.stderr.read1()
            assert chunk, seen.decode()
            seen += chunk
        process.send_signal(number)
        _, rest = process.communicate(timeout=300)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    said = (seen + rest).decode()
    last = said.splitlines()[-1]
    found = re.fullmatch(
        r"train: interrupted after step (\d+) of 200000; the next start resumes there", last
    )
    assert found, last
    assert "Traceback" not in said
    assert tools.snapshot(workspace) == before
    # The next start goes on there: it has so few steps to do that it could not do all.
    assert (workspace / "unfinished/train-scribble-0/checkpoint").is_file()
    header = (workspace / "unfinished/train-scribble-0/checkpoint").read_bytes()[64:4096]
    assert f'\\"step\\": {found[1]},'.encode() in header


def test_the_finished_run_is_sound(finished_run, tools):
    """Without which the tests above would prove nothing."""
    assert np.isfinite(Image.open(finished_run / RUN / f"masks/{VAL}.png")).all()
    for stage in ("evaluate", "crf", "predict"):
        assert tools.call(finished_run, stage, "scribble", "0").code == 0


@pytest.mark.parametrize("module", ["pipeline.early", "numpy", "torch", "timm", "bpg.cost"])
def test_an_interrupt_during_imports_is_one_word(module, workspace, environment, tools):
    """PyTorch goes over one in the midst of NumPy's import, which then fails in twenty lines."""
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "stages.cost"],
        cwd=workspace,
        env={**environment, "PYTHONPATH": str(tools.ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests run in a shell's background, SIGINT is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    for line in process.stderr:  # one as each import ends: the first of numpy.* is in its midst
        if line.startswith("import time:") and line.rpartition("|")[2].strip().startswith(module):
            break
    else:
        pytest.fail(f"{module} is not imported")
    process.send_signal(signal.SIGINT)
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=300) == 130, said
    assert "Traceback" not in said
