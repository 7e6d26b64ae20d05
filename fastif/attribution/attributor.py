"""Attributor: from queries to scored training examples in one call."""

from dataclasses import KW_ONLY, InitVar, dataclass, field, replace
from functools import cached_property
from typing import TypeVar

from jaxtyping import Float, Int
from torch import Tensor

from fastif.attribution.leverage import (
    ON,
    Leverage,
    LeverageMode,
    NoLeverage,
    compute_leverage,
    make_weighted_gradients,
)
from fastif.attribution.member import Member
from fastif.attribution.solve_queries import (
    SolvedQueries,
    SolvedWithIhvp,
    score_queries,
    solve_queries,
)
from fastif.candidates.retrieval import ExhaustiveSearch, Search
from fastif.curvature.operator import DampedOperator, FactoredOperator
from fastif.data.examples import Examples
from fastif.data.torch_forms import ExamplesLike
from fastif.errors import InputError
from fastif.gradients.per_example import Gradients, compute_measure_gradients
from fastif.models.objective import Objective
from fastif.numerics.precision import SINGLE, Precision, check_precision
from fastif.solvers.definiteness import add_min_eigenvalue, require_positive_definite
from fastif.solvers.dual_scores import DualScorer
from fastif.solvers.solver import Factor, ScoreFn, Solution, Solve, Solver

AnySolved = TypeVar("AnySolved", bound=SolvedQueries)


@dataclass(frozen=True, eq=False)
class Attributor(Member):
    """Influence functions of a trained model: scores training examples by their effect on queries.

    For a query z and a training example i of n (Koh and Liang, 2017),

        s_test(z) = (H + λI)⁻¹ ∇L(z)        removal_effect[z, i] = 1/n s_test(z)ᵀ ∇L(i)

    with H the curvature of the mean training loss and λ the effective damping. The effect is the
    predicted change of the query's loss, in nats, if the example were removed: positive = helpful,
    negative = harmful. The search chooses the examples to score: all, or candidates as in FastIF
    (Guo et al., 2021). Everything that does not depend on the queries is computed once. A query
    with a gradient, solution or score that is not finite is quarantined: it has no scores, and its
    certificate holds the reason.

    Args:
        objective: Trained model with its loss and its attributed parameters.
        train: Training set of n examples; its `batch_size` bounds how many gradients are held.
        operator: Damped curvature H + λI, the result of `with_damping` on a curvature.
        solver: Method that inverts the operator, such as `Direct`, `Dual` or `ConjugateGradient`.
        search: Choice of the training examples to score; all of them by default.
        factor: Factorisation that the solver reuses; computed on first use by default.
        certify_rows: Training examples on which `full_residual` is estimated; None: all, 0: none.
        leverage: Whether to remove the training example's own curvature with it, see
            `fastif.attribution.leverage.Leverage`. "auto" does so where it is cheap, "on" at any
            cost; "off" gives first-order effects. The `row_leverage` of another attributor is
            reused.
        precision: Precision of the passes and products of scores: "single", "tf32" (on a GPU) or
            "bf16". Solves and checks take single precision, and the certificate's `rounding` is the
            rank correlation with scores in single precision.
        batch_size: Refused with an InputError; set it with `train.with_batch_size`.

    Examples:
        >>> import torch
        >>> from fastif import Direct, GaussNewton, ModuleObjective, SquaredError, TensorExamples
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> model.weight.data[:] = 1.0
        >>> train = TensorExamples([[1.0], [2.0]], [[0.0], [0.0]])
        >>> objective = ModuleObjective(model, SquaredError())
        >>> operator = GaussNewton(objective, train).with_damping(1.0)
        >>> attributor = Attributor(objective, train, operator, Direct(), leverage="off")
        >>> attributor(train, [0]).influences.removal_effect  # 1/2 · 2 · (2, 8) / (5 + 1)
        tensor([[0.3333, 1.3333]])
    """

    objective: Objective
    train: ExamplesLike
    operator: DampedOperator
    solver: Solver
    search: Search = field(default_factory=ExhaustiveSearch)
    factor: Factor | None = None
    _: KW_ONLY
    certify_rows: int | None = 512
    leverage: LeverageMode | Leverage | NoLeverage = "auto"
    precision: Precision = SINGLE
    batch_size: InitVar[object] = None

    def __post_init__(self, batch_size: object) -> None:
        check_precision(self.precision)
        if batch_size is not None:
            raise InputError(
                "Attributor: batch_size",
                "a batch size set on the examples",
                f"{batch_size}",
                f"Write train = train.with_batch_size({batch_size}), for the curvature too.",
            )

    def solve(self, queries: Examples, ids: Int[Tensor, " q"]) -> SolvedWithIhvp:
        """Compute s_test = (H + λI)⁻¹ ∇L(query) and its certificate, in two matrices of q x p.

        Raises:
            InputError: The damped curvature is not positive definite.
        """
        # Before the query gradients are held: both may need additional memory.
        least_eigenvalue, leverage = self._least_eigenvalue, self.row_leverage
        solved = solve_queries(
            self.gradients,
            self.train,
            self.operator,
            self._solve_fn,
            compute_measure_gradients(self.gradients, queries, ids),
            certify_rows=self.certify_rows,
            remedy=self.solver.remedy,
            weighted_gradients=self._weighted_gradients if isinstance(leverage, Leverage) else None,
            weights=leverage.weights if isinstance(leverage, Leverage) else None,
        )
        return self._complete_certificate(solved, least_eigenvalue)

    def solve_to_score(self, queries: Examples, ids: Int[Tensor, " q"]) -> SolvedQueries:
        """Solve the queries for scores only; a dual solver computes them without forming s_test."""
        operator, score = self.operator.operator, self._score_fn
        if score is None or not isinstance(operator, FactoredOperator):
            return self.solve(queries, ids)
        leverage = self.row_leverage
        if isinstance(leverage, Leverage):
            if not isinstance(score, DualScorer):
                return self.solve(queries, ids)
            score = replace(score, score_coefficients=leverage.apply_weights(score.coefficients))
        query_gradients = compute_measure_gradients(self.gradients, queries, ids)
        solved = score_queries(self.train, operator, score, query_gradients, self.solver.remedy)
        return self._complete_certificate(solved, self._least_eigenvalue)

    def _complete_certificate(self, solved: AnySolved, least_eigenvalue: float) -> AnySolved:
        row_leverage = self.row_leverage
        leverage = ON if isinstance(row_leverage, Leverage) else f"off: {row_leverage.reason}"
        certificate = replace(
            solved.certificate, least_eigenvalue=least_eigenvalue, leverage=leverage
        )
        return replace(solved, certificate=certificate)

    def apply_inverse(self, rhs: Float[Tensor, "q p"]) -> Solution:
        """Apply (H + λI)⁻¹ to q vectors of length p; an indefinite operator is refused."""
        assert self._least_eigenvalue is not None
        return self._solve_fn(rhs)

    @cached_property
    def gradients(self) -> Gradients:
        """Per-example gradients; those of the curvature, if of one objective, share a workspace."""
        shared = getattr(self.operator.operator, "gradients", None)
        if shared is None or shared.objective is not self.objective:
            return Gradients(self.objective)
        return shared

    @cached_property
    def _weighted_gradients(self) -> Gradients:
        return make_weighted_gradients(self.gradients)

    @cached_property
    def _factor(self) -> Factor:
        factor = self.solver.factor(self.operator) if self.factor is None else self.factor
        return add_min_eigenvalue(self.operator, factor)

    @cached_property
    def row_leverage(self) -> Leverage | NoLeverage:
        """Leverage of every training example, or the reason why effects are first-order.

        Raises:
            InputError: The mode is "on" and the curvature permits no leverage.
        """
        if isinstance(self.leverage, Leverage | NoLeverage):
            return self.leverage
        score = None if self.leverage == "off" else self._score_fn
        return compute_leverage(
            self.operator,
            self.solver,
            self._factor,
            self.train,
            self.leverage,
            score.inverse if isinstance(score, DualScorer) else None,
        )

    @cached_property
    def _least_eigenvalue(self) -> float:
        return require_positive_definite(self.operator, self._factor)

    @cached_property
    def _solve_fn(self) -> Solve:
        return self.solver.prepare(self.operator, self._factor)

    @cached_property
    def _score_fn(self) -> ScoreFn | None:
        return self.solver.prepare_scores(self.operator, self.train, self._factor)
