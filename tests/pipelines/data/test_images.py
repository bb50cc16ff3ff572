"""Every kind of picture becomes uint8 RGB, or a reason why not."""

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nitrogen.pipelines.data.images import (
    BrokenPictureError,
    Decoded,
    decode_array,
    decode_picture,
    encode_png,
    fit_square,
)
from nitrogen.pipelines.data.limits import Limits

LIMITS = Limits()


def encoded(image: Image.Image, file_format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def decode(image: Image.Image, file_format: str = "PNG", **options: object) -> Decoded:
    return decode_picture(encoded(image, file_format, **options), LIMITS)


def random_rgb(height: int = 12, width: int = 12) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("file_format", "options"), [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True})]
)
def test_lossless_formats_come_back_exactly(file_format: str, options: dict):
    pixels = random_rgb()
    decoded = decode(Image.fromarray(pixels), file_format, **options)
    assert np.array_equal(decoded.pixels, pixels)
    assert decoded.traits == frozenset()


def test_jpeg_comes_back_nearly():
    decoded = decode(Image.new("RGB", (8, 8), (200, 40, 90)), "JPEG", quality=95)
    assert np.abs(decoded.pixels.astype(int) - (200, 40, 90)).max() < 6


@pytest.mark.parametrize(
    ("mode", "colour", "expected", "traits"),
    [
        ("L", 77, (77, 77, 77), {"grey"}),
        ("1", 1, (255, 255, 255), {"grey"}),
        ("LA", (0, 0), (255, 255, 255), {"grey", "alpha"}),
        ("RGBA", (255, 0, 0, 0), (255, 255, 255), {"alpha"}),
        ("RGBA", (255, 0, 0, 51), (255, 204, 204), {"alpha"}),
        ("RGBA", (255, 0, 0, 255), (255, 0, 0), set()),
        ("I;16", 65535, (255, 255, 255), {"grey", "16-bit"}),
        ("I;16", 257 * 100, (100, 100, 100), {"grey", "16-bit"}),
    ],
)
def test_modes_of_png(mode: str, colour: object, expected: tuple, traits: set):
    decoded = decode(Image.new(mode, (4, 4), colour))
    assert (decoded.pixels == expected).all(), decoded.pixels[0, 0]
    assert decoded.traits == traits


def test_a_palette_with_a_transparent_colour():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    decoded = decode(image, transparency=0)
    assert decoded.pixels.tolist() == [[[255, 255, 255], [200, 100, 50]]]
    assert decoded.traits == {"alpha"}


def test_a_cmyk_jpeg():
    decoded = decode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95)
    assert decoded.traits == {"cmyk"}
    assert np.abs(decoded.pixels.astype(int) - (255, 0, 0)).max() < 12


def test_the_first_frame_of_an_animated_gif():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "green", "blue")]
    decoded = decode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (decoded.pixels == (255, 0, 0)).all()
    assert decoded.traits == {"animated"}


def test_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    decoded = decode(Image.new("RGB", (8, 4)), "JPEG", exif=exif)
    assert decoded.pixels.shape == (8, 4, 3)
    assert decoded.traits == {"rotated"}


def test_senseless_exif_does_not_break_a_sound_picture():
    decoded = decode(Image.new("RGB", (8, 4)), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\xff")
    assert decoded.pixels.shape == (4, 8, 3)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "BMP", "GIF"])
@given(cut=st.floats(0.0, 0.9))
def test_a_cut_file_is_broken_never_a_crash(file_format: str, cut: float):
    data = encoded(Image.fromarray(random_rgb(40, 40)), file_format)
    with pytest.raises(BrokenPictureError):
        decode_picture(data[: int(len(data) * cut)], LIMITS)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "BMP", "GIF"])
@given(place=st.integers(0, 10_000), value=st.integers(0, 255))
def test_a_damaged_byte_gives_a_picture_or_a_reason(file_format: str, place: int, value: int):
    data = bytearray(encoded(Image.fromarray(random_rgb(10, 10)), file_format))
    data[place % len(data)] = value
    with contextlib.suppress(BrokenPictureError):
        assert decode_picture(bytes(data), LIMITS).pixels.dtype == np.uint8


def png_header_of(width: int, height: int) -> bytes:
    """A PNG that claims to be huge and is a few bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("size", [(9000, 9000), (60_000, 60_000), (2_000_000_000, 1)])
def test_a_decompression_bomb_is_refused_by_its_header(size: tuple[int, int]):
    with pytest.raises(BrokenPictureError, match="too many pixels"):
        decode_picture(png_header_of(*size), LIMITS)


def test_limits_are_the_callers():
    data = encoded(Image.new("RGB", (10, 10)))
    with pytest.raises(BrokenPictureError, match="10x10 is too many pixels"):
        decode_picture(data, Limits(max_pixels=99))
    with pytest.raises(BrokenPictureError, match="more than 20 bytes"):
        decode_picture(data, Limits(max_file_bytes=20))


def test_other_formats_are_not_decoded():
    for file_format in ("TIFF", "EPS", "PDF"):
        with pytest.raises(BrokenPictureError, match="not a PNG, JPEG"):
            decode(Image.new("RGB", (4, 4)), file_format)


def test_raw_arrays():
    grey = decode_array(np.array([[1, 2], [3, 4]], np.uint8))
    assert grey.pixels[1, 0].tolist() == [3, 3, 3]
    assert grey.traits == {"grey"}
    assert decode_array(random_rgb()).traits == frozenset()


def test_reduction_averages_over_the_area():
    pixels = random_rgb(16, 16)
    fitted = fit_square(Decoded(pixels, frozenset()), 4)
    mean = pixels.reshape(4, 4, 4, 4, 3).mean((1, 3))
    assert np.abs(fitted.pixels - mean).max() <= 1
    assert fitted.traits == {"scaled"}


def test_the_aspect_is_kept_with_white_around():
    fitted = fit_square(Decoded(np.zeros((10, 20, 3), np.uint8), frozenset()), 10)
    assert (fitted.pixels[:2] == 255).all()
    assert (fitted.pixels[3:7] == 0).all()
    assert (fitted.pixels[8:] == 255).all()
    assert fitted.traits == {"scaled", "padded"}


@given(height=st.integers(1, 200), width=st.integers(1, 200), size=st.integers(1, 65))
def test_every_size_fits(height: int, width: int, size: int):
    fitted = fit_square(Decoded(np.zeros((height, width, 3), np.uint8), frozenset()), size)
    assert fitted.pixels.shape == (size, size, 3)
    assert ("padded" not in fitted.traits) or height != width


def test_a_picture_of_the_right_size_is_left_alone():
    decoded = Decoded(random_rgb(), frozenset({"grey"}))
    assert fit_square(decoded, 12) is decoded


def test_the_stored_png_is_lossless():
    pixels = random_rgb(1, 1)
    assert np.array_equal(decode_picture(encode_png(pixels), LIMITS).pixels, pixels)
