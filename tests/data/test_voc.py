import hashlib
import io
import os
import subprocess
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.io import savemat

from bpg.data.masks import PALETTE, read_image, read_mask
from bpg.data.scribbles import label_map, read_strokes
from bpg.data.strokes import Line
from bpg.data.voc import prepare_voc, train_aug_ids
from bpg.errors import BPGError
from bpg.resumable import open_work, tree_digest

CLASSES = ["background", "cat", "dog"]
NAMES = {"voc": "voc.tar", "sbd": "sbd.tgz", "scribbles": "scribbles.zip"}
WIDTH, HEIGHT = 12, 8
SAMPLE = Path(__file__).parents[3] / "shared" / "voc-sample"
PREPARED = Path(__file__).parents[2] / "data" / "voc"
# Of `sort -u` of the lists of train_aug that DeepLab and its successors use.
TRAIN_AUG_MD5 = "215992f6fd958f89800449fdb4bbabe6"


def jpeg(size=(WIDTH, HEIGHT)):
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 100, 50)).save(buffer, format="JPEG")
    return buffer.getvalue()


def png(label, size=(WIDTH, HEIGHT)):
    picture = Image.new("P", size, label)
    picture.putpalette(PALETTE.tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def mat(label, shape=(HEIGHT, WIDTH), dtype=np.uint8, field="Segmentation"):
    """SBD's layout: GTcls is a 1x1 struct with a matrix for Segmentation."""
    buffer = io.BytesIO()
    inside = {field: np.full(shape, label, dtype), "CategoriesPresent": np.uint8([[1]])}
    savemat(buffer, {"GTcls": inside}, do_compression=True)
    return buffer.getvalue()


def xml():
    points = "<point><X>2</X><Y>2</Y></point><point><X>9</X><Y>5</Y></point>"
    return (
        f"<annotation><size><width>{WIDTH}</width><height>{HEIGHT}</height></size>"
        f"<polygon><tag>cat</tag>{points}</polygon></annotation>"
    ).encode()


VOC, LISTS = "VOCdevkit/VOC2012", "VOCdevkit/VOC2012/ImageSets/Segmentation"
SBD = "benchmark_RELEASE/dataset"


def voc_members():
    """v1: VOC train only; both: VOC train and SBD; leak: VOC val, in SBD too; s1, s2: SBD only."""
    members = {f"{VOC}/JPEGImages/{i}.jpg": jpeg() for i in ("v1", "both", "leak", "s1", "s2", "x")}
    members |= {f"{VOC}/SegmentationClass/{i}.png": png(1) for i in ("v1", "both", "leak")}
    members |= {f"{VOC}/SegmentationClass/x.png": b"never read", f"{VOC}/Annotations/v1.xml": b""}
    # The lists come last, as in the sample; in the official tar they come first.
    return members | {f"{LISTS}/train.txt": b"v1\nboth\n", f"{LISTS}/val.txt": b"leak\n"}


def sbd_members():
    members = {f"{SBD}/cls/{i}.mat": mat(2) for i in ("both", "leak", "s1", "s2")}
    members[f"{SBD}/img/s1.jpg"] = b"not needed"
    return members | {f"{SBD}/train.txt": b"s1\nboth\n", f"{SBD}/val.txt": b"s2\nleak\n"}


def scribble_members():
    ids = ("v1", "both", "leak", "s1", "s2")
    return {f"scribble_annotation/pascal_2012/{i}.xml": xml() for i in ids}


@pytest.fixture
def prepare(tmp_path, make_tar, make_zip):
    """Pack the three archives with changes (None leaves a member out) and prepare them."""

    def run(voc=None, sbd=None, scribbles=None, prefix="", **options):
        def members(official, changes):
            merged = official | (changes or {})
            return {prefix + name: data for name, data in merged.items() if data is not None}

        make_tar("archives/voc.tar", members(voc_members(), voc))
        make_tar("archives/sbd.tgz", members(sbd_members(), sbd), "w:gz")
        make_zip("archives/scribbles.zip", members(scribble_members(), scribbles))
        return prepared(
            tmp_path / "archives", tmp_path / "out", classes=CLASSES, **NAMES, **options
        )

    return run


def prepared(archives, out, **options):
    """Prepare in a work beside `out`, and deliver as the stage does."""
    origin = {"archives": tree_digest(archives)}
    with open_work(out.with_name("work"), origin, [], print) as work:
        lists = prepare_voc(archives, work, **options)
        work.publish({name: out / name for name in ("images", "masks", "strokes")})
    for name, ids in zip(("train", "val"), lists, strict=True):
        (out / f"{name}.txt").write_text("".join(f"{i}\n" for i in ids))
    return lists


def test_train_aug_is_the_union_without_val_sorted():
    assert train_aug_ids(["c", "a"], ["b", "z"], ["b", "d", "a"]) == ["a", "c", "d"]
    assert train_aug_ids(["B", "a", "a"], [], []) == ["B", "a"]  # by bytes, as LC_ALL=C sort -u


@settings(max_examples=60, deadline=None)
@given(*[st.sets(st.sampled_from("abcdefgh"))] * 3)
def test_train_aug_never_meets_val(train, val, sbd):
    ids = train_aug_ids(train, val, sbd)
    assert not set(ids) & val
    assert ids == sorted(set(ids))
    assert set(ids) | val == train | val | sbd


def sort_u(lines: str) -> bytes:
    """The system's `sort -u`, bytewise, as in the published checksum."""
    environment = {**os.environ, "LC_ALL": "C"}
    result = subprocess.run(
        ["sort", "-u"], input=lines.encode(), env=environment, check=True, capture_output=True
    )
    return result.stdout


def test_the_list_has_the_checksum_of_sort_u(prepare, tmp_path):
    """Two lists of SBD and one of VOC put together, VOC val taken out, as one does in a shell."""
    prepare()
    joined = b"".join(
        data for name, data in {**voc_members(), **sbd_members()}.items() if name.endswith(".txt")
    )
    together = sort_u(joined.decode()).decode().split()
    assert together == ["both", "leak", "s1", "s2", "v1"]
    expected = sort_u("".join(f"{i}\n" for i in reversed(together) if i != "leak"))
    found = hashlib.md5((tmp_path / "out/train.txt").read_bytes()).hexdigest()
    assert found == hashlib.md5(expected).hexdigest()


def ids_like_vocs(rng, number):
    return [f"{year}_{n:06}" for year, n in rng.integers((2007, 0), (2012, 9999), (number, 2))]


def test_ids_of_vocs_form_are_sorted_as_sort_u_does():
    rng = np.random.default_rng(8)
    train, val, sbd = (ids_like_vocs(rng, number) for number in (1464, 1449, 11355))
    kept = [i for i in train + sbd if i not in set(val)]
    assert len(set(kept)) < len(kept), "the case must hold an id twice"
    found = "".join(f"{i}\n" for i in train_aug_ids(train, val, sbd)).encode()
    assert found == sort_u("".join(f"{i}\n" for i in kept))


def test_train_aug_of_the_official_archives_has_the_known_checksum():
    lists = [PREPARED / f"{which}.txt" for which in ("train", "val")]
    if not all(path.is_file() for path in lists):
        pytest.skip("data/voc is not prepared here: dvc repro with dataset=voc makes it")
    train, val = (path.read_bytes() for path in lists)
    # The val list tells the official archives from a sample without a look at what is tested.
    if len(val.split()) != 1449:
        pytest.skip(f"data/voc is a sample: {len(val.split())} validation images of 1,449")
    assert len(train.split()) == 10582
    assert hashlib.md5(train).hexdigest() == TRAIN_AUG_MD5


@pytest.mark.parametrize("prefix", ["", "./", "some/folder/"])
def test_the_official_layout_is_prepared(prepare, tmp_path, prefix):
    train, val = prepare(prefix=prefix)
    out = tmp_path / "out"
    assert (train, val) == (["both", "s1", "s2", "v1"], ["leak"])
    assert (out / "train.txt").read_bytes() == b"both\ns1\ns2\nv1\n"
    assert (out / "val.txt").read_bytes() == b"leak\n"
    everything = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()}
    assert everything == (
        {"train.txt", "val.txt"}
        | {f"images/{i}.jpg" for i in train + val}
        | {f"masks/{i}.png" for i in train + val}
        | {f"strokes/{i}.xml" for i in train}
    )
    assert (out / "images/s1.jpg").read_bytes() == jpeg()
    assert read_image(out / "images/s1.jpg").shape == (HEIGHT, WIDTH, 3)
    labels = {i: set(np.unique(read_mask(out / f"masks/{i}.png"))) for i in train + val}
    # Where both have a mask, VOC's wins.
    assert labels == {"both": {1}, "v1": {1}, "leak": {1}, "s1": {2}, "s2": {2}}
    strokes = label_map(out / "strokes/s1.xml", (WIDTH, HEIGHT), CLASSES, 3)
    assert strokes.shape == (HEIGHT, WIDTH)


def test_without_sbds_lists_its_masks_say_who_belongs(prepare):
    lists = {f"{SBD}/train.txt": None, f"{SBD}/val.txt": None}
    assert prepare(sbd=lists)[0] == ["both", "s1", "s2", "v1"]


def test_sbds_lists_go_before_its_masks(prepare):
    assert prepare(sbd={f"{SBD}/train.txt": b"both\n"})[0] == ["both", "s2", "v1"]


def test_a_second_run_replaces_the_first(prepare, tmp_path):
    prepare()
    (tmp_path / "out/masks/stale.png").touch()
    (tmp_path / "out/edges").mkdir()
    prepare()
    assert not (tmp_path / "out/masks/stale.png").exists()
    assert (tmp_path / "out/edges").exists()


BAD = {
    "no list": ({"voc": {f"{LISTS}/val.txt": None}}, "voc.tar: VOC2012/ImageSets/Segmentation/val"),
    "empty list": ({"voc": {f"{LISTS}/val.txt": b"\n"}}, "voc.tar: .*val.txt: the list is empty"),
    "path as id": ({"voc": {f"{LISTS}/val.txt": b"../x\n"}}, "val.txt: '../x' is no image id"),
    "binary list": ({"sbd": {f"{SBD}/val.txt": b"\xff\xfe"}}, "sbd.tgz: .*val.txt: .* no image id"),
    "no image": (
        {"voc": {f"{VOC}/JPEGImages/s1.jpg": None}},
        r"voc.tar: VOC2012/JPEGImages/s1.jpg is missing \(1 of 5 are\)",
    ),
    "broken image": ({"voc": {f"{VOC}/JPEGImages/s1.jpg": b"x"}}, "voc.tar: .*s1.jpg: no JPEG"),
    "no mask": ({"sbd": {f"{SBD}/cls/s1.mat": None}}, "SegmentationClass/s1.png is missing, and s"),
    "no mask in val": (
        {"voc": {f"{VOC}/SegmentationClass/leak.png": None}},
        "voc.tar: SegmentationClass/leak.png is missing",
    ),
    "no scribble": (
        {"scribbles": {"scribble_annotation/pascal_2012/s2.xml": None}},
        r"scribbles.zip: pascal_2012/s2.xml is missing \(1 of 4 are\)",
    ),
    "no SBD": ({"sbd": {n: None for n in sbd_members() if "/cls/" in n}}, "is it SBD's benchmark"),
    "VOC mask's size": (
        {"voc": {f"{VOC}/SegmentationClass/v1.png": png(1, (8, 12))}},
        "voc.tar: SegmentationClass/v1.png: the mask has 8x12 pixels, its image 12x8",
    ),
    "SBD mask's size": (
        {"sbd": {f"{SBD}/cls/s1.mat": mat(1, (12, 8))}},
        "sbd.tgz: cls/s1.mat: the mask has 8x12 pixels, its image 12x8",
    ),
    "VOC label": (
        {"voc": {f"{VOC}/SegmentationClass/leak.png": png(3)}},
        "voc.tar: SegmentationClass/leak.png: label 3 is none of 0..2 and 255",
    ),
    "SBD label": ({"sbd": {f"{SBD}/cls/s2.mat": mat(254)}}, "cls/s2.mat: label 254 is none of"),
    "broken mask": (
        {"voc": {f"{VOC}/SegmentationClass/v1.png": png(1)[:60]}},
        "voc.tar: SegmentationClass/v1.png: ",
    ),
    "broken mat": ({"sbd": {f"{SBD}/cls/s1.mat": mat(1)[:150]}}, "cls/s1.mat: broken .mat file"),
    "no mat": ({"sbd": {f"{SBD}/cls/s1.mat": b""}}, "cls/s1.mat: broken .mat file"),
    "other field": ({"sbd": {f"{SBD}/cls/s1.mat": mat(1, field="S")}}, "cls/s1.mat: broken .mat"),
    "other type": (
        {"sbd": {f"{SBD}/cls/s1.mat": mat(1, dtype=np.float64)}},
        r"cls/s1.mat: broken .*Segmentation is no uint8 matrix",
    ),
}


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD)
def test_what_is_missing_or_wrong_is_named_and_nothing_appears(prepare, tmp_path, changes, message):
    with pytest.raises(BPGError, match=message) as caught:
        prepare(**changes)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").rglob("*"))


def test_a_missing_archive_is_named(tmp_path):
    with pytest.raises(BPGError, match=r"voc\.tar: cannot be read .* fetch it first"):
        prepared(tmp_path, tmp_path / "out", classes=CLASSES, **NAMES)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0), st.binary(min_size=1, max_size=6), st.integers(100))
def test_a_damaged_mat_is_read_or_named(prepare, place, junk, length):
    data = bytearray(mat(2))
    place %= len(data)
    data[place : place + len(junk)] = junk
    try:
        prepare(sbd={f"{SBD}/cls/s1.mat": bytes(data[: 100 + length % len(data)])})
    except BPGError as error:
        assert "s1.mat: " in str(error)


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="needs ../shared/voc-sample")
def test_the_sample_of_real_images(tmp_path):
    classes = [
        *("background", "plane", "bike", "bird", "boat", "bottle", "bus", "car", "cat", "chair"),
        *("cow", "table", "dog", "horse", "motorbike", "person", "plant", "sheep", "sofa"),
        *("train", "monitor"),
    ]
    train, val = prepared(
        SAMPLE,
        tmp_path / "out",
        classes=classes,
        voc="VOCtrainval_11-May-2012.tar",
        sbd="benchmark.tgz",
        scribbles="scribble_annotation.zip",
    )
    assert (len(train), len(val), set(train) & set(val)) == (2733, 396, set())
    assert len(list((tmp_path / "out/masks").iterdir())) == 2733 + 396
    # The last id's scribbles have a stroke of one point.
    for image_id in [*train[::100], "2008_003801"]:
        mask = read_mask(tmp_path / f"out/masks/{image_id}.png")
        labels = label_map(tmp_path / f"out/strokes/{image_id}.xml", mask.shape[::-1], classes, 3)
        drawn = labels != 255
        assert 0 < drawn.mean() < 0.2
        assert (labels[drawn] == mask[drawn]).all()


# What people's archives hold


def renumbered(label):
    """A mask whose palette an optimiser has reduced to one colour, VOC's of `label`."""
    picture = Image.new("P", (WIDTH, HEIGHT), 0)
    picture.putpalette(PALETTE[label].tolist())
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def test_a_renumbered_palette_is_read_by_its_colours_and_said(prepare, tmp_path, capsys):
    prepare(voc={f"{VOC}/SegmentationClass/v1.png": renumbered(2)})
    assert (read_mask(tmp_path / "out/masks/v1.png") == 2).all()
    assert "1 masks are renumbered" in capsys.readouterr().out


def test_an_image_with_an_exif_orientation_is_said_and_named(prepare, capsys):
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT)).save(buffer, format="JPEG", exif=exif)
    name = f"{VOC}/JPEGImages/v1.jpg"
    prepare(voc={name: buffer.getvalue()})
    assert "EXIF orientation" in capsys.readouterr().out
    turned = png(1, (HEIGHT, WIDTH))  # drawn on the image as it is shown
    with pytest.raises(BPGError, match=r"v1\.png.*EXIF"):
        prepare(voc={name: buffer.getvalue(), f"{VOC}/SegmentationClass/v1.png": turned})


@pytest.mark.parametrize(
    "data", [jpeg()[: len(jpeg()) // 2], b"\x89PNG\r\n\x1a\n"], ids=["cut off", "another kind"]
)
@pytest.mark.parametrize("image_id", ["v1", "leak"])
def test_every_image_is_decoded_before_anything_trains(prepare, tmp_path, image_id, data):
    with pytest.raises(BPGError, match=f"JPEGImages/{image_id}.jpg"):
        prepare(voc={f"{VOC}/JPEGImages/{image_id}.jpg": data})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("ends", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_lists_of_any_editor_are_read(prepare, mark, ends):
    train, _ = prepare(voc={f"{LISTS}/train.txt": mark + ends.join([b"v1", b"both", b""])})
    assert train == ["both", "s1", "s2", "v1"]


TWICE = {
    "voc": [f"{VOC}/JPEGImages/v1.jpg", f"{VOC}/SegmentationClass/v1.png", f"{LISTS}/val.txt"],
    "sbd": [f"{SBD}/cls/s1.mat", f"{SBD}/train.txt"],
    "scribbles": ["scribble_annotation/pascal_2012/v1.xml"],
}


@pytest.mark.parametrize(("archive", "name"), [(a, n) for a, names in TWICE.items() for n in names])
@pytest.mark.parametrize("prefix", ["", "./", "again/"], ids=["same", "dot", "elsewhere"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice_is_refused(prepare, tmp_path, archive, name, prefix):
    prepare()
    path = tmp_path / "archives" / NAMES[archive]
    if archive == "scribbles":
        with zipfile.ZipFile(path, "a") as zipped:
            zipped.writestr(prefix + name, xml())
    else:
        with tarfile.open(path) as tar:
            members = [(m.name, tar.extractfile(m).read()) for m in tar if m.isfile()]
        members.append((prefix + name, dict(members)[name]))
        with tarfile.open(path, "w") as tar:
            for member, data in members:
                info = tarfile.TarInfo(member)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    with pytest.raises(BPGError, match=f"{NAMES[archive]}: member .*is there twice") as caught:
        prepared(tmp_path / "archives", tmp_path / "out2", classes=CLASSES, **NAMES)
    assert Path(name).name in str(caught.value)


def test_with_longest_side_images_masks_and_strokes_are_shrunk_together(prepare, tmp_path):
    half = np.zeros((HEIGHT, WIDTH), np.uint8)
    half[:, WIDTH // 2 :] = 1
    indexed = Image.fromarray(half, "P")
    indexed.putpalette(PALETTE.tobytes())
    buffer = io.BytesIO()
    indexed.save(buffer, format="PNG")
    masks = {f"{VOC}/SegmentationClass/{i}.png": buffer.getvalue() for i in ("v1", "leak")}
    train, val = prepare(voc=masks, longest_side=WIDTH // 2)
    out = tmp_path / "out"
    assert (train, val) == (["both", "s1", "s2", "v1"], ["leak"])
    for name in [*train, *val]:
        assert read_image(out / f"images/{name}.png").shape == (HEIGHT // 2, WIDTH // 2, 3)
    for name in ("v1", "leak"):
        mask = read_mask(out / f"masks/{name}.png")
        np.testing.assert_array_equal(mask, np.repeat([[0, 0, 0, 1, 1, 1]], HEIGHT // 2, axis=0))
    # (2, 2) to (9, 5), from pixel centre to pixel centre, at half the size.
    (stroke,) = read_strokes(out / "strokes/v1.json").strokes
    assert stroke.shape == Line(((1.25, 1.25), (4.75, 2.75)))
    labels = label_map(out / "strokes/v1.json", (WIDTH // 2, HEIGHT // 2), CLASSES, 1)
    assert labels[1, 1] == labels[2, 4] == CLASSES.index("cat")
    wrong = {"scribble_annotation/pascal_2012/v1.xml": xml().replace(b">12<", b">24<")}
    with pytest.raises(BPGError, match=r"v1\.xml: drawn on 24x8 pixels, but the image has 12x8"):
        prepare(scribbles=wrong, longest_side=WIDTH // 2 - 1)
    # What fits is VOC's own, byte by byte.
    prepare(longest_side=WIDTH)
    assert (out / "images/v1.jpg").read_bytes() == jpeg()
    assert (out / "strokes/v1.xml").read_bytes() == xml()
