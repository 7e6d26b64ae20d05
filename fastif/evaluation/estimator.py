"""Estimator of removal effects: models in the mean, their dampings, and a normalisation."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

INFLUENCE, COSINE, UNROLLED = "influence", "gradient cosine", "through the training"


UNROLLED_COMPLEXITY = 1_000
"""Rank of effects through the training: after means of any number of models."""


@dataclass(frozen=True)
class Estimator:
    """Estimator of the effects of training rows, by which a ranking is made.

        effect[z, i] = mean over models j of 1/n ∇L_j(z)ᵀ (G_j + λ_j I)⁻¹ ∇L_j(i)
        ranking score[z, i] = effect[z, i] (median norm / norm[i])^α,  norm[i]² = Σ_z effect[z, i]²

    α = 0 ranks by the removal effect itself. With α > 0 a row with a long gradient, such as one
    with a wrong label, moves down, as in RelatIF (Barshan et al., 2020). The gradient cosine
    ∇L(z)ᵀ ∇L(i) / (‖∇L(z)‖ ‖∇L(i)‖) of one model (Hanawa et al., 2021) uses no curvature; it is a
    ranking score in addition to the effects of that model. An effect through the training is the
    derivative of the whole recorded training (Hara et al., 2019) that ended in the model.

    Attributes:
        models: Positions of the models in the mean, checkpoints of one training among them.
        dampings: Damping of each model in the mean, the argument of `with_damping`.
        power: Power α of the norm of a row's effects; without meaning for gradient cosines.
        kind: "influence", "gradient cosine" or "through the training".
    """

    models: tuple[int, ...]
    dampings: tuple[float, ...]
    power: float = 0.0
    kind: str = INFLUENCE

    @property
    def is_normalized(self) -> bool:
        """Whether the ranking divides the effects of each row by a power of their norm."""
        return self.power != 0 and self.kind != COSINE

    def rate_complexity(self, base: tuple[int, ...]) -> tuple[int, int]:
        """Return the sort key by which one of two equally good estimators is the simpler one.

        Args:
            base: Positions of the models whose mean effects are the simplest estimator.
        """
        if self.kind == UNROLLED:  # takes several trainings for some tens of queries
            return UNROLLED_COMPLEXITY, int(self.power != 0)
        is_base = self.models == base and self.kind == INFLUENCE
        return 0 if is_base else len(self.models), int(self.power != 0)


def normalize_effects(
    effects: Float[Tensor, "q n"], norms: Float[Tensor, " n"], power: float
) -> Float[Tensor, "q n"]:
    """Divide the effects of each row by its norm, relative to the median norm, to a power.

    Examples:
        >>> normalize_effects(torch.tensor([[3.0, 2.0]]), torch.tensor([9.0, 1.0]), 0.5)
        tensor([[1., 2.]])
    """
    return effects * row_scale(norms, power)


def row_scale(norms: Float[Tensor, " n"], power: float) -> Float[Tensor, " n"]:
    """Return the factor (norm / median norm)^-α of each row; 1 where the norm is 0 or not finite.

    The median makes scores comparable in size with effects, and is that of the usable norms.

    Examples:
        >>> row_scale(torch.tensor([1.0, 4.0, 16.0, 0.0]), 0.5)
        tensor([2.0000, 1.0000, 0.5000, 1.0000])
    """
    usable = torch.isfinite(norms) & (norms > 0)
    if not bool(usable.any()):
        return torch.ones_like(norms)
    median = norms[usable].median()
    return torch.where(usable, norms / median, 1.0) ** -power
