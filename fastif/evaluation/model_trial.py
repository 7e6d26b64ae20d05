"""Trial of one model: its damping by retraining, and its effects on the control queries."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from fastif.curvature.ggn import GaussNewton
from fastif.data.examples import Examples
from fastif.evaluation.retraining_predictor import HalfSubset, RetrainingPredictor
from fastif.evaluation.row_effects import RowEffects, compute_row_effects
from fastif.evaluation.select_damping import DampingSelection, check_outcomes, select_damping
from fastif.gradients.per_example import compute_measure_gradients
from fastif.solvers.solver import EkfacSolver, Factor


@dataclass(frozen=True, eq=False)
class ModelTrial:
    """Selected damping of a model, and its effects on the control queries at this damping.

    Attributes:
        damping: Selection of the damping.
        effects: Effects and gradient cosines of all training rows; None if they are not needed.
    """

    damping: DampingSelection
    effects: RowEffects | None


def try_model(
    curvature: GaussNewton,
    queries: Examples,
    halves: Sequence[HalfSubset],
    outcomes: Float[Tensor, "m e"],
    *,
    approximate: EkfacSolver | None = None,
    factor: Factor | None = None,
    with_effects: bool = True,
) -> ModelTrial:
    """Select the damping of a model by retraining, and compute its row effects.

    Args:
        curvature: Gauss-Newton matrix at the model's weights, over the training set or a sample.
        queries: Control queries, e of them.
        halves: Positions of the training rows of each of the m retrained models.
        outcomes: Outcomes of the queries under these models, higher is better.
        approximate: Solver of an EK-FAC curvature; exact if None.
        factor: Factor of the dual solver, see `RetrainingPredictor.from_curvature`.
        with_effects: Whether to compute row effects, with one more pass over the training set.

    Raises:
        InputError: As `select_damping_by_retraining`.
    """
    check_outcomes(halves, queries, outcomes)
    query_gradients = compute_measure_gradients(curvature.gradients, queries)
    predictor = RetrainingPredictor.from_curvature(
        curvature, query_gradients, halves, approximate, factor
    )
    choice = select_damping(predictor, outcomes, curvature.ridge)
    if not with_effects:
        return ModelTrial(choice, None)
    s_test = predictor.solve(choice.effective_damping)
    effects = compute_row_effects(curvature.gradients, curvature.examples, s_test, query_gradients)
    return ModelTrial(choice, effects)
