import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bpg.data import masks
from bpg.data.masks import (
    PALETTE,
    decode_labels,
    decode_mask,
    image_path,
    image_size,
    is_rotated,
    read_grey,
    read_image,
    read_mask,
    write_grey,
    write_mask,
)
from bpg.errors import BPGError


def png_header(width, height, depth=8, colour_type=3):
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\0IDAT\x35\xaf\x06\x1e"


def test_palette_is_vocs():
    assert PALETTE.shape == (256, 3)
    expected = {0: (0, 0, 0), 1: (128, 0, 0), 5: (128, 0, 128), 20: (0, 64, 128)}
    for label, colour in {**expected, 255: (224, 224, 192)}.items():
        assert tuple(PALETTE[label]) == colour


def test_a_mask_survives_the_file(tmp_path):
    mask = np.arange(256, dtype=np.uint8).reshape(8, 32)
    write_mask(tmp_path / "a.png", mask)
    write_mask(tmp_path / "b.png", mask)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), mask)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == "P"
        assert picture.getpalette() == PALETTE.ravel().tolist()


def test_small_palettes_keep_their_indices_and_grey_of_8_bits_is_a_mask(tmp_path):
    mask = np.array([[0, 1], [2, 3]], dtype=np.uint8)
    picture = Image.fromarray(mask)
    picture.save(tmp_path / "grey.png")
    picture.putpalette(PALETTE[:4].tobytes())
    picture.save(tmp_path / "two_bits.png", bits=2)
    for name in ("grey.png", "two_bits.png"):
        np.testing.assert_array_equal(read_mask(tmp_path / name), mask)


@pytest.mark.parametrize("mode", ["RGB", "1", "I;16", "LA"])
def test_other_png_types_are_no_masks(tmp_path, mode):
    Image.new(mode, (4, 4)).save(tmp_path / "m.png")
    with pytest.raises(BPGError, match=r"m\.png: .*palette PNG or an 8-bit grey PNG"):
        read_mask(tmp_path / "m.png")


def test_grey_of_4_bits_is_refused_because_pillow_scales_it(tmp_path):
    rows = zlib.compress(b"\0\x12")
    body = b"IDAT" + rows
    data = png_header(2, 1, depth=4, colour_type=0)[:33]
    data += struct.pack(">I", len(rows)) + body + struct.pack(">I", zlib.crc32(body))
    assert np.array(Image.open(io.BytesIO(data))).tolist() == [[17, 34]]
    with pytest.raises(BPGError, match="4 bits"):
        decode_mask(data, "m.png")


def test_a_jpeg_is_no_mask(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "m.jpg")
    with pytest.raises(BPGError, match=r"m\.jpg: no PNG"):
        read_mask(tmp_path / "m.jpg")


def test_write_mask_takes_labels_only(tmp_path):
    for wrong in (np.zeros((2, 2)), np.zeros((2, 2, 3), np.uint8)):
        with pytest.raises(ValueError, match="uint8"):
            write_mask(tmp_path / "m.png", wrong)


def noise(shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_grey_is_read_as_it_is(tmp_path):
    values = noise((5, 7))
    Image.fromarray(values).save(tmp_path / "e.png")
    np.testing.assert_array_equal(read_grey(tmp_path / "e.png"), values)
    write_mask(tmp_path / "p.png", values)
    with pytest.raises(BPGError, match=r"p\.png: must be an 8-bit grey PNG"):
        read_grey(tmp_path / "p.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_cut_off_files_are_named(tmp_path, suffix):
    path = tmp_path / f"cut{suffix}"
    Image.fromarray(noise((40, 50))).save(path)
    whole = path.read_bytes()
    for length in (0, 3, 20, 40, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:length])
        with pytest.raises(BPGError, match=r"cut\."):
            read_image(path)
        with pytest.raises(BPGError, match=r"cut\."):
            read_mask(path)


def test_images_come_as_rgb(tmp_path):
    colours = noise((4, 6, 3))
    Image.fromarray(colours).save(tmp_path / "c.png")
    Image.fromarray(colours[..., 0]).save(tmp_path / "g.png")
    np.testing.assert_array_equal(read_image(tmp_path / "c.png"), colours)
    grey = read_image(tmp_path / "g.png")
    assert grey.shape == (4, 6, 3)
    assert grey.dtype == np.uint8
    assert image_size((tmp_path / "c.png").read_bytes(), "c.png") == (6, 4)


def test_16_bit_images_and_missing_files_are_refused(tmp_path):
    Image.new("I;16", (4, 4)).save(tmp_path / "i.png")
    with pytest.raises(BPGError, match=r"i\.png: pixel format I;16"):
        read_image(tmp_path / "i.png")
    with pytest.raises(BPGError, match=r"none\.png: cannot be read"):
        read_image(tmp_path / "none.png")


@pytest.mark.parametrize("side", [6_400, 12_000, 60_000])
def test_absurd_sizes_are_refused_before_decoding(side):
    # Pillow warns about the second size and refuses the third itself.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with pytest.raises(BPGError, match=r"big\.png: .*pixels"):
            decode_mask(png_header(side, side), "big.png")
    assert masks.PIXEL_LIMIT < 6_400**2


@pytest.mark.parametrize("shape", [(1, 1), (5, 1), (40, 61)])
def test_grey_files_come_back_and_repeat(shape, tmp_path):
    values = noise(shape)
    for name in ("one.png", "other.png"):
        write_grey(tmp_path / name, values)
    assert np.array_equal(read_grey(tmp_path / "one.png"), values)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "one.png")), values)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "other.png").read_bytes()
    with pytest.raises(ValueError, match="uint8"):
        write_grey(tmp_path / "no.png", values.astype(float))


def saved(path, array, **options):
    """The file as Pillow writes it; its bytes."""
    Image.fromarray(array).save(path, **options)
    return path.read_bytes()


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 30}]
)
def test_a_jpeg_is_read_to_pillows_pixels(options, tmp_path):
    path = tmp_path / "a.jpg"
    image = np.asarray(Image.fromarray(noise((13, 17, 3))).resize((83, 61)))
    saved(path, image, **options)
    assert np.array_equal(read_image(path), np.asarray(Image.open(path)))
    # Turned by its EXIF alone: pixels as stored.
    exif = Image.Exif()
    exif[0x0112] = 6
    saved(path, image, exif=exif, **options)
    assert read_image(path).shape == image.shape


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.97])
def test_a_jpeg_that_is_cut_off_is_refused(kept, tmp_path):
    """OpenCV would give the rest in grey."""
    path = tmp_path / "a.jpg"
    content = saved(path, np.asarray(Image.fromarray(noise((13, 17, 3))).resize((83, 61))))
    for tail in (b"", bytes(len(content))):
        path.write_bytes((content[: int(kept * len(content))] + tail)[: len(content)])
        with pytest.raises(BPGError, match=r"a\.jpg"):
            read_image(path)


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.97])
@pytest.mark.parametrize("whole", [False, True])
def test_a_grey_png_that_is_cut_off_is_refused_whatever_it_ends_with(kept, whole, tmp_path):
    path = tmp_path / "a.png"
    write_grey(path, noise((61, 83)))
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))] + (content[-12:] if whole else b""))
    with pytest.raises(BPGError, match=r"a\.png"):
        read_grey(path)


def test_image_path_prefers_jpg_and_names_both(tmp_path):
    with pytest.raises(BPGError, match=r"neither a\.jpg nor a\.png"):
        image_path(tmp_path, "a")
    (tmp_path / "a.png").touch()
    assert image_path(tmp_path, "a").name == "a.png"
    (tmp_path / "a.jpg").touch()
    assert image_path(tmp_path, "a").name == "a.jpg"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 255), st.integers(1, 10_000))
def test_a_damaged_png_gives_labels_or_a_clear_error(place, value, length):
    buffer = io.BytesIO()
    Image.fromarray(noise((9, 9))).save(buffer, format="PNG")
    data = bytearray(buffer.getvalue())
    data[place % len(data)] = value
    try:
        assert decode_mask(bytes(data[:length]), "m.png").dtype == np.uint8
    except BPGError as error:
        assert str(error).startswith("m.png: ")
        assert "\n" not in str(error)


# Masks that others have made


def png_with(palette, indices):
    image = Image.new("P", (len(indices), 1))
    image.putdata(indices)
    image.putpalette([value for colour in palette for value in colour])
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


CAT, PLANE, BLACK = (64, 0, 0), (128, 0, 0), (0, 0, 0)


@pytest.mark.parametrize(
    ("palette", "indices", "labels", "by_colour"),
    [
        ([tuple(colour) for colour in PALETTE.tolist()], [0, 8, 255], [0, 8, 255], False),
        ([BLACK, CAT], [0, 1, 1], [0, 8, 8], True),  # an optimiser has renumbered VOC's
        ([CAT, BLACK, PLANE], [0, 1, 2], [8, 0, 1], True),
        ([(n, n, n) for n in range(256)], [0, 8, 255], [0, 8, 255], False),  # a ramp of greys
    ],
)
def test_indices_and_colours_of_a_mask_must_mean_the_same(palette, indices, labels, by_colour):
    found, renumbered = decode_labels(png_with(palette, indices), "x.png")
    assert (found.tolist(), renumbered) == ([labels], by_colour)


def test_colours_that_are_not_vocs_are_refused_if_used():
    palette = [BLACK, PLANE, (1, 2, 3)]
    decode_labels(png_with(palette, [0, 1]), "x.png")
    with pytest.raises(BPGError, match=r"x\.png: index 2 has the colour \(1, 2, 3\)"):
        decode_labels(png_with(palette, [0, 2]), "x.png")


def test_a_grey_mask_has_no_colours_to_disagree_with():
    buffer = io.BytesIO()
    Image.fromarray(np.array([[0, 3, 255]], np.uint8)).save(buffer, format="PNG")
    found, renumbered = decode_labels(buffer.getvalue(), "x.png")
    assert (found.tolist(), renumbered) == ([[0, 3, 255]], False)


@pytest.mark.parametrize(("orientation", "rotated"), [(None, False), (1, False), (6, True)])
def test_an_exif_orientation_is_noticed(orientation, rotated):
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3)).save(buffer, format="JPEG", exif=exif)
    assert is_rotated(buffer.getvalue(), "x.jpg") == rotated
