"""Effects of all training rows on a few control queries, for the choice of an estimator."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fastif.data.examples import Examples, all_ids
from fastif.evaluation.estimator import EKFAC, UNROLLED, Estimator
from fastif.gradients.per_example import Gradients
from fastif.numerics.blocked_dot import row_norms

MAX_CONTROL_QUERIES = 64
"""Maximum number of control queries, since their gradients and row effects are held in memory."""


@dataclass(frozen=True, eq=False)
class RowEffects:
    """Effects and gradient cosines of one model on e control queries.

    Memory: 2 x e x n numbers, with e bounded by the caller.

    Attributes:
        effects: Removal effects, in nats; 0 for a row without a finite gradient, not finite for a
            query without.
        cosines: Cosines of the gradients of query and row; 0 for such a row.
        unrolled: Removal effects through the model's training, in nats; None if not computed.
        ekfac: Removal effects by EK-FAC, in nats; None if not computed.
    """

    effects: Float[Tensor, "e n"]
    cosines: Float[Tensor, "e n"]
    unrolled: Float[Tensor, "e n"] | None = None
    ekfac: Float[Tensor, "e n"] | None = None


def compute_row_effects(
    gradients: Gradients,
    train: Examples,
    s_test: Float[Tensor, "e p"],
    query_gradients: Float[Tensor, "e p"],
) -> RowEffects:
    """Compute removal effects and gradient cosines of all training rows, in one pass.

    Args:
        gradients: Per-example gradients of the model.
        train: Training set of n rows.
        s_test: Inverse-Hessian-vector products of the queries.
        query_gradients: Gradients of the query measure.
    """
    count, vectors = len(s_test), torch.cat([s_test, query_gradients])
    products = s_test.new_zeros(2 * count, len(train))
    lengths = s_test.new_zeros(len(train))
    for ids in train.length_buckets(all_ids(train)):
        tile = gradients.compute_loss_tile(train.take(ids))
        products[:, ids], lengths[ids] = tile.dot(vectors), tile.norms()
    products[:, ~torch.isfinite(lengths)] = 0  # a query that is not finite spoils its own row alone
    tiny = torch.finfo(products.dtype).tiny
    cosines = products[count:] / row_norms(query_gradients)[:, None].clamp_min(tiny)
    cosines /= torch.where(torch.isfinite(lengths), lengths, torch.inf).clamp_min(tiny)
    return RowEffects(products[:count] / len(train), cosines)


def mean_row_effects(
    models: Sequence[RowEffects], positions: Sequence[int]
) -> Float[Tensor, "e n"]:
    """Return the mean effects of the models at some positions."""
    return torch.stack([models[position].effects for position in positions]).mean(0)


def combine_row_effects(estimator: Estimator, models: Sequence[RowEffects]) -> Float[Tensor, "e n"]:
    """Return the removal effects of an estimator on the control queries, in nats.

    Raises:
        ValueError: They are through the training or by EK-FAC, and were not computed.
    """
    if estimator.kind not in (UNROLLED, EKFAC):
        return mean_row_effects(models, estimator.models)
    first = models[estimator.models[0]]
    effects = first.unrolled if estimator.kind == UNROLLED else first.ekfac
    if effects is None:
        raise ValueError(f"effects of the kind {estimator.kind!r} were not computed")
    return effects


def measure_norms(effects: Float[Tensor, "e n"]) -> Float[Tensor, " n"]:
    """Return the norm of each row's effects over the queries whose effects are finite.

    Examples:
        >>> measure_norms(torch.tensor([[3.0, 1.0], [torch.nan, torch.nan], [4.0, 0.0]]))
        tensor([5., 1.])
    """
    return effects[torch.isfinite(effects).all(1)].norm(dim=0)
