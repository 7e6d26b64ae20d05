"""Generalized Gauss-Newton matrix (GGN) of the training loss, as a matrix-free operator."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from jaxtyping import Int
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
    """Generalized Gauss-Newton matrix (GGN) of the mean training loss, exact and matrix-free.

        G = 1/n Σ_i J_iᵀ H_i J_i = VᵀV / n,    H_i = S_i S_iᵀ

    J_i [c p] is the Jacobian of the c outputs of example i in the p parameters, and H_i [c c] the
    Hessian of its loss in the outputs. S_i [c k] is a square root of H_i. The GGN factor V [n·k p]
    holds the factor rows v = J_iᵀ S_i[:, j], k of them for each example (k = labels - 1 for softmax
    cross-entropy).

    For softmax cross-entropy G equals the Fisher information matrix, with the expectation over all
    labels and not over sampled ones (Martens, 2020). It is positive semi-definite. Factor rows are
    per-example gradients, so a product G x needs no double backward and no forward-mode
    differentiation: one pass over the examples serves q vectors, with two matrix products for each
    tile of factor rows.

    An example with NaN or infinity in its factor rows counts as zero, because it would otherwise
    make every product NaN; `nonfinite_ids` lists them.

    Args:
        objective: Trained model with its loss; its attributed parameters are the p columns of G.
        examples: Training set. Its `batch_size` is the number of examples with gradients in memory
            at once.
        ids: Positions of the n examples in the mean, which may repeat; all examples by default.

    Attributes:
        batch_size: Number of examples in one batch, that of `examples`.
        gradients: Source of the per-example gradients that make up V.

    Raises:
        InputError: If a trial on a few rows refuses the model or the examples.

    Examples:
        >>> from fastif import ModuleObjective, SquaredError, TensorExamples
        >>> points = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> examples = TensorExamples(points, torch.zeros(2, 1))
        >>> curvature = GaussNewton(ModuleObjective(model, SquaredError()), examples)
        >>> curvature.to_dense().round(decimals=4)  # 2/n Σ x xᵀ
        tensor([[1., 0.],
                [0., 4.]])
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
        # Batches of similar length need little padding, and a mean does not depend on the order.
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
        blocks = self.objective.loss.sqrt_hessian_blocks(outputs, batch["labels"])
        return blocks.shape[1] * blocks.shape[3]

    @property
    def nonfinite_ids(self) -> Int[Tensor, " d"]:
        return torch.tensor(sorted(self._nonfinite_ids), dtype=torch.long)

    def factor_rows(self, batch_index: int) -> Iterator[GradientTile]:
        ids = self._batch_ids(batch_index)
        tiles = self.gradients.compute_sqrt_hessian_tiles(self.examples.take(ids))
        for column, tile in enumerate(tiles):
            if (batch_index, column) not in self._checked_tiles:
                nonfinite = tile.zero_nonfinite().cpu()
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
        object.__setattr__(operator, "gradients", self.gradients)  # keeps their route and checks
        return operator


def zero_curvature_error(setting: str) -> InputError:
    """Return the error for a curvature matrix of zeros, in which no direction has any curvature."""
    return InputError(
        setting,
        "a model with some loss left on its training rows",
        "a curvature of zero",
        "Inspect the losses of the training rows. Take a checkpoint from earlier in training, or "
        "a model trained with more weight decay.",
    )
