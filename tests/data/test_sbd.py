"""SBD's masks, held against SciPy's reader."""

import io
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from bpg.data.sbd import read_segmentation
from bpg.errors import BPGError

SAMPLE = Path(__file__).parents[3] / "shared/voc-sample/benchmark.tgz"


def mat(value, name="GTcls", **options):
    file = io.BytesIO()
    savemat(file, {name: value}, **options)
    return file.getvalue()


def struct(mask, **others):
    return {"GTcls": 0, "Boundaries": np.eye(3)} | others | {"Segmentation": mask}


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (7, 1), (1, 9), (375, 500), (0, 4)])
def test_the_mask_comes_out_as_it_went_in(shape, compressed):
    mask = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    found = read_segmentation(mat(struct(mask), do_compression=compressed), "x.mat")
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    assert np.array_equal(found, mask)


def test_other_variables_and_fields_are_passed_over():
    mask = np.arange(6, dtype=np.uint8).reshape(2, 3)
    cells = np.empty(2, object)
    cells[:] = [np.eye(2), "text"]
    file = io.BytesIO()
    savemat(file, {"first": np.eye(4), "GTcls": struct(mask, Cells=cells), "last": 1})
    assert np.array_equal(read_segmentation(file.getvalue(), "x"), mask)


@pytest.mark.skipif(not SAMPLE.is_file(), reason="needs ../shared/voc-sample")
def test_real_files_are_read_as_scipy_reads_them():
    count = 0
    with tarfile.open(SAMPLE) as archive:
        for member in archive:
            if member.name.endswith(".mat"):
                data = archive.extractfile(member).read()
                theirs = loadmat(io.BytesIO(data))["GTcls"][0]["Segmentation"][0]
                ours = read_segmentation(data, member.name)
                assert ours.dtype == theirs.dtype
                assert np.array_equal(ours, theirs)
                count += 1
                if count == 200:
                    break
    assert count == 200


MASK = np.ones((2, 3), np.uint8)
BAD = {
    "no MATLAB file": (b"<html>" * 40, "no MATLAB 5 file"),
    "empty": (b"", "no MATLAB 5 file"),
    "version 4": (mat(MASK, format="4"), "no MATLAB 5 file"),
    "head alone": (mat(struct(MASK))[:128], "no GTcls"),
    "cut off": (mat(struct(MASK))[:-20], "cut off"),
    "cut off, compressed": (mat(struct(MASK), do_compression=True)[:-20], "cut off"),
    "another variable": (mat(struct(MASK), name="GTinst"), "no GTcls"),
    "no struct": (mat(MASK), "GTcls is no struct"),
    "no mask": (mat({"Boundaries": 1}), "no Segmentation"),
    "floats": (mat(struct(MASK.astype(float))), "Segmentation is no uint8 matrix"),
    "three axes": (mat(struct(np.ones((2, 2, 2), np.uint8))), "Segmentation is no uint8 matrix"),
    "text": (mat(struct("words")), "Segmentation is no uint8 matrix"),
}


@pytest.mark.parametrize(("data", "says"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_named_in_one_line(data, says):
    with pytest.raises(BPGError) as caught:
        read_segmentation(data, "cls/x.mat")
    message = str(caught.value)
    assert message.startswith("cls/x.mat: broken .mat file, or none of SBD's (")
    assert says in message
    assert "\n" not in message


def element(kind, data):
    return np.array([kind, len(data)], "<u4").tobytes() + data + bytes(-len(data) % 8)


def array(shape, kind, *rest):
    head = element(6, np.array([kind, 0], "<u4").tobytes()) + element(5, shape)
    return element(14, head + element(1, b"GTcls") + b"".join(rest))


ONE = np.array([1, 1], "<i4").tobytes()


@pytest.mark.parametrize(
    "content",
    [
        array(ONE, 2, element(5, np.array([1], "<i4").tobytes()), element(1, b"x" * 10**6)),
        array(np.ones(10**6, "<i4").tobytes(), 2),
        element(5, b"") * 10**5,
    ],
    ids=["fields", "axes", "elements"],
)
def test_masses_of_fields_axes_or_elements_are_refused(content):
    data = mat(MASK)[:128] + content
    tracemalloc.start()
    with pytest.raises(BPGError, match=r"x\.mat: broken"):
        read_segmentation(data, "x.mat")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**21


def test_a_matrix_that_claims_more_pixels_than_it_has_is_refused():
    data = mat(struct(MASK))
    # Its size stands as two 32-bit numbers in a row.
    claimed = data.replace(b"\x02\0\0\0\x03\0\0\0", b"\xff\xff\xff\x7f\xff\xff\xff\x7f")
    assert claimed != data
    with pytest.raises(BPGError, match="another size than its pixels"):
        read_segmentation(claimed, "x")
