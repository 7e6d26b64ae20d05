"""Decoding of encoded images to 8-bit pixels: grey or RGB, upright, one frame."""

import io
import warnings
from dataclasses import dataclass
from typing import Any

PillowImage = Any
"""Image of Pillow, which is an extra and loaded with the first image."""

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")
"""Formats that are read, by the names of Pillow."""
MAX_PIXELS = 89_478_485
"""Largest number of pixels, that above which Pillow suspects a decompression bomb."""
ORIENTATION = 0x0112
"""Tag of EXIF with the orientation; 1 is upright."""
GREY_MODES, EXACT_MODES = {"1", "L"}, {"1", "L", "P", "RGB"}
"""Modes that are grey, and those whose pixels grey or RGB hold without loss."""


class ImageError(ValueError):
    """Error for content that is no image that can be decoded; its message says what it is."""


@dataclass(frozen=True)
class DecodedImage:
    """Image with 8 bits a channel.

    Attributes:
        pixels: Image in mode L (grey) or RGB.
        changes: Words on what decoding changed, such as dropped transparency.
    """

    pixels: PillowImage
    changes: tuple[str, ...] = ()


def decode_image(content: bytes) -> DecodedImage:
    """Decode the first frame of an image file, turned upright by its EXIF orientation.

    Transparency is dropped, and other color spaces are converted to RGB; `changes` tells it.

    Raises:
        ImageError: The content is empty, truncated, too large, of 16 bits or more a channel, or
            no image of a known format.
    """
    from PIL import Image, UnidentifiedImageError

    if not content:
        raise ImageError("an empty file (0 bytes)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # sizes are checked below
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                return _convert(image)
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError("no image in a known format (PNG, JPEG, GIF, BMP, WebP, TIFF)") from None
    except Image.DecompressionBombError:
        raise ImageError(f"an image of more than {MAX_PIXELS:,} pixels") from None
    except Exception as error:  # Pillow can raise any exception on a corrupt file
        reason = next(iter(str(error).splitlines()), "")
        raise ImageError(f"a damaged image ({type(error).__name__}: {reason})") from None


def _convert(image: PillowImage) -> DecodedImage:
    from PIL import ImageOps

    if image.width * image.height > MAX_PIXELS:
        raise ImageError(
            f"an image of {image.width:,} x {image.height:,}, more than {MAX_PIXELS:,} pixels"
        )
    if image.mode.startswith(("I", "F")):
        raise ImageError(f"an image of more than 8 bits a channel (mode {image.mode})")
    changes = [*_describe_frames(image)]
    if "A" in image.mode.replace("LAB", "") or "transparency" in image.info:
        changes.append("transparency is dropped")
    elif image.mode not in EXACT_MODES:
        changes.append(f"{image.mode} is converted to RGB")
    if image.getexif().get(ORIENTATION, 1) != 1:
        changes.append("turned upright by EXIF")
    upright = ImageOps.exif_transpose(image)
    is_grey = image.mode in {*GREY_MODES, "LA"}
    return DecodedImage(upright.convert("L" if is_grey else "RGB"), (*changes,))


def _describe_frames(image: PillowImage) -> list[str]:
    # MPO is the JPEG of some cameras, with previews as further frames.
    count = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    return ["the first of several frames is used"] if count > 1 else []
