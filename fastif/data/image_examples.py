"""Encoded images, decoded and processed batch by batch."""

import copy
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from fastif.data.arrays import check_batch_size, check_label_count
from fastif.data.decoded_image import ImageError
from fastif.data.examples import BATCH_SIZE, Batch, LabeledExamples
from fastif.data.lookahead import Lookahead
from fastif.errors import InputError
from fastif.numerics.transfer import send

CACHE_BYTES = 2**28
"""Default memory for processed images, in bytes."""

ImageProcessor = Callable[[bytes], Float[Tensor, "c h w"]]
"""Function from an encoded image to its pixel values, equal each time."""


class ImageExamples(LabeledExamples):
    """Encoded images, such as JPEG files; each batch is decoded when it is read.

    Args:
        images: Encoded images; a sequence may read files when an image is taken.
        labels: Targets [n *t] of the images.
        processor: Function that decodes an image to the model's pixel values, as
            `load_image_processor` returns.
        device: Device of the batches.
        batch_size: Number of images whose gradients are held at once.
        budget_bytes: Memory for pixel values that are kept, in bytes; the others are decoded on
            each use, with equal results.

    Raises:
        InputError: The numbers of images and labels differ, or the batch size is below 1.
    """

    def __init__(
        self,
        images: Sequence[bytes],
        labels: Shaped[Tensor, "n *t"],
        processor: ImageProcessor,
        device: torch.device | str = "cpu",
        batch_size: int = BATCH_SIZE,
        budget_bytes: int = CACHE_BYTES,
    ) -> None:
        check_label_count(len(images), len(labels), "ImageExamples")
        check_batch_size(batch_size)
        self.images, self.labels, self.processor = images, labels, processor
        self.device, self.batch_size, self.budget_bytes = device, batch_size, budget_bytes
        self.lookahead = Lookahead(device)
        self._cached: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.images)

    def to_device(self, device: torch.device | str) -> "ImageExamples":
        """Return a view of the same images with batches on another device."""
        other = copy.copy(self)
        other.device, other.lookahead = device, Lookahead(device)
        return other

    def announce(self, ids: Int[Tensor, " b"]) -> None:
        self.lookahead.announce(ids, self._collate)

    def take(self, ids: Int[Tensor, " b"]) -> Batch:
        return self.lookahead.take(ids, self._collate)

    def _collate(self, ids: Int[Tensor, " b"]) -> Batch:
        """Return a batch on the host."""
        rows = [self._read(position) for position in ids.tolist()]
        shapes = [tuple(row.shape) for row in rows]
        if len(set(shapes)) > 1:
            odd = next(i for i, shape in enumerate(shapes) if shape != shapes[0])
            raise InputError(
                f"image of row {int(ids[odd]) + 1}",
                f"pixel values of shape {list(shapes[0])}, as of the other images",
                f"{list(shapes[odd])}",
                "Set do_resize = true and a fixed size in preprocessor_config.json.",
            )
        return {"pixel_values": torch.stack(rows), "labels": self.labels[ids]}

    def take_targets(self, ids: Int[Tensor, " b"]) -> Batch:
        return {"labels": send(self.labels[ids], self.device)}

    def _read(self, position: int) -> Tensor:
        if position in self._cached:
            return self._cached[position]
        try:
            row = self.processor(self.images[position])
        except ImageError as error:
            raise InputError(
                f"image of row {position + 1}",
                "an intact image file",
                str(error),
                "Correct or remove this row.",
            ) from None
        if (len(self._cached) + 1) * row.nbytes <= self.budget_bytes:
            self._cached[position] = row
        return row
