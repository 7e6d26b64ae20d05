"""Newton steps on the objective with the first k of some training examples edited, for every k."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.attribution.attributor import Attributor
from fastif.attribution.flip_checks import find_labels
from fastif.data.examples import Examples
from fastif.data.relabeled_examples import RelabeledExamples
from fastif.gradients.per_example import Gradients, compute_loss_gradients
from fastif.numerics.blocked_dot import pairwise_dots

MIN_GAP = 1e-6
"""Value of 1 - leverage below which the edited examples alone determine a direction."""


@dataclass(frozen=True, eq=False)
class EditStep:
    """Predicted change of the parameters if some examples are edited together.

    Attributes:
        step: Change of the parameters; NaN where the edited examples alone determine a direction.
        leverage: Largest eigenvalue of V_S A⁻¹ V_Sᵀ / n, V_S the factor rows that are removed, from
            0 to below 1; 0 where the curvature does not change.
    """

    step: Float[Tensor, " p"]
    leverage: float


class EditedPrefix:
    """Newton steps (Koh et al., 2019, Basu et al., 2020) on an objective with k edited examples.

        Δθ = (A + Wᵀ D W / n)⁻¹ 1/n Σ_{i∈S} d_i,   A = H + λI

    For removal d_i = ∇L(x_i, y_i), and W are the factor rows of S with D = -I. For relabelling d_i
    = ∇L(x_i, y_i) - ∇L(x_i, y'_i); the factor rows of the old labels have the sign -1 and those of
    the new ones +1. The curvature of the softmax cross-entropy does not depend on the label, so
    these cancel, and A alone is left. n, the L2 penalty and λ stay. With the Woodbury identity each
    example is solved once for all prefixes that contain it.

    Args:
        attributor: Attributor of one model.
        has_curvature: Whether the curvature of the edited examples changes; without it W is empty.
    """

    def __init__(self, attributor: Attributor, has_curvature: bool) -> None:
        self.attributor, self.has_curvature = attributor, has_curvature
        self.residual = 0.0
        self.ids = torch.zeros(0, dtype=torch.long)
        self.labels: Int[Tensor, " m"] | None = None
        empty = attributor.objective.like.new_zeros(0, attributor.objective.space.size)
        self._pulls, self._rows = empty, empty
        self._gram, self._cross = torch.zeros(0, 0).double(), torch.zeros(0, 0).double()
        self._owners = torch.zeros(0, dtype=torch.long)
        self._signs = torch.zeros(0, dtype=torch.float64)

    def __len__(self) -> int:
        return len(self.ids)

    def extend(self, ids: Int[Tensor, " b"], labels: Int[Tensor, " b"] | None) -> None:
        """Append examples, to be removed, or relabelled if there are new labels."""
        attributor = self.attributor
        gradients, relabeled = attributor.gradients, self._relabel(ids, labels)
        pulls = compute_loss_gradients(gradients, attributor.train, ids).clone()
        if relabeled is not None:
            pulls -= compute_loss_gradients(gradients, relabeled, ids)
        rows, owners, signs = self._list_factor_rows(ids, relabeled)
        solution = attributor.apply_inverse(torch.cat([pulls, rows]))
        self.residual = max(self.residual, float(solution.residual.max()))
        solved_pulls, solved_rows = solution.value[: len(ids)], solution.value[len(ids) :]
        self._extend_products(pulls, rows, solved_pulls, solved_rows)
        self._owners = torch.cat([self._owners, owners + len(self)])
        self._signs = torch.cat([self._signs, signs])
        self.ids = torch.cat([self.ids, ids])
        if labels is not None:
            self.labels = labels if self.labels is None else torch.cat([self.labels, labels])
        self._pulls = torch.cat([self._pulls, solved_pulls])
        self._rows = torch.cat([self._rows, solved_rows])

    def compute_step(self, size: int) -> EditStep:
        """Return the step with the first `size` examples edited."""
        used, pulls = self._owners < size, self._pulls[:size].sum(0, dtype=torch.float64)
        step = self._correct(used, pulls, self._cross[used][:, :size].sum(1))
        is_removed = used & (self._signs < 0)
        gram = self._gram[is_removed][:, is_removed] / len(self.attributor.train)
        leverage = float(torch.linalg.eigvalsh(gram)[-1]) if len(gram) else 0.0
        is_solvable = leverage < 1 - MIN_GAP
        return EditStep(step if is_solvable else torch.full_like(step, torch.nan), leverage)

    def apply_inverse(
        self, sizes: Sequence[int], rhs: Float[Tensor, "q p"]
    ) -> Float[Tensor, "q p"]:
        """Return 1/n (A + Wᵀ D W / n)⁻¹ b for each b, each with its number of edits."""
        solution = self.attributor.apply_inverse(rhs)
        self.residual = max(self.residual, float(solution.residual.max()))
        products = pairwise_dots(self._rows, rhs).double().cpu()
        rows = [
            self._correct(self._owners < size, value.double(), column[self._owners < size])
            for size, value, column in zip(sizes, solution.value, products.T, strict=True)
        ]
        return torch.stack(rows)

    def _correct(
        self, used: Tensor, solved: Float[Tensor, " p"], products: Float[Tensor, " r"]
    ) -> Float[Tensor, " p"]:
        """Return 1/n (A + Wᵀ D W / n)⁻¹ b from A⁻¹ b and the products W A⁻¹ b."""
        count = len(self.attributor.train)
        if not bool(used.any()):
            return solved / count
        signs, rows = self._signs[used], self._rows[used.to(self._rows.device)]
        matrix = signs.diag() + self._gram[used][:, used] / count
        weights = torch.linalg.solve_ex(matrix, products).result
        return (solved - (weights.to(rows) @ rows).double() / count) / count

    def _relabel(self, ids: Tensor, labels: Tensor | None) -> Examples | None:
        """Return the training set with new labels of some examples; None without new labels."""
        if labels is None:
            return None
        edited = find_labels(self.attributor.train).clone()
        edited[ids.to(edited.device)] = labels.to(edited)
        return RelabeledExamples(self.attributor.train, edited)

    def _list_factor_rows(
        self, ids: Int[Tensor, " b"], relabeled: Examples | None
    ) -> tuple[Float[Tensor, "r p"], Int[Tensor, " r"], Float[Tensor, " r"]]:
        """Return factor rows, the position of the example that each is of, and their signs."""
        gradients, count = self.attributor.gradients, len(ids)
        none = self.attributor.objective.like.new_zeros(0, gradients.objective.space.size)
        empty = none, torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.float64)
        if not self.has_curvature:
            return empty
        before = _compute_factor_rows(gradients, self.attributor.train, ids)
        owners = torch.arange(count).repeat(len(before) // count)
        if relabeled is None:
            return before, owners, -torch.ones(len(before), dtype=torch.float64)
        after = _compute_factor_rows(gradients, relabeled, ids)
        if torch.equal(before, after):
            return empty
        signs = torch.cat([-torch.ones(len(before)), torch.ones(len(after))]).double()
        return torch.cat([before, after]), owners.repeat(2), signs

    def _extend_products(
        self, pulls: Tensor, rows: Tensor, solved_pulls: Tensor, solved_rows: Tensor
    ) -> None:
        """Extend V A⁻¹ Vᵀ and V A⁻¹ d by new examples; of the old ones A⁻¹ V and A⁻¹ d are kept."""

        def multiply(left: Tensor, right: Tensor) -> Tensor:
            return pairwise_dots(left, right).double().cpu()

        corner, own = multiply(rows, self._rows), multiply(rows, solved_rows)
        upper = torch.cat([self._gram, corner.T], 1)
        self._gram = torch.cat([upper, torch.cat([corner, (own + own.T) / 2], 1)])
        upper = torch.cat([self._cross, multiply(self._rows, pulls)], 1)
        lower = [multiply(rows, self._pulls), multiply(rows, solved_pulls)]
        self._cross = torch.cat([upper, torch.cat(lower, 1)])


def _compute_factor_rows(
    gradients: Gradients, examples: Examples, ids: Int[Tensor, " b"]
) -> Float[Tensor, "r p"]:
    """Return the factor rows of the examples: first columns in the order of `ids`, and so on."""
    collected: list[Tensor] = []
    for places, batch in examples.batches(ids):
        for column, tile in enumerate(gradients.compute_sqrt_hessian_tiles(batch)):
            rows = tile.gradients
            if len(collected) <= column:
                collected.append(rows.new_zeros(len(ids), rows.shape[1]))
            collected[column][places] = rows
    return torch.cat(collected)
