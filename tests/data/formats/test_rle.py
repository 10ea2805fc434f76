import tracemalloc
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as judge

from bpg.data.formats import rle
from bpg.data.formats.rle import (
    Budget,
    decode_coco,
    decode_cvat,
    decode_label_studio,
    encode_coco,
)
from bpg.data.masks import PIXEL_LIMIT
from bpg.data.strokes import paint
from bpg.errors import BPGError
from tests.data.formats.encoders import encode_coco_text, encode_cvat, encode_label_studio

SPECKS = np.random.default_rng(0).random((37, 53)) > 0.5
BAR = np.zeros((40, 60), bool)
BAR[5:9, 7:50] = True
MASKS = {
    "nothing": np.zeros((3, 4), bool),
    "everything": np.ones((3, 4), bool),
    "one pixel": np.eye(1, dtype=bool),
    "corner": np.eye(5, dtype=bool)[::-1],
    "bar": BAR,
    "over the ends of rows": (np.arange(300) % 70 > 40).reshape(20, 15),
    "specks": SPECKS,
    "long runs": np.repeat([False, True, False], 100_000).reshape(500, 600),
}
masks = st.one_of(
    st.sampled_from(list(MASKS.values())),
    st.tuples(st.integers(1, 20), st.integers(1, 20), st.floats(0, 1), st.integers(0, 99)).map(
        lambda drawn: np.random.default_rng(drawn[3]).random(drawn[:2]) < drawn[2]
    ),
)


def whole(pixels, height, width):
    canvas = np.zeros((height, width), np.uint8)
    paint(canvas, pixels, 1)
    return canvas == 1


def check(pixels, mask):
    """The pixels are the mask, cut to what it covers."""
    np.testing.assert_array_equal(whole(pixels, *mask.shape), mask)
    assert pixels.mask.dtype == bool
    if mask.any():
        for axis in (0, 1):
            assert pixels.mask.any(axis)[[0, -1]].all()
    else:
        assert pixels.mask.size == 0


@settings(max_examples=150, deadline=None)
@given(masks)
def test_what_is_encoded_is_decoded_again(mask):
    check(decode_coco(encode_coco(mask), *mask.shape, "m"), mask)
    check(decode_coco(encode_coco_text(mask), *mask.shape, "m"), mask)
    check(decode_cvat(encode_cvat(mask), *mask.shape, "m"), mask)
    check(decode_label_studio(encode_label_studio(mask * np.uint8(255)), *mask.shape, "m"), mask)


def test_coco_runs_go_down_the_columns_and_cvat_runs_along_the_rows():
    mask = np.array([[0, 1, 1], [0, 0, 1]], bool)
    assert encode_coco(mask) == [2, 1, 1, 2]
    assert encode_cvat(mask) == "1, 2, 2, 1"
    check(decode_coco([2, 1, 1, 2], 2, 3, "m"), mask)
    check(decode_cvat("1,2,2,1", 2, 3, "m"), mask)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools
@settings(max_examples=100, deadline=None)
@given(masks)
def test_coco_agrees_with_pycocotools(mask):
    height, width = mask.shape
    check(decode_coco(encode_coco_text(mask), height, width, "m"), mask)
    ours = judge.frPyObjects({"counts": encode_coco(mask), "size": [height, width]}, height, width)
    np.testing.assert_array_equal(judge.decode(ours), mask)


@pytest.mark.parametrize("counts", [[0, 0, 3, 0, 0, 1, 2], [0, 6], [6], [6, 0], [2, 0, 0, 4, 0]])
def test_empty_runs_are_allowed(counts):
    value, flat = False, []
    for count in counts:
        flat += [value] * count
        value = not value
    mask = np.array(flat).reshape(3, 2).T
    check(decode_coco(counts, 2, 3, "m"), mask)


def test_the_example_of_cvats_documentation():
    text = (
        "3, 5, 7, 7, 5, 9, 3, 11, 2, 11, 2, 12, 1, 12, 1, 26, 1, 12, 1, 12, 2, 11, 3, 9, 5, 7, 7, "
        "5, 3"
    )
    found = decode_cvat(text, 15, 13, "m")
    assert found.mask.shape == (15, 13)
    assert "".join(".#"[int(pixel)] for pixel in found.mask[0]) == "...#####....."
    assert encode_cvat(found.mask) == text


def bits(data):
    return "".join(f"{byte:08b}" for byte in data)


def thing_decode(code):
    """Decode @thi.ng/rle-pack bit by bit, as its documentation has it."""
    text, at = bits(code), 0

    def read(size):
        nonlocal at
        at += size
        return int(text[at - size : at], 2)

    total, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    out = []
    while len(out) < total:
        run = read(1)
        length = read(sizes[read(2)]) + 1
        out += [read(word)] * length if run else [read(word) for _ in range(length)]
    return out


def thing_encode(values, tokens, sizes=(3, 4, 8, 16), total=None, word=8):
    """Encode with runs and lists of these lengths: positive ones are runs, negative ones lists."""
    text = f"{len(values) if total is None else total:032b}{word - 1:05b}"
    text += "".join(f"{size - 1:04b}" for size in sizes)
    at = 0
    for token in tokens:
        length = abs(token)
        which = next(i for i, size in enumerate(sizes) if length <= 2**size)
        text += f"{int(token > 0)}{which:02b}{length - 1:0{sizes[which]}b}"
        for value in values[at : at + (1 if token > 0 else length)]:
            text += f"{value:0{word}b}"
        at += length
    text += "0" * (-len(text) % 8)
    return [int(text[i : i + 8], 2) for i in range(0, len(text), 8)]


def rgba(alpha):
    return np.repeat(alpha.ravel(), 4).tolist()


def tokens_of(values, rng):
    """Cut into runs of what is equal, and lists of what is not, at random."""
    tokens = []
    for _, group in groupby(values):
        length = len(list(group))
        if tokens and tokens[-1] < 0 and (length < 3 or rng.random() < 0.3):
            tokens[-1] -= length
        else:
            tokens.append(length if rng.random() < 0.6 else -length)
    return tokens


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 10**6), st.booleans())
def test_label_studio_agrees_with_a_loop(height, width, seed, small_parts):
    rng = np.random.default_rng(seed)
    alpha = rng.choice([0, 0, 0, 255, 255, 127, 128, 3], (height, width)).astype(np.uint8)
    alpha[0, 0] = 255
    code = thing_encode(rgba(alpha), tokens_of(rgba(alpha), rng))
    assert thing_decode(code) == rgba(alpha)
    assert thing_decode(encode_label_studio(alpha)) == rgba(alpha)
    with pytest.MonkeyPatch.context() as patch:
        if small_parts:
            patch.setattr(rle, "_BYTES_AT_ONCE", 3)
        check(decode_label_studio(code, height, width, "m"), alpha >= 128)


def test_only_alpha_counts_in_label_studios_masks():
    values = [255, 255, 255, 0, 0, 0, 0, 255, 9, 9, 9, 127, 9, 9, 9, 128]
    code = thing_encode(values, [3, 4, 1, 3, -5])
    check(decode_label_studio(code, 2, 2, "m"), np.array([[0, 1], [0, 1]], bool))


def test_a_faint_mask_is_measured_by_its_own_largest_alpha():
    alpha = np.array([[100, 49, 50], [0, 1, 99]], np.uint8)
    found = decode_label_studio(encode_label_studio(alpha), 2, 3, "m")
    check(found, np.array([[1, 0, 1], [0, 0, 1]], bool))
    check(decode_label_studio(encode_label_studio(alpha > 49), 2, 3, "m"), alpha > 49)


def test_runs_longer_than_the_longest_size_are_split():
    alpha = np.zeros((300, 400), np.uint8)
    alpha[100:250] = 255
    code = encode_label_studio(alpha)
    assert len(code) < 60
    check(decode_label_studio(code, 300, 400, "m"), alpha > 0)


def test_bytes_behind_the_end_are_ignored():
    mask = MASKS["bar"]
    code = encode_label_studio(mask * np.uint8(255))
    check(decode_label_studio([*code, 0, 0, 255], *mask.shape, "m"), mask)


ALPHA = np.full((2, 3), 255, np.uint8)
CODE = encode_label_studio(ALPHA)
BAD = {
    "coco sum": (decode_coco, [2, 3], "add up to 5 instead of 6"),
    "coco sum above": (decode_coco, [2, 3, 4], "add up to 9 instead of 6"),
    "coco nothing": (decode_coco, [], "add up to 0"),
    "coco negative": (decode_coco, [8, -2], "no list of counts"),
    "coco fraction": (decode_coco, [5.0, 1], "no list of counts"),
    "coco truth": (decode_coco, [5, True], "no list of counts"),
    "coco words": (decode_coco, ["5", "1"], "no list of counts"),
    "coco nested": (decode_coco, [[5], [1]], "no list of counts"),
    "coco huge": (decode_coco, [10**30, 1], "no list of counts"),
    "coco overflow": (decode_coco, [2**63] * 2 + [6], "no list of counts"),
    "coco null": (decode_coco, None, "no list of counts"),
    "coco dict": (decode_coco, {"5": 1}, "no list of counts"),
    "text sum": (decode_coco, "22", "add up to 4"),
    "text empty": (decode_coco, "", "add up to 0"),
    "text cut off": (decode_coco, "0o", "cut off"),
    "text negative": (decode_coco, "O6", "no text of COCO"),
    "text difference below 0": (decode_coco, "0330L", "no text of COCO"),
    "text huge": (decode_coco, "ooooo1", "no text of COCO"),
    "text overflow": (decode_coco, "P" * 30 + "1", "no text of COCO"),
    "text of others": (decode_coco, "0\x01", "no text of COCO"),
    "text in unicode": (decode_coco, "0é6", "no text of COCO"),
    "text with a surrogate": (decode_coco, "0\ud800", "no text of COCO"),
    "cvat sum": (decode_cvat, "2, 3", "add up to 5"),
    "cvat words": (decode_cvat, "2, x", "no list of numbers"),
    "cvat empty": (decode_cvat, "", "no list of numbers"),
    "cvat negative": (decode_cvat, "8, -2", "no list of counts"),
    "cvat huge": (decode_cvat, "9" * 6000, "no list of numbers"),
    "ls number": (decode_label_studio, 6, "no list of bytes"),
    "ls text": (decode_label_studio, "abc", "no list of bytes"),
    "ls null": (decode_label_studio, None, "no list of bytes"),
    "ls no bytes": (decode_label_studio, [1, 256], "no list of bytes"),
    "ls fractions": (decode_label_studio, [1.0], "no list of bytes"),
    "ls nested": (decode_label_studio, [[1]], "no list of bytes"),
    "ls empty": (decode_label_studio, [], "cut off"),
    "ls header only": (decode_label_studio, CODE[:7], "cut off"),
    "ls cut off": (decode_label_studio, CODE[:-1], "cut off"),
    "ls other size": (
        decode_label_studio,
        encode_label_studio(ALPHA[:1]),
        "holds 12 bytes, but 3x2 pixels have 24",
    ),
    "ls claims too much": (
        decode_label_studio,
        thing_encode([1] * 24, [24], total=2**32 - 1),
        "pix",
    ),
    "ls overruns": (decode_label_studio, thing_encode([1] * 25, [25], total=24), "do not add up"),
    "ls list cut off": (decode_label_studio, thing_encode([1] * 24, [-24])[:-2], "cut off"),
    "ls word": (decode_label_studio, thing_encode([1] * 24, [24], word=9), "words of 9 bits"),
}


@pytest.mark.parametrize(("decode", "code", "message"), BAD.values(), ids=BAD)
def test_bad_codes_get_one_line(decode, code, message):
    with pytest.raises(BPGError) as caught:
        decode(code, 2, 3, "a.json: mask 4")
    assert str(caught.value).startswith("a.json: mask 4: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [(0, 3), (-2, -3), (10**9, 10**9), (PIXEL_LIMIT, 2)])
def test_impossible_sizes_are_refused(size):
    for decode, code in ((decode_coco, [6]), (decode_cvat, "6"), (decode_label_studio, CODE)):
        with pytest.raises(BPGError, match="impossible"):
            decode(code, *size, "m")


def test_a_small_code_of_a_large_mask_takes_no_memory():
    side = 6000
    code = encode_label_studio(np.zeros((side, side), np.uint8))
    tracemalloc.start()
    try:
        found = decode_coco([side * side - 10, 3, 7], side, side, "m")
        decode_cvat(f"{side * side}", side, side, "m")
        decode_label_studio(code, side, side, "m")
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()
    assert (found.left, found.top, found.mask.shape) == (side - 1, side - 10, (3, 1))


number = st.integers(-2, 9) | st.sampled_from([2**31, 2**63, -(2**63), 1.5, True, None, "1", [1]])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(number, max_size=8)
    | st.text("0123456789:?@ONPo`k", max_size=12)
    | st.text(max_size=6)
    | number
)
def test_odd_codes_give_a_mask_or_one_line(code):
    for decode in (decode_coco, decode_label_studio):
        check_decoding(decode, code)
    check_decoding(decode_cvat, ",".join(map(str, code)) if isinstance(code, list) else str(code))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_bit_streams_give_a_mask_or_one_line(data):
    code = encode_label_studio(SPECKS[:9, :11] * np.uint8(255))
    for _ in range(data.draw(st.integers(1, 4))):
        code[data.draw(st.integers(5, len(code) - 1))] = data.draw(st.integers(0, 255))
    code = code[: data.draw(st.integers(1, len(code)))]
    try:
        found = decode_label_studio(code, 9, 11, "m")
    except BPGError as error:
        assert "\n" not in str(error)
        return
    alpha = np.array(thing_decode(code))[3::4].reshape(9, 11)
    check(found, (2 * alpha >= alpha.max()) & (alpha > 0))


def check_decoding(decode, code):
    try:
        found = decode(code, 2, 3, "m")
    except BPGError as error:
        assert str(error).startswith("m: ")
        assert "\n" not in str(error)
        return
    assert whole(found, 2, 3).sum() == found.mask.sum()


def test_the_masks_of_a_file_have_a_limit_together(monkeypatch):
    monkeypatch.setattr(rle, "TOTAL_LIMIT", 1000)
    budget = Budget("a.json")
    budget.spend(600)
    budget.spend(400)
    with pytest.raises(BPGError, match=r"a.json: its masks take more than 1,000 pixels"):
        budget.spend(1)
