"""Effects of removing, and of relabelling, each training example on the margins of one query."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fastif.attribution.attributor import Attributor
from fastif.attribution.influence import NO_EXAMPLE, influence
from fastif.data.examples import Examples
from fastif.data.relabeled_examples import RelabeledExamples
from fastif.errors import InputError
from fastif.gradients.per_example import Gradients, compute_measure_gradients
from fastif.losses.pairwise_margin import PairwiseMargin


@dataclass(frozen=True, eq=False)
class EditEffects:
    """First-order effects of one edit of each training example on a query's margins, in logits.

    Positive: with the edit the predicted class would lose margin against the rival.

    Attributes:
        values: Effects [r n] on the margin against each of r rivals; minus infinity where the
            gradient of an example is not finite.
        labels: New labels [r n] of the examples; None for removal.
        residual: Largest relative residual of the solves.
        left_out: Positions of the examples without a finite gradient.
    """

    values: Float[Tensor, "r n"]
    labels: Int[Tensor, "r n"] | None
    residual: float
    left_out: Int[Tensor, " d"]


def compute_edit_effects(
    attributor: Attributor,
    queries: Examples,
    query: int,
    rivals: Sequence[int],
    labels: Int[Tensor, " n"],
    relabel: bool,
) -> EditEffects:
    """First-order influence (Koh and Liang, 2017) of one edit of each training example.

    With s_r = A⁻¹ ∇(z_r - z_t) of the query, t its predicted class, removal of example i changes
    z_r - z_t by

        e_i = 1/n s_rᵀ ∇L(x_i, y_i)

    and relabelling it from y_i to y' by the removal effect of the present label minus that of the
    new one, since 1/n (L(x_i, y') - L(x_i, y_i)) is added to the objective:

        e_i(y') = 1/n s_rᵀ (∇L(x_i, y_i) - ∇L(x_i, y'))

    Of the other labels y' the one with the largest effect is taken.

    Args:
        attributor: Attributor of one model.
        queries: Table of the query, with its predicted class as label.
        query: Position of the query.
        rivals: Numbers of r competing classes: all other classes.
        labels: Labels of the training examples.
        relabel: Whether the edit is the relabelling of an example, not its removal.

    Raises:
        InputError: The gradient of the query is not finite, or could not be solved.
    """
    directions, residual = _solve_margins(attributor, queries, query, rivals)

    def scan(train: Examples) -> Float[Tensor, "r n"]:
        influences = influence(attributor.gradients, train, directions)
        effects = torch.full((len(rivals), len(train)), torch.nan, dtype=torch.float64)
        columns = influences.ids.cpu(), influences.removal_effect.cpu()
        for row, ids, values in zip(effects, *columns, strict=True):
            known = ids != NO_EXAMPLE
            row[ids[known]] = values[known].double()
        return effects

    removal = scan(attributor.train)
    if not relabel:
        finite = torch.isfinite(removal).all(0)
        return _leave_out(removal, None, residual, finite)
    best, new_labels = torch.full_like(removal, -torch.inf), torch.full(removal.shape, -1)
    for label in range(len(rivals) + 1):
        relabeled = RelabeledExamples(attributor.train, torch.full_like(labels, label))
        effects = removal - scan(relabeled)
        is_better = (effects > best) & (labels.cpu() != label)
        best = torch.where(is_better, effects, best)
        new_labels = torch.where(is_better, label, new_labels)
    return _leave_out(best, new_labels, residual, torch.isfinite(best).all(0))


def _leave_out(
    values: Float[Tensor, "r n"],
    labels: Int[Tensor, "r n"] | None,
    residual: float,
    finite: Bool[Tensor, " n"],
) -> EditEffects:
    left_out = (~finite).nonzero()[:, 0]
    return EditEffects(values.masked_fill(~finite, -torch.inf), labels, residual, left_out)


def _solve_margins(
    attributor: Attributor, queries: Examples, query: int, rivals: Sequence[int]
) -> tuple[Float[Tensor, "r p"], float]:
    """Return A⁻¹ ∇(z_r - z_t) for each rival r, and the largest relative residual."""
    rows = []
    for rival in rivals:
        objective = copy.copy(attributor.objective)
        objective.measure = PairwiseMargin(rival)
        rows.append(compute_measure_gradients(Gradients(objective), queries, [query]))
    solution = attributor.apply_inverse(torch.cat(rows))
    if not bool(torch.isfinite(solution.value).all()):
        raise InputError(
            "query",
            "a margin with a finite gradient, and a solution of its linear system",
            "NaN or infinity",
            attributor.solver.remedy or "Look at its text and at the outputs of the model for it.",
        )
    return solution.value, float(solution.residual.max())
