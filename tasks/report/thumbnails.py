"""Thumbnails of images as data addresses, small enough for a page that loads nothing."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field

from fastif.data.decoded_image import ImageError, decode_image
from tasks.data.dataset import Table
from tasks.data.encoded_images import EncodedImages
from tasks.study.errors import StudyError

SIDE, SMALL_SIDE = 96, 32
"""Largest side in pixels of a thumbnail, and up to which it is kept without loss, as PNG."""
MAX_COUNT = 600
"""Largest number of thumbnails of a page; further images are named by their digest."""
QUALITY = 80


@dataclass(frozen=True, eq=False)
class Thumbnails:
    """Thumbnails of the images of a report, made when they are shown.

    Attributes:
        images: Encoded images of each table.
        places: Table and position of each image, by the words that describe it.
    """

    images: Sequence[EncodedImages]
    places: dict[str, tuple[int, int]]
    _made: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_tables(cls, tables: Sequence[Table]) -> "Thumbnails":
        """Return the thumbnails of tables, of which those without encoded images have none."""
        images, places = [], {}
        for table in tables:
            encoded = table.measurements.encoded if table.measurements is not None else None
            if encoded is not None:
                for position, words in enumerate(table.texts):
                    places.setdefault(words, (len(images), position))
                images.append(encoded)
        return cls(images, places)

    def make(self, words: str) -> str:
        """Return the address of a thumbnail; empty for an image that cannot be shown.

        Args:
            words: Description of the image in its table.
        """
        if words not in self._made:
            place = self.places.get(words)
            if place is None or len(self._made) >= MAX_COUNT:
                return ""
            self._made[words] = _make_address(self.images[place[0]], place[1])
        return self._made[words]


def make_thumbnails(tables: Sequence[Table]) -> Thumbnails | None:
    """Return the thumbnails of tables of images; None for other tables."""
    are_images = any(table.measurements and table.measurements.image for table in tables)
    return Thumbnails.of_tables(tables) if are_images else None


def _make_address(images: EncodedImages, position: int) -> str:
    """Return an image as a data address, encoded again, without any metadata of its file."""
    from PIL import Image  # an extra

    try:
        pixels = decode_image(images[position]).pixels
    except (ImageError, StudyError):  # the file has changed since
        return ""
    is_small = max(pixels.size) <= SMALL_SIDE
    kind, options = ("PNG", {}) if is_small else ("JPEG", {"quality": QUALITY})
    pixels.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    plain = Image.new(pixels.mode, pixels.size)
    plain.paste(pixels)
    file = io.BytesIO()
    plain.save(file, kind, **options)
    content = base64.b64encode(file.getvalue()).decode()
    return f"data:image/{kind.lower()};base64,{content}"
