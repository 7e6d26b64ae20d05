"""The Gauss-Newton matrix of the training loss."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from fastif.curvature.operator import InRoots, Rooted
from fastif.data.arrays import Ids, as_ids, check_batch_size
from fastif.data.examples import Examples, every
from fastif.data.torch_forms import Given
from fastif.errors import InputError
from fastif.gradients.per_example import Gradients, Tile
from fastif.losses.sqrt_hessian import in_root
from fastif.models.batch_invariance import try_crowd
from fastif.models.objective import Objective
from fastif.models.trial import try_table


@dataclass(frozen=True, eq=False)
class GaussNewton(Rooted):
    """G = 1/m Σ_i J_iᵀ (S_i S_iᵀ) J_i, J = d outputs / d params, S Sᵀ = d² loss / d outputs².

    For softmax cross-entropy this is the Fisher matrix; it is exact (all classes, no sampling of
    labels) and positive semi-definite. The rows of SᵀJ are per-example gradients like any other, so
    a product takes each example's rows once for all q vectors: no double backward, no
    forward mode, two matrix products a tile.

    An example whose rows are not finite counts as zero, or one row would spoil the whole matrix.

    Args:
        objective: the trained model.
        examples: the training set.
        ids: the m examples the mean is taken over; all by default.
        batch_size: examples whose gradients are held at once.

    Raises:
        InputError: model or examples are refused by a trial on a few rows.
    """

    objective: Objective
    examples: Given
    ids: Ids | None = None
    batch_size: int = 32
    gradients: Gradients = field(init=False)
    _looked_at: set[tuple[int, int]] = field(init=False, default_factory=set)
    _broken: set[int] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        check_batch_size(self.batch_size)
        try_table(self.objective, self.examples, "training set")
        ids = every(self.examples) if self.ids is None else as_ids(self.ids, len(self.examples))
        # Like lengths together: the mean does not mind, and padding stays small.
        order = torch.argsort(self.examples.lengths[ids], descending=True, stable=True)
        object.__setattr__(self, "ids", ids[order])
        object.__setattr__(self, "gradients", Gradients(self.objective))

    @property
    def _ids(self) -> Int[Tensor, " m"]:
        assert self.ids is not None  # set in __post_init__
        return self.ids

    @property
    def size(self) -> int:
        return self.objective.space.size

    @property
    def ridge(self) -> float:
        return self.objective.penalty

    @property
    def count(self) -> int:
        return len(self._ids)

    @property
    def like(self) -> Tensor:
        return self.objective.like

    @property
    def columns(self) -> int:
        return self._columns

    @cached_property
    @torch.no_grad()
    def _columns(self) -> int:
        batch = self.examples.take(self._ids[:1])
        outputs = self.objective.outputs(self.objective.params, batch)
        return self.objective.loss.root(outputs, batch["labels"]).shape[-1]

    @property
    def broken(self) -> Int[Tensor, " d"]:
        return torch.tensor(sorted(self._broken), dtype=torch.long)

    def roots(self, piece: int) -> Iterator[Tile]:
        ids = self._piece(piece)
        tiles = self.gradients.of_roots(self.examples.take(ids))
        for column, tile in enumerate(tiles):
            if (piece, column) not in self._looked_at:
                broken = leave_out_broken(tile)
                self._broken.update(ids[broken].tolist())
                if not bool(broken.any()):
                    self._looked_at.add((piece, column))
            yield tile

    @torch.no_grad()
    def in_roots(self, train: Examples) -> InRoots | None:
        if train is not self.examples or self.whole() is not self:
            return None
        owners, columns, weights, objective = [], [], [], self.objective
        for piece in range(self.pieces):
            ids = self._piece(piece)
            batch = self.examples.take(ids)
            outputs = objective.outputs(objective.params, batch)
            try_crowd(objective, batch, outputs)
            found = in_root(objective.loss, outputs, batch["labels"])
            if bool((torch.isfinite(outputs).all(1) & ~torch.isfinite(found).all(1)).any()):
                return None
            owners.append(ids.repeat(found.shape[1]))  # a tile for each column
            columns.append(torch.arange(found.shape[1]).repeat_interleave(len(ids)))
            weights.append(found.T.flatten().cpu())
        return InRoots(torch.cat(owners), torch.cat(columns), torch.cat(weights))

    def _piece(self, piece: int) -> Int[Tensor, " b"]:
        start = piece * self.batch_size
        return self._ids[start : start + self.batch_size]

    def sample(self, generator: torch.Generator, size: int) -> "GaussNewton":
        return self._of(self._ids[torch.randint(self.count, (size,), generator=generator)])

    def whole(self) -> "GaussNewton":
        everyone = every(self.examples)
        return self if torch.equal(self._ids.sort().values, everyone) else self._of(everyone)

    def _of(self, ids: Int[Tensor, " m"]) -> "GaussNewton":
        other = replace(self, ids=ids)
        object.__setattr__(other, "gradients", self.gradients)  # they know how to be taken
        return other


def leave_out_broken(tile: Tile) -> Bool[Tensor, " b"]:
    """Set rows without a finite norm to zero; which these are."""
    broken = ~torch.isfinite(tile.rows.norm(dim=1))
    if bool(broken.any()):
        tile.rows[broken] = 0
    return broken.cpu()


def no_curvature(where: str) -> InputError:
    """What to raise for a matrix of zeros, which has no direction to tell from another."""
    return InputError(
        where,
        "a model that is not sure of all its training rows",
        "a curvature of zero",
        "Look at the losses of the training rows; take a model from earlier in its training, or "
        "one trained with more weight decay.",
    )
