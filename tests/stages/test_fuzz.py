"""Damaged files, by every reader: what was meant, or one clear line; never a hang or a crash.

Real files, written by a finished run or an archiver, are cut off and changed byte by byte. A reader
that hangs is stopped by an alarm, one that takes gigabytes by a limit on this process's memory. (It
would not survive a crash: HED's weights and ImageNet's are read by C libraries and PyTorch; they
are verified before, and fuzzed here all the same.)
"""

import contextlib
import hashlib
import io
import json
import os
import resource
import shutil
import signal
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from scipy.io import savemat

from bpg.data.description import read_description
from bpg.data.formats.read import read_annotations
from bpg.data.ids import read_ids
from bpg.data.masks import read_grey, read_image, read_mask
from bpg.data.photographs import read_photograph
from bpg.data.sbd import read_segmentation
from bpg.data.scribbles import label_map
from bpg.download.archives import extract, obtain, read_members
from bpg.download.wheels import fetch_member
from bpg.edges.hed import HED, load_hed
from bpg.errors import BPGError
from bpg.evaluation.iou import read_counts
from bpg.inference.card import read_card
from bpg.inference.probabilities import read_probabilities
from bpg.models.backbone import Backbone, load_imagenet
from bpg.models.network import load_network
from bpg.report.costs import read_costs
from bpg.report.provenance import read_records
from bpg.report.runs import gather_curves, read_runs
from bpg.resumable import open_work
from bpg.strict_yaml import read_as, read_yaml
from bpg.training.checkpoint import load_checkpoint
from bpg.training.optim import make_optimizer
from bpg.training.options import OptimizerOptions
from pipeline.variants import read_variants
from tests.data.formats import fixtures

CLASSES = ("background", "stripes", "checks", "dots", "waves", "blotches", "rings")
ROOM = 3 * 2**30  # bytes that a reader may take
PATIENCE = 120  # seconds for one file
RUN = Path("runs/scribble/0")
TINY = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16], "stem_type": "deep", "stem_width": 8}

EXTREMES = [b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(4), bytes(8), b"\xff" * 8]
EXTREMES += [b"1e999", b"-1", b"NaN", b"../../x", b"\n", b"[[[[", b"&a", b"<!ENTITY", b"'"]


@st.composite
def damage(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Return a function that cuts a file off, or drops, inserts or changes bytes of it."""
    steps = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["cut", "drop", "insert", "change", "flip", "extreme", "double"]),
                st.integers(0, 2**32),
                st.sampled_from([64, 512, 4096, 2**32]),  # mostly in the header
                st.binary(min_size=1, max_size=8),
                st.sampled_from(EXTREMES),
            ),
            min_size=1,
            max_size=4,
        )
    )

    def apply(data: bytes) -> bytes:
        for kind, place, within, junk, extreme in steps:
            at = place % max(1, min(len(data), within))
            match kind:
                case "cut":
                    data = data[:at]
                case "drop":
                    data = data[:at] + data[at + len(junk) * 8 :]
                case "insert":
                    data = data[:at] + junk + data[at:]
                case "change":
                    data = data[:at] + junk + data[at + len(junk) :]
                case "flip":
                    flipped = data[at : at + 1] or b"\0"
                    data = data[:at] + bytes([flipped[0] ^ 1 << place % 8]) + data[at + 1 :]
                case "extreme":
                    data = data[:at] + extreme + data[at + len(extreme) :]
                case "double":
                    data = data[:at] + data[at : at + 4096] * 2 + data[at + 4096 :]
        return data

    return apply


class Hang(BaseException):
    """No reader may take this for an error of its file."""


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Let a hang or a grab for memory end in an error of its own."""

    def hang(number, frame):
        raise Hang("a reader hangs")

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGALRM, hang)
    signal.alarm(PATIENCE)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)


def out_of_memory(error: BaseException | None) -> bool:
    """Say whether an error goes back to a grab for memory, which some readers report as theirs."""
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False


@dataclass(frozen=True)
class Reader:
    """How to read a file of this kind: `read(path)`, where `write(folder)` makes a sound one."""

    name: str
    write: Callable[[Path, Path], bytes]  # finished run, empty folder
    read: Callable[[Path], object]


def made(name: str) -> Callable[[Path, Path], bytes]:
    return lambda finished, _: (finished / name).read_bytes()


def first(folder: str) -> Callable[[Path, Path], bytes]:
    return lambda finished, _: min((finished / folder).iterdir()).read_bytes()


def jpeg(finished: Path, _: Path) -> bytes:
    file = io.BytesIO()
    with Image.open(min((finished / "data/shapes/images").iterdir())) as picture:
        picture.save(file, "JPEG", progressive=True)
    return file.getvalue()


def mat(finished: Path, _: Path) -> bytes:
    outlines = np.empty(2, object)
    outlines[:] = [np.eye(9), np.eye(4)]
    mask = read_mask(min((finished / "data/shapes/masks").iterdir()))
    file = io.BytesIO()
    savemat(file, {"GTcls": {"Boundaries": outlines, "Segmentation": mask}}, do_compression=True)
    return file.getvalue()


def plain_mat(finished: Path, _: Path) -> bytes:
    file = io.BytesIO()
    mask = read_mask(min((finished / "data/shapes/masks").iterdir()))
    savemat(file, {"other": np.eye(3), "GTcls": {"Segmentation": mask}})
    return file.getvalue()


def hdf5(_: Path, folder: Path) -> bytes:
    with h5py.File(folder / "hed.h5", "w") as file:
        for name, layer in HED().convolutions().items():
            kernel = layer.weight.detach().numpy().transpose(2, 3, 1, 0)
            file.create_dataset(f"{name}/vars/0", data=kernel * 0, compression="gzip")
            file[f"{name}/vars/1"] = layer.bias.detach().numpy()
    return (folder / "hed.h5").read_bytes()


def backbone() -> Backbone:
    return Backbone("resnet18", dict(TINY), frozen_norm=False)


def pth(_: Path, folder: Path, **options) -> bytes:
    torch.save(backbone().net.state_dict(), folder / "weights", **options)
    return (folder / "weights").read_bytes()


def legacy_pth(finished: Path, folder: Path) -> bytes:
    return pth(finished, folder, _use_new_zipfile_serialization=False)


def packed(kind: str) -> Callable[[Path, Path], bytes]:
    def write(finished: Path, _: Path) -> bytes:
        file = io.BytesIO()
        members = sorted((finished / "data/shapes/strokes").iterdir())
        if kind == "zip":
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
                for member in members:
                    archive.write(member, f"folder/{member.name}")
        else:
            with tarfile.open(fileobj=file, mode=kind) as archive:
                for member in members:
                    archive.add(member, f"folder/{member.name}")
        return file.getvalue()

    return write


def unpack(path: Path) -> None:
    with contextlib.suppress(FileExistsError, NotADirectoryError, IsADirectoryError):
        extract(path, path.parent / "unpacked", lambda name: "x", limit=2**20)
    for _, content in read_members(path, lambda name: True, limit=2**20):
        assert len(content) <= 2**20


def out_of_a_wheel(path: Path) -> None:
    wheel = path.with_name("thing-1.0-py3-none-any.whl")
    wheel.write_bytes(path.read_bytes())
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    member = "folder/train_00000.xml"
    fetch_member("thing==1.0", digest, member, path.with_name("out"), wheel_folder=wheel.parent)


def by_checksums(path: Path) -> None:
    mirror = path.with_name("mirror")
    mirror.mkdir(exist_ok=True)
    (mirror / "archive").write_bytes(b"x")
    (mirror / "SHA256SUMS").write_bytes(path.read_bytes())
    got = obtain("archive", "http://localhost:9/archive", None, path.with_name("got"), str(mirror))
    assert got.read_bytes() == b"x"


def in_run(name: str, read: Callable[[Path], object]) -> Callable[[Path], object]:
    def put_and_read(path: Path) -> object:
        target = path.parent / "runs/scribble/0" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
        return read(path.parent / "runs")

    return put_and_read


def provenance(path: Path) -> None:
    model = path.with_name("model")
    model.write_bytes(b"weights")
    record = path.with_name(f"{hashlib.sha256(b'weights').hexdigest()}.json")
    record.write_bytes(path.read_bytes())
    read_records(path.parent, {"scribble 0": model})


def checkpoint(path: Path) -> None:
    network = load_network(checkpoint.model)
    solver = make_optimizer(network, OptimizerOptions("adamw", 1e-3, 0.9, 0.0, 1.0, 1.0, None))
    load_checkpoint(path, network, solver)


def kept(name: str) -> Callable[[Path], object]:
    """Work whose `name` is damaged must start, over or not, and hold nothing that is not whole."""

    def read(path: Path) -> None:
        folder = path.parent / "work"
        with open_work(folder, {"a": 1}, [], lambda line: None) as work:
            if not work.done("kept.txt"):
                work.begin("kept.txt")[0].write_text("kept")
                work.add("kept.txt")
        (folder / name).write_bytes(path.read_bytes())
        with open_work(folder, {"a": 1}, [], lambda line: None) as work:
            assert len(work) <= 1
            assert not work.done("kept.txt") or work.path("kept.txt").read_text() == "kept"

    return read


def journal(finished: Path, folder: Path) -> bytes:
    with open_work(folder / "work", {"a": 1}, [], lambda line: None) as work:
        work.begin("kept.txt")[0].write_text("kept")
        work.add("kept.txt")
    return (folder / "work/journal").read_bytes()


def own_parameters(name: str) -> Callable[[Path, Path], bytes]:
    return lambda finished, _: (Path(__file__).parents[2] / name).read_bytes()


def training(path: Path) -> None:
    """As `stages.evaluate` reads it."""
    from stages.evaluate import read_edge_loss  # noqa: PLC0415

    read_edge_loss(path)


def switches(path: Path) -> None:
    from pipeline.params import Switches  # noqa: PLC0415

    read_as(path, Switches)


def recipe(path: Path) -> None:
    from pipeline.params import Recipe  # noqa: PLC0415

    read_as(path, Recipe)


def drawn_by(tool: str, *what: object, **options: bool) -> Callable[[Path, Path], bytes]:
    return lambda finished, _: getattr(fixtures, tool)(*what, **options)


def annotations(path: Path) -> None:
    found = read_annotations(path)
    if found is None:  # as the folder says of it
        raise BPGError(f"{path}: no annotations")
    if found.faults:
        raise BPGError(found.faults[-1])


CURVE = "curves/plots/metrics/train/loss.tsv"
READERS = [
    Reader("PNG image", first("data/shapes/images"), read_image),
    Reader("JPEG image", jpeg, read_image),
    Reader("mask", first("data/shapes/masks"), read_mask),
    Reader("edge map", first("data/shapes/edges"), read_grey),
    Reader("probabilities", first(f"{RUN}/probabilities"), read_probabilities),
    Reader("strokes", first("data/shapes/strokes"), lambda p: label_map(p, (64, 64), CLASSES, 3)),
    Reader("labelme", drawn_by("labelme", "café 1.jpg", fixtures.FIRST), annotations),
    Reader("CVAT", drawn_by("cvat", fixtures.IMAGES, extras=True), annotations),
    Reader("COCO", drawn_by("coco", fixtures.IMAGES, extras=True), annotations),
    Reader("Label Studio", drawn_by("label_studio", fixtures.IMAGES, extras=True), annotations),
    Reader("photograph", jpeg, read_photograph),
    Reader("description", made("data/shapes/description.json"), read_description),
    Reader("card", made(f"{RUN}/card.json"), read_card),
    Reader("id list", made("data/shapes/train.txt"), read_ids),
    Reader(".mat, compressed", mat, lambda p: read_segmentation(p.read_bytes(), p.name)),
    Reader(".mat, plain", plain_mat, lambda p: read_segmentation(p.read_bytes(), p.name)),
    Reader("HDF5", hdf5, load_hed),
    Reader(".pth", pth, lambda p: load_imagenet(backbone(), p)),
    Reader(".pth, old", legacy_pth, lambda p: load_imagenet(backbone(), p)),
    Reader("model", made(f"{RUN}/model.safetensors"), load_network),
    Reader("checkpoint", made("kept-checkpoint"), checkpoint),
    Reader("counts", made(f"{RUN}/counts.npy"), lambda p: read_counts(p, images=4, classes=7)),
    Reader("tar", packed("w"), unpack),
    Reader("tar.gz", packed("w:gz"), unpack),
    Reader("tar.xz", packed("w:xz"), unpack),
    Reader("zip", packed("zip"), unpack),
    Reader("wheel", packed("zip"), out_of_a_wheel),
    Reader(
        "SHA256SUMS",
        lambda *_: f"{hashlib.sha256(b'x').hexdigest()}  archive\n".encode(),
        by_checksums,
    ),
    Reader("params.yaml", own_parameters("params.yaml"), switches),
    Reader("recipe", own_parameters("params/recipe/tiny.yaml"), recipe),
    Reader("variants", own_parameters("params/variants.yaml"), read_variants),
    Reader(
        "metrics",
        made(f"{RUN}/metrics.json"),
        in_run("metrics.json", lambda runs: read_runs(runs, ["scribble"], [0])),
    ),
    Reader("training summary", made(f"{RUN}/training.json"), training),
    Reader(
        "provenance",
        first("provenance"),
        provenance,
    ),
    Reader(
        "curve",
        made(f"{RUN}/{CURVE}"),
        in_run(CURVE, lambda r: gather_curves(r, ["scribble"], [0])),
    ),
    Reader("costs", made("results/cost.csv"), read_costs),
    Reader("journal", journal, kept("journal")),
    Reader("what the work belongs to", lambda *_: b'{"a": 1}', kept("fingerprint.json")),
]


@pytest.fixture(scope="module")
def finished(finished_run: Path, tools, tmp_path_factory) -> Path:
    """The finished run and the checkpoint of a training."""
    folder = tmp_path_factory.mktemp("fuzz") / "finished"
    shutil.copytree(finished_run, folder)
    checkpoint.model = folder / RUN / "model.safetensors"
    assert tools.call(folder, "train", "scribble", "0").code == 0
    (folder / "unfinished/train-scribble-0/checkpoint").rename(folder / "kept-checkpoint")
    return folder


@pytest.fixture
def place(tmp_path: Path) -> SimpleNamespace:
    (tmp_path / "sound").mkdir()
    return SimpleNamespace(sound=tmp_path / "sound", folder=tmp_path)


# What reads these can be made to ask for gigabytes; their files are verified before.
VERIFIED = {"HDF5", ".pth", ".pth, old"}
SLOW = {"HDF5": 12, ".pth": 20, ".pth, old": 20, "model": 30, "checkpoint": 30}
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))


@pytest.mark.parametrize("reader", READERS, ids=[reader.name for reader in READERS])
def test_a_damaged_file_gives_what_was_meant_or_one_line(reader, finished, place):
    sound = reader.write(finished, place.sound)
    path = place.folder / "file"
    path.write_bytes(sound)
    reader.read(path)  # as it is, it can be read

    @settings(
        max_examples=min(EXAMPLES, SLOW.get(reader.name, EXAMPLES)) if EXAMPLES == 60 else EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(damage())
    def check(spoil):
        path.write_bytes(spoil(sound))
        try:
            with guarded():
                reader.read(path)
        except BPGError as error:
            assert "\n" not in str(error), str(error)
            assert reader.name in VERIFIED or not out_of_memory(error)

    check()


@pytest.mark.parametrize("reader", READERS, ids=[reader.name for reader in READERS])
def test_a_file_of_one_byte_repeated_is_named(reader, finished, place):
    if "work" in reader.name or reader.name == "journal":
        pytest.skip("of these an empty one means work to be done again")
    path = place.folder / "file"
    # An empty tar is one, and so is one of zeros.
    archive = reader.read is unpack
    for content in (b"\xff" * 4096, *(() if archive else (b"", bytes(4096)))):
        path.write_bytes(content)
        with pytest.raises(BPGError) as caught, guarded():
            reader.read(path)
        assert "\n" not in str(caught.value)


# Bombs


def test_nested_aliases_are_refused(tmp_path):
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]
    (tmp_path / "bomb.yaml").write_text("\n".join(lines))
    with pytest.raises(BPGError, match=r"bomb.yaml: line 1 .*aliases are not read"), guarded():
        read_yaml(tmp_path / "bomb.yaml")


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 50_000, "- " * 50_000, "? " * 50_000])
def test_deep_nesting_in_yaml_is_refused(text, tmp_path):
    (tmp_path / "deep.yaml").write_text(text)
    with pytest.raises(BPGError) as caught, guarded():
        read_yaml(tmp_path / "deep.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("reader", ["metrics", "training summary", "provenance"])
def test_deep_nesting_in_json_is_refused(reader, tmp_path):
    path = tmp_path / "deep.json"
    path.write_text("[" * 200_000)
    with pytest.raises(BPGError), guarded():
        next(one for one in READERS if one.name == reader).read(path)


def test_a_mat_file_that_unpacks_to_gigabytes_is_refused(tmp_path):
    squeezer = zlib.compressobj(9)
    first = squeezer.compress(bytes(2**24)) + squeezer.flush(zlib.Z_FULL_FLUSH)
    more = squeezer.compress(bytes(2**24)) + squeezer.flush(zlib.Z_FULL_FLUSH)
    last = b"\x03\x00" + struct.pack(">HH", 2**31 % 65521, 1)  # an empty block, the sum of zeros
    packed = first + 127 * more + last
    header = b"MATLAB 5.0".ljust(124) + b"\x00\x01IM"
    with pytest.raises(BPGError, match="far too large"), guarded():
        read_segmentation(header + struct.pack("<II", 15, len(packed)) + packed, "bomb.mat")


def test_a_model_that_asks_for_a_huge_network_is_refused_before_it_takes_memory(finished, tmp_path):
    model = finished / RUN / "model.safetensors"
    with safe_open(model, "pt") as file:
        text = file.metadata()["architecture"]
    for key, value in (("layers", [4000] * 4), ("stem_width", 4000), ("layers", [10**9] * 4)):
        architecture = json.loads(text)
        architecture["backbone_options"][key] = value
        save_file(load_file(model), tmp_path / "huge", {"architecture": json.dumps(architecture)})
        with pytest.raises(BPGError, match="huge: "), guarded():
            load_network(tmp_path / "huge")


class Malicious:
    """Unpickled in earnest, it would make a file."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_in_a_weight_file_is_never_run(zipped, tmp_path):
    mark = tmp_path / "run"
    content = {"a": Malicious(mark)}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(BPGError, match=r"w\.pth: not a readable weight file"):
        load_imagenet(backbone(), tmp_path / "w.pth")
    assert not mark.exists()


def test_a_pickle_in_counts_is_never_run(tmp_path):
    mark = tmp_path / "run"
    array = np.empty(1, object)
    array[0] = Malicious(mark)
    np.save(tmp_path / "counts.npy", array, allow_pickle=True)
    with pytest.raises(BPGError, match=r"counts\.npy"):
        read_counts(tmp_path / "counts.npy", images=4, classes=7)
    assert not mark.exists()


def test_no_code_of_ours_reads_pickles():
    root = Path(__file__).parents[2]
    for path in (*root.glob("bpg/**/*.py"), *root.glob("stages/*.py"), *root.glob("studies/*.py")):
        text = path.read_text(encoding="utf-8")
        for word in ("import pickle", "joblib.load", "allow_pickle=True", "weights_only=False"):
            assert word not in text, path
        if "torch.load(" in text:
            assert text.count("torch.load(") == text.count("weights_only=True"), path


def test_every_parameter_file_is_free_of_aliases():
    for path in (Path(__file__).parents[2] / "params").rglob("*.yaml"):
        assert read_yaml(path) == yaml.safe_load(path.read_text(encoding="utf-8"))
