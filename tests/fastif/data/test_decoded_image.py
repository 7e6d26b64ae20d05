"""Decoding of images: what Pillow reads otherwise than a viewer shows, and what it must refuse."""

import io

import numpy as np
import pytest
from PIL import Image

from fastif.data.decoded_image import MAX_PIXELS, ImageError, decode_image
from tests.fastif.models.image_cases import encode_png

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 4, 3), dtype=np.uint8)


def encode(image: Image.Image, kind: str = "PNG", **keys) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **keys)
    return file.getvalue()


def test_pixels_are_those_of_the_file():
    decoded = decode_image(encode_png(PIXELS))
    np.testing.assert_array_equal(np.asarray(decoded.pixels), PIXELS)
    grey = decode_image(encode_png(PIXELS[..., 0]))
    assert (grey.pixels.mode, grey.changes, decoded.changes) == ("L", (), ())


def test_an_image_is_turned_upright_by_exif():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rows are columns
    decoded = decode_image(encode(Image.fromarray(PIXELS), exif=exif))
    np.testing.assert_array_equal(np.asarray(decoded.pixels), np.rot90(PIXELS, -1))
    assert decoded.changes == ("turned upright by EXIF",)


@pytest.mark.parametrize(
    ("mode", "kind", "change"),
    [
        ("RGBA", "PNG", "transparency is dropped"),
        ("LA", "PNG", "transparency is dropped"),
        ("CMYK", "JPEG", "CMYK is converted to RGB"),
        ("P", "PNG", None),
    ],
)
def test_other_modes_are_converted_and_told(mode, kind, change):
    decoded = decode_image(encode(Image.fromarray(PIXELS).convert(mode), kind))
    assert decoded.pixels.mode == ("L" if mode == "LA" else "RGB")
    assert decoded.changes == ((change,) if change else ())


def test_the_first_frame_of_an_animation_is_used():
    frames = [Image.fromarray(PIXELS[..., i]) for i in range(2)]
    file = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    decoded = decode_image(file)
    assert decoded.changes == ("the first of several frames is used",)
    np.testing.assert_array_equal(np.asarray(decoded.pixels.convert("L")), PIXELS[..., 0])


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (b"", "an empty file"),
        (b"hello", "no image in a known format"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no image in a known format"),
        (encode_png(PIXELS)[:60], "a damaged image"),
        (encode_png(PIXELS, "JPEG")[:-20], "a damaged image"),
        (encode_png(PIXELS[..., 0].astype(np.uint16) * 257), "more than 8 bits"),
        (encode(Image.fromarray(PIXELS), "PPM"), "no image in a known format"),
    ],
)
def test_what_is_no_intact_image_of_8_bits_is_refused(file, words):
    with pytest.raises(ImageError, match=words):
        decode_image(file)


def test_a_decompression_bomb_is_refused_before_it_is_decoded():
    side = 9500
    assert side * side > MAX_PIXELS
    file = encode(Image.new("1", (side, side)))
    assert len(file) < 20_000
    with pytest.raises(ImageError, match="9,500 x 9,500"):
        decode_image(file)
    header = bytearray(encode_png(PIXELS))
    header[16:24] = (10**6).to_bytes(4) * 2  # the size of a PNG, far beyond the limit
    with pytest.raises(ImageError):
        decode_image(bytes(header))
