"""Images as people have them, read as upright RGB or refused by name."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from bpg.data.photographs import (
    FORMATS,
    PIXEL_LIMIT,
    decode_photograph,
    read_photograph,
    upright,
)
from bpg.errors import BPGError
from bpg.opencv import cv2

LOSSLESS = {"PNG": {}, "TIFF": {}, "WEBP": {"lossless": True, "exact": True}}


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **LOSSLESS.get(kind, {"quality": 95}), **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def pixels():
    """Smooth enough for JPEG, and without any symmetry: (20, 30, 3)."""
    rows, columns = np.mgrid[:20, :30]
    return np.stack([rows * 12, columns * 8, 255 - rows * 5 - columns * 3], 2).astype(np.uint8)


def with_orientation(image, value):
    exif = Image.Exif()
    exif[0x0112] = value
    image.info.pop("exif", None)
    return {"exif": exif}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_of_every_format_is_applied_once(pixels, kind, orientation):
    image = Image.fromarray(pixels)
    found = decode_photograph(encoded(image, kind, **with_orientation(image, orientation)), "a")
    marked = Image.fromarray(pixels)
    marked.getexif()[0x0112] = orientation
    expected = np.array(ImageOps.exif_transpose(marked))
    assert found.orientation == orientation
    assert found.pixels.shape == expected.shape
    assert np.abs(found.pixels.astype(int) - expected).max() <= (0 if kind in LOSSLESS else 12)
    np.testing.assert_array_equal(upright(pixels, orientation), expected)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_means_nothing_is_ignored(pixels, value):
    image = Image.fromarray(pixels)
    found = decode_photograph(encoded(image, **with_orientation(image, value)), "a")
    assert found.orientation == 1
    np.testing.assert_array_equal(found.pixels, pixels)


def test_a_jpeg_is_read_as_pillow_reads_it(pixels, tmp_path):
    (tmp_path / "é ö.JPG").write_bytes(encoded(Image.fromarray(pixels), "JPEG"))
    found = read_photograph(tmp_path / "é ö.JPG")
    np.testing.assert_array_equal(found.pixels, np.array(Image.open(tmp_path / "é ö.JPG")))
    assert found.pixels.flags.writeable
    assert found.pixels.flags.c_contiguous


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_what_is_transparent_lies_on_white(kind):
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0] = [[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 128]]
    found = decode_photograph(encoded(Image.fromarray(rgba), kind), "a").pixels
    assert found.tolist() == [[[10, 20, 30], [255, 255, 255], [127, 127, 127]]]


def test_grey_palettes_and_single_bits_become_rgb():
    grey = np.array([[0, 100, 255]], np.uint8)
    expected = [[[value] * 3 for value in (0, 100, 255)]]
    assert decode_photograph(encoded(Image.fromarray(grey)), "a").pixels.tolist() == expected
    palette = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    palette.putpalette([9, 8, 7, 1, 2, 3, 50, 60, 70])
    found = decode_photograph(encoded(palette), "a").pixels
    assert found.tolist() == [[[9, 8, 7], [1, 2, 3], [50, 60, 70]]]
    found = decode_photograph(encoded(palette, transparency=1), "a").pixels
    assert found.tolist() == [[[9, 8, 7], [255, 255, 255], [50, 60, 70]]]
    bits = Image.fromarray(np.array([[False, True]]))
    assert decode_photograph(encoded(bits), "a").pixels[0, :, 0].tolist() == [0, 255]
    with_alpha = Image.merge("LA", [Image.new("L", (2, 1), 40), Image.new("L", (2, 1), 0)])
    assert (decode_photograph(encoded(with_alpha), "a").pixels == 255).all()


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3])
def test_of_16_bits_the_upper_8_are_kept(suffix, channels):
    values = np.array([0, 255, 256, 0x7FFF, 0xFF00, 0xFFFF], np.uint16)
    image = np.broadcast_to(values[None, :, None], (2, 6, channels)).squeeze()
    done, data = cv2.imencode(suffix, image)
    assert done
    found = decode_photograph(data.tobytes(), "a").pixels
    assert found.tolist() == [[[value] * 3 for value in (0, 0, 1, 127, 255, 255)]] * 2


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_12_bits_in_16_are_refused_because_they_would_be_black(suffix, channels):
    image = np.full((4, 4, channels), 4095, np.uint16).squeeze()
    with pytest.raises(BPGError, match=r"^micro\.x: its 16-bit values stay below 4096.*8-bit RGB$"):
        decode_photograph(cv2.imencode(suffix, image)[1].tobytes(), "micro.x")


@pytest.mark.parametrize("mode", ["F", "I", "LAB"])
def test_other_pixel_formats_are_refused_by_name(mode):
    with pytest.raises(BPGError, match=rf"^a\.tif: pixel format {mode} is not read"):
        decode_photograph(encoded(Image.new(mode, (3, 3)), "TIFF"), "a.tif")


def test_cmyk_is_converted():
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    found = decode_photograph(encoded(cmyk, "JPEG"), "a").pixels
    assert np.abs(found.astype(int) - [255, 0, 0]).max() <= 3


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_pages_and_animations_are_refused(kind, pixels):
    frames = [Image.fromarray(pixels), Image.fromarray(255 - pixels)]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    with pytest.raises(BPGError, match="holds 2 pages or frames; save each"):
        decode_photograph(data, "a")


def test_of_a_cameras_jpeg_with_previews_the_photograph_is_read(pixels):
    frames = [Image.fromarray(pixels), Image.new("RGB", (4, 4))]
    data = encoded(frames[0], "MPO", save_all=True, append_images=frames[1:])
    assert Image.open(io.BytesIO(data)).format == "MPO"
    found = decode_photograph(data, "a").pixels
    assert np.abs(found.astype(int) - pixels).max() <= 12


def test_a_bomb_is_refused_before_it_is_decoded():
    width = height = 13_000
    assert width * height > PIXEL_LIMIT
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body
    data += struct.pack(">I", zlib.crc32(body)) + b"\0\0\0\0IDAT\x35\xaf\x06\x1e"
    with pytest.raises(BPGError, match=r"a\.png: 13000x13000 pixels are more than the limit"):
        decode_photograph(data, "a.png")
    data = data.replace(struct.pack(">II", width, height), struct.pack(">II", 2**20, 2**20))
    data = data[:29] + struct.pack(">I", zlib.crc32(data[12:29])) + data[33:]
    with pytest.raises(BPGError, match=r"^a\.png: [^\n]*$"):
        decode_photograph(data, "a.png")


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_that_is_cut_off_is_refused_or_complete(kind, pixels):
    data = encoded(Image.fromarray(pixels), kind)
    whole = decode_photograph(data, "a").pixels
    refused = 0
    for length in range(0, len(data), max(1, len(data) // 60)):
        try:
            found = decode_photograph(data[:length], "a.x")
        except BPGError as error:
            assert str(error).startswith("a.x: ")
            assert "\n" not in str(error)
            refused += 1
        else:  # what is missing came after the pixels
            np.testing.assert_array_equal(found.pixels, whole)
    assert refused > 40


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(FORMATS), st.integers(0, 10**6), st.binary(min_size=1, max_size=8))
def test_damage_is_read_or_refused_in_one_line(kind, place, damage):
    data = bytearray(encoded(Image.radial_gradient("L").resize((24, 24)).convert("RGB"), kind))
    place %= len(data)
    data[place : place + len(damage)] = damage
    try:
        found = decode_photograph(bytes(data), "a")
    except BPGError as error:
        assert "\n" not in str(error)
    else:
        assert found.pixels.dtype == np.uint8
        assert found.pixels.ndim == 3


def test_what_is_no_image_and_what_is_missing_is_named(tmp_path):
    (tmp_path / "notes.jpg").write_text("no image")
    with pytest.raises(BPGError, match=r"notes\.jpg: no JPEG, PNG, TIFF or WebP image"):
        read_photograph(tmp_path / "notes.jpg")
    with pytest.raises(BPGError, match=r"none\.jpg: cannot be read \(No such file"):
        read_photograph(tmp_path / "none.jpg")
    with pytest.raises(BPGError, match="no JPEG, PNG, TIFF or WebP image"):
        decode_photograph(encoded(Image.new("RGB", (3, 3)), "GIF"), "a")
