"""The Gauss-Newton matrix of the training loss."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from fastif.curvature.operator import FactorCoefficients, FactoredOperator
from fastif.data.arrays import Ids, as_ids, check_batch_size
from fastif.data.examples import Examples, all_ids
from fastif.data.torch_forms import ExamplesLike
from fastif.errors import InputError
from fastif.gradients.gradient_tile import GradientTile
from fastif.gradients.per_example import Gradients
from fastif.losses.sqrt_hessian import gradient_in_sqrt_hessian
from fastif.models.batch_invariance import spot_check_batch
from fastif.models.objective import Objective
from fastif.models.trial import try_table


@dataclass(frozen=True, eq=False)
class GaussNewton(FactoredOperator):
    """G = 1/m Σ_i J_iᵀ (S_i S_iᵀ) J_i, J = d outputs / d params, S Sᵀ = d² loss / d outputs².

    For softmax cross-entropy this is the Fisher matrix; it is exact (all classes, no sampling of
    labels) and positive semi-definite. The rows of SᵀJ are per-example gradients like any other, so
    a product takes each example's rows once for all q vectors: no double backward, no
    forward mode, two matrix products a tile.

    An example whose rows are not finite counts as zero, or one row would spoil the whole matrix.

    Args:
        objective: the trained model.
        examples: the training set, whose `batch_size` says how many gradients are held at once.
        ids: the m examples the mean is taken over; all by default.

    Raises:
        InputError: model or examples are refused by a trial on a few rows.
    """

    objective: Objective
    examples: ExamplesLike
    ids: Ids | None = None
    batch_size: int = field(init=False)
    gradients: Gradients = field(init=False)
    _checked_tiles: set[tuple[int, int]] = field(init=False, default_factory=set)
    _nonfinite_ids: set[int] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        try_table(self.objective, self.examples, "training set")
        check_batch_size(self.examples.batch_size)
        object.__setattr__(self, "batch_size", self.examples.batch_size)
        ids = all_ids(self.examples) if self.ids is None else as_ids(self.ids, len(self.examples))
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
    def rows_per_example(self) -> int:
        return self._rows_per_example

    @cached_property
    @torch.no_grad()
    def _rows_per_example(self) -> int:
        batch = self.examples.take(self._ids[:1])
        outputs = self.objective.outputs(self.objective.params, batch)
        return self.objective.loss.sqrt_hessian(outputs, batch["labels"]).shape[-1]

    @property
    def nonfinite_ids(self) -> Int[Tensor, " d"]:
        return torch.tensor(sorted(self._nonfinite_ids), dtype=torch.long)

    def factor_rows(self, batch_index: int) -> Iterator[GradientTile]:
        ids = self._batch_ids(batch_index)
        tiles = self.gradients.compute_sqrt_hessian_tiles(self.examples.take(ids))
        for column, tile in enumerate(tiles):
            if (batch_index, column) not in self._checked_tiles:
                nonfinite = zero_nonfinite_rows(tile)
                self._nonfinite_ids.update(ids[nonfinite].tolist())
                if not bool(nonfinite.any()):
                    self._checked_tiles.add((batch_index, column))
            yield tile

    @torch.no_grad()
    def compute_factor_coefficients(self, train: Examples) -> FactorCoefficients | None:
        if not train.is_same_table(self.examples) or self.on_all_data() is not self:
            return None
        owners, columns, weights, objective = [], [], [], self.objective
        for batch_index in range(self.num_batches):
            ids = self._batch_ids(batch_index)
            batch = self.examples.take(ids)
            outputs = objective.outputs(objective.params, batch)
            spot_check_batch(objective, batch, outputs)
            coefficients = gradient_in_sqrt_hessian(objective.loss, outputs, batch["labels"])
            if bool((torch.isfinite(outputs).all(1) & ~torch.isfinite(coefficients).all(1)).any()):
                return None
            owners.append(ids.repeat(coefficients.shape[1]))  # a tile for each column
            columns.append(torch.arange(coefficients.shape[1]).repeat_interleave(len(ids)))
            weights.append(coefficients.T.flatten().cpu())
        return FactorCoefficients(torch.cat(owners), torch.cat(columns), torch.cat(weights))

    def _batch_ids(self, batch_index: int) -> Int[Tensor, " b"]:
        start = batch_index * self.batch_size
        return self._ids[start : start + self.batch_size]

    def sample(self, generator: torch.Generator, size: int) -> "GaussNewton":
        return self._with_ids(self._ids[torch.randint(self.count, (size,), generator=generator)])

    def on_all_data(self) -> "GaussNewton":
        full_ids = all_ids(self.examples)
        return self if torch.equal(self._ids.sort().values, full_ids) else self._with_ids(full_ids)

    def _with_ids(self, ids: Int[Tensor, " m"]) -> "GaussNewton":
        operator = replace(self, ids=ids)
        object.__setattr__(operator, "gradients", self.gradients)  # they know how to be taken
        return operator


def zero_nonfinite_rows(tile: GradientTile) -> Bool[Tensor, " b"]:
    """Set rows without a finite norm to zero; which these are."""
    nonfinite = ~torch.isfinite(tile.gradients.norm(dim=1))
    if bool(nonfinite.any()):
        tile.gradients[nonfinite] = 0
    return nonfinite.cpu()


def zero_curvature_error(setting: str) -> InputError:
    """What to raise for a matrix of zeros, which has no direction to tell from another."""
    return InputError(
        setting,
        "a model that is not sure of all its training rows",
        "a curvature of zero",
        "Look at the losses of the training rows; take a model from earlier in its training, or "
        "one trained with more weight decay.",
    )
