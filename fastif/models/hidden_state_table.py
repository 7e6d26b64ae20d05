"""Table of hidden states in a few large tensors, from which a batch is gathered on their device."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fastif.data.examples import Batch
from fastif.models.padding import remove_padding
from fastif.numerics.transfer import send

BLOCK_BYTES = 2**26
"""Memory of a block; smaller parts are joined, for which the memory is taken twice."""


class HiddenStateTable:
    """Hidden states of examples, token after token without padding, in blocks on one device.

    Those of images are feature maps, each of which takes the place of a token.

    Args:
        count: Number of examples, cached or not.
    """

    def __init__(self, count: int) -> None:
        self.byte_count = 0
        self._blocks: list[Tensor] = []
        self._parts: list[Tensor] = []
        self._parts_bytes, self._parts_rows = 0, 0
        self._block = torch.full((count,), -1)
        self._start = torch.zeros(count, dtype=torch.long)
        self._length = torch.zeros(count, dtype=torch.long)
        self._has_tokens = False

    def add(self, places: Int[Tensor, " b"], batch: Batch) -> None:
        """Add the hidden states of a batch, without its padding."""
        rows = remove_padding(batch)
        self._has_tokens = "attention_mask" in batch
        lengths = torch.tensor([len(row) if self._has_tokens else 1 for row in rows])
        part = torch.cat(rows) if self._has_tokens else torch.stack(rows)
        self._block[places], self._length[places] = len(self._blocks), lengths
        self._start[places] = self._parts_rows + lengths.cumsum(0) - lengths
        self._parts.append(part)
        self._parts_rows += len(part)
        self._parts_bytes += part.nbytes
        self.byte_count += part.nbytes
        if self._parts_bytes >= BLOCK_BYTES:
            self.finish()

    def finish(self) -> None:
        """Join the last parts to one block."""
        if self._parts:
            self._blocks.append(torch.cat(self._parts))
        self._parts, self._parts_bytes, self._parts_rows = [], 0, 0

    def contains(self, places: Int[Tensor, " b"]) -> Bool[Tensor, " b"]:
        """Mask of the examples whose hidden states are here."""
        return self._block[places] >= 0

    def read_row(self, place: int) -> Float[Tensor, "*x"]:
        """Return the hidden states of one example."""
        start = int(self._start[place])
        rows = self._blocks[int(self._block[place])][start : start + int(self._length[place])]
        return rows if self._has_tokens else rows[0]

    def gather(self, places: Int[Tensor, " b"], batch: Batch) -> Float[Tensor, "b *x"]:
        """Return the hidden states at the tokens of a batch, zero at padding.

        The host does not wait for the device: the positions come from the mask there.

        Args:
            places: Positions of the batch's examples, all of which are here.
            batch: Batch with the mask of its tokens, if it has any.
        """
        mask = batch.get("attention_mask")
        starts = send(self._start[places], self._blocks[0].device)
        positions = starts
        if mask is not None:
            positions = (starts[:, None] + (mask != 0).cumsum(1) - 1).clamp_min_(0)
        hidden = self._gather_blocks(self._block[places], positions)
        return hidden if mask is None else hidden.masked_fill_(mask[..., None] == 0, 0)

    def _gather_blocks(
        self, numbers: Int[Tensor, " b"], positions: Int[Tensor, "b *t"]
    ) -> Float[Tensor, "b *x"]:
        """Gather rows of the blocks with these numbers, which are on the host."""
        used = numbers.unique().tolist()
        if len(used) == 1:
            return self._blocks[used[0]][positions]
        hidden = self._blocks[0].new_empty(*positions.shape, *self._blocks[0].shape[1:])
        for number in used:
            rows = send((numbers == number).nonzero()[:, 0], hidden.device)
            hidden[rows] = self._blocks[number][positions[rows]]
        return hidden
