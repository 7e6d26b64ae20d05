"""Exact effects for any λ in the example space, as an independent reference.

With R the factor rows, K = R Rᵀ and ∇L_i = R_iᵀ u_i (the gradient of cross-entropy in the outputs
lies in the range of its curvature), the effect of row i on query z is

    1/n ∇L(z)ᵀ (RᵀR/n + λI)⁻¹ ∇L_i = ∇L(z)ᵀ Rᵀ (K + λ n I)⁻¹ [u_i in its places].
"""

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

import fastif
from fastif.solvers import Factor
from fastif.solvers.gram import apply_factor


@dataclass(frozen=True, eq=False)
class ExampleSpace:
    """Eigendecomposition of K, with training rows and queries in its coordinates.

    Attributes:
        values: Eigenvalues of K, or the largest of them for a low rank.
        vectors: Eigenvectors of K, one a column.
        queries: R ∇L(z) of the queries.
        pulls: Coefficients u, one a factor row.
        owners: Training row of each factor row.
        roots: Square root S of the loss Hessian of each training row, S Sᵀ.
        logits: Logits of the training rows.
        labels: Labels of the training rows.
    """

    values: Float[Tensor, " r"]
    vectors: Float[Tensor, "m r"]
    queries: Float[Tensor, "q m"]
    pulls: Float[Tensor, " m"]
    owners: Int[Tensor, " m"]
    roots: Float[Tensor, "n c k"]
    logits: Float[Tensor, "n c"]
    labels: Int[Tensor, " n"]

    @property
    def rows(self) -> int:
        """Number n of training rows."""
        return len(self.labels)

    @cached_property
    def to_eigenbasis(self) -> Float[Tensor, "q r"]:
        """Queries in the eigenbasis."""
        return self.queries @ self.vectors

    def effect(self, damping: float) -> Float[Tensor, "q n"]:
        """Return the removal effects of all training rows for λ, [q n]."""
        weight = damping * self.rows
        coefficients = self.to_eigenbasis * (1 / (self.values + weight) - 1 / weight)
        solved = coefficients @ self.vectors.T + self.queries / weight
        effect = solved.new_zeros(len(solved), self.rows)
        return effect.index_add_(1, self.owners, solved * self.pulls).float()

    def by_example(self, rows: Float[Tensor, " m"]) -> Float[Tensor, "n k"]:
        """Return numbers of the factor rows as [training row, column]."""
        order = torch.argsort(self.owners, stable=True)
        return rows[order].view(self.rows, -1)


def example_space(
    matrix: fastif.GaussNewton, factor: Factor, queries: Float[Tensor, "q p"]
) -> ExampleSpace:
    """Return the space from the factor of the dual solver."""
    if "kernel" in factor:
        values, vectors = torch.linalg.eigh(factor["kernel"].double())
        values = values.clamp_min(0)
    else:
        root = factor["root"].double()
        values, inner = torch.linalg.eigh(root.T @ root)
        vectors = (root @ inner) / values.clamp_min(1e-12).sqrt()
    assert matrix.ids is not None
    roots, pulls, logits, labels = outputs_of(matrix.objective, matrix.examples, matrix.ids)
    back = matrix.ids.argsort()
    batches = zip(pulls.split(matrix.batch_size), matrix.ids.split(matrix.batch_size), strict=True)
    # factor rows are ordered by column within a batch
    ordered = [(part.T.flatten(), ids.repeat(part.shape[1])) for part, ids in batches]
    return ExampleSpace(
        values,
        vectors,
        apply_factor(matrix, queries),
        torch.cat([part for part, _ in ordered]),
        torch.cat([ids for _, ids in ordered]),
        *(part[back] for part in (roots, logits, labels)),
    )


def outputs_of(
    objective: fastif.Objective, examples: fastif.Examples, ids: Int[Tensor, " n"]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return S, u, logits and labels of the examples, in the order of `ids`."""
    logits = fastif.predict(objective, examples, ids=ids)[0].double()
    labels = torch.cat([examples.take(part)["labels"] for part in ids.split(64)])
    roots = objective.loss.sqrt_hessian(logits, labels)
    error = logits.softmax(1) - F.one_hot(labels, logits.shape[1])
    pulls = torch.linalg.lstsq(roots, error[..., None]).solution[..., 0]
    return roots, pulls, logits, labels
