"""Folding: a gradient in some thousand numbers that keep its inner products."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.candidates.layer_projection import Narrowing
from fastif.data.examples import Batch
from fastif.gradients.hooks import Pulled
from fastif.gradients.per_example import Gradients


@dataclass(frozen=True)
class Folding:
    """S: p numbers folded to `width`, each with a random sign; S of the whole is cheap to apply.

    A count sketch (Charikar, Chen and Farach-Colton, 2002) whose hash shifts blocks of `width`
    numbers as a whole, so that no number is looked up by itself. E⟨Sx, Sy⟩ = ⟨x, y⟩, with a
    variance of at most (‖x‖²‖y‖² + ⟨x, y⟩²) / width.

    >>> folding = Folding(size=10, width=4, seed=0)
    >>> folding(torch.eye(10)).abs().sum(1)  # each number lands in one place
    tensor([1., 1., 1., 1., 1., 1., 1., 1., 1., 1.])
    """

    size: int
    width: int
    seed: int

    def __call__(self, rows: Float[Tensor, "b p"]) -> Float[Tensor, "b w"]:
        folded, signs = rows.new_zeros(len(rows), self.width), self._signs_like(rows)
        for block, shift in enumerate(self._shifts):
            start = block * self.width
            stop = min(start + self.width, self.size)
            turn = min(stop, start + self.width - shift)  # from here on it begins anew at 0
            head, tail = slice(start, turn), slice(turn, stop)
            folded[:, shift : shift + turn - start].addcmul_(rows[:, head], signs[head])
            folded[:, : stop - turn].addcmul_(rows[:, tail], signs[tail])
        return folded

    def _signs_like(self, rows: Tensor) -> Float[Tensor, " p"]:
        """They stay on the device where they were last used: no batch waits for a copy of them."""
        if self._signs.device != rows.device:
            self.__dict__["_signs"] = self._signs.to(rows.device)
        return self._signs.to(rows)

    @cached_property
    def _signs(self) -> Float[Tensor, " p"]:
        generator = torch.Generator().manual_seed(self.seed)
        return 2.0 * torch.randint(0, 2, (self.size,), generator=generator) - 1.0

    @cached_property
    def _shifts(self) -> list[int]:
        generator = torch.Generator().manual_seed(self.seed + 1)
        blocks = -(-self.size // self.width)
        return torch.randint(0, self.width, (blocks,), generator=generator).tolist()


@dataclass(frozen=True, eq=False)
class Fold:
    """S: the gradients of a batch, narrowed layer by layer where layers can be heard, then folded.

    Attributes:
        narrowing: None for a model whose gradients have to be taken one by one.
        folding: of what is left.
    """

    narrowing: Narrowing | None
    folding: Folding

    def __call__(
        self, gradients: Gradients, batch: Batch, of: Pulled
    ) -> Iterator[Float[Tensor, "b w"]]:
        """Folded gradients, once for the losses or measures, or for each column of the root.

        Those of an example whose gradient is not finite are zero.
        """
        narrowing, like, count = self.narrowing, gradients.objective.like, len(batch["labels"])
        if narrowing is None:
            for tile in gradients.tiles(batch, of):
                yield _finite(self.folding(tile.rows))
            return
        made = gradients.taken(
            batch, of, lambda heard: narrowing(heard, count, like), narrowing.of_rows
        )
        for rows in made:
            yield _finite(self.folding(rows))


def _finite(rows: Tensor) -> Tensor:
    return rows.masked_fill_(~torch.isfinite(rows).all(1, keepdim=True), 0.0)
