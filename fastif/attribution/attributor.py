"""From queries to scored training examples: the steps in one call."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, InitVar, dataclass, field, replace
from functools import cached_property
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.attribution.approximate_scorer import approximate_scorer
from fastif.attribution.attribution import (
    Attribution,
    concat_attributions,
    mask_quarantined,
    sketch_and_attribute,
)
from fastif.attribution.control_sample import (
    compute_precision_agreement,
)
from fastif.attribution.finalize_certificate import combine_members, finalize_certificate
from fastif.attribution.influence import (
    mean_influence,
)
from fastif.attribution.leverage import (
    ON,
    Leverage,
    LeverageMode,
    NoLeverage,
    compute_leverage,
    make_weighted_gradients,
)
from fastif.attribution.slice_totals import SliceTotals
from fastif.attribution.solve_queries import (
    SolvedQueries,
    SolvedWithIhvp,
    score_queries,
    solve_queries,
)
from fastif.candidates.retrieval import ExhaustiveSearch, Search
from fastif.curvature.operator import DampedOperator, FactoredOperator
from fastif.data.arrays import Ids, as_ids
from fastif.data.examples import Examples
from fastif.data.torch_forms import ExamplesLike, as_examples
from fastif.errors import InputError
from fastif.gradients.per_example import Gradients, compute_measure_gradients
from fastif.gradients.route import describe_routes
from fastif.models.objective import Objective
from fastif.models.trial import try_table
from fastif.numerics.out_of_memory import split_on_oom
from fastif.solvers.definiteness import add_min_eigenvalue, require_positive_definite
from fastif.solvers.dual_scores import DualScorer
from fastif.solvers.solver import Factor, ScoreFn, Solution, Solve, Solver

AnySolved = TypeVar("AnySolved", bound=SolvedQueries)


@dataclass(frozen=True, eq=False)
class Attributor:
    """A trained model, its training set, and how to solve and where to look.

    Everything that does not depend on the queries is factored once and kept. A query whose
    gradient, solve or scores are not finite is quarantined: it has no scores, its certificate says
    why, and the other queries are answered as if it were not there.

    Args:
        objective: the trained model.
        train: its training set. Its `batch_size`, and that of the queries, says how many examples'
            gradients, or representations for a search, are taken at once.
        operator: the damped curvature.
        solver: inverts it.
        search: where to look.
        factor: what the solver keeps of the operator; made on first use if left out.
        certify_rows: training examples that `full_residual` is estimated on; None for all of them,
            0 for none. Not used where the curvature already is that of all.
        leverage: whether an effect is that of one Newton step once the training example is gone,
            see `Leverage`: "auto" where that is cheap, "on" at any price, "off" for effects to
            first order; or what was found before, the `row_leverage` of another attributor. The
            certificate says which it was.
        batch_size: refused; the examples carry it.

    Raises:
        InputError: a batch size is given.
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
    batch_size: InitVar[object] = None

    def __post_init__(self, batch_size: object) -> None:
        if batch_size is not None:
            raise InputError(
                "Attributor: batch_size",
                "the batch size with the examples",
                f"{batch_size}",
                f"Write train = train.with_batch_size({batch_size}), for the curvature too.",
            )

    def __call__(
        self,
        queries: ExamplesLike,
        ids: Ids | None = None,
        slices: Int[Tensor, " q"] | None = None,
    ) -> Attribution:
        """Attribute the queries at these positions, or all; with `slices`, also `SliceTotals`."""
        return attribute([self], queries, ids, slices)

    def solve(self, queries: Examples, ids: Int[Tensor, " q"]) -> SolvedWithIhvp:
        """S_test of the queries and its certificate; two matrices of q x p are held, then one.

        Raises:
            InputError: the damped curvature is not positive definite.
        """
        # before any query is looked at
        least_eigenvalue, leverage = self._least_eigenvalue, self.row_leverage
        solved = solve_queries(
            self.gradients,
            self.train,
            self.operator,
            self._solve_fn,
            self._measure_queries(queries, ids),
            certify_rows=self.certify_rows,
            remedy=self.solver.remedy,
            weighted_gradients=self._weighted_gradients if isinstance(leverage, Leverage) else None,
            weights=leverage.weights if isinstance(leverage, Leverage) else None,
        )
        return self._complete_certificate(solved, least_eigenvalue)

    def solve_to_score(self, queries: Examples, ids: Int[Tensor, " q"]) -> SolvedQueries:
        """The same where only scores are wanted; a solver may have them without s_test."""
        operator, score = self.operator.operator, self._score_fn
        if score is None or not isinstance(operator, FactoredOperator):
            return self.solve(queries, ids)
        leverage = self.row_leverage
        if isinstance(leverage, Leverage):
            if not isinstance(score, DualScorer):
                return self.solve(queries, ids)
            score = replace(score, score_coefficients=leverage.apply_weights(score.coefficients))
        query_gradients = self._measure_queries(queries, ids)
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
        """(H + λI)⁻¹ of any rows.

        Raises:
            InputError: the damped curvature is not positive definite.
        """
        assert self._least_eigenvalue is not None
        return self._solve_fn(rhs)

    def _measure_queries(self, queries: Examples, ids: Tensor) -> Float[Tensor, "q p"]:
        return compute_measure_gradients(self.gradients, queries, ids)

    @cached_property
    def gradients(self) -> Gradients:
        """The curvature's own, if it has some: they lend their workspace."""
        return getattr(self.operator.operator, "gradients", None) or Gradients(self.objective)

    @cached_property
    def _weighted_gradients(self) -> Gradients:
        return make_weighted_gradients(self.gradients)

    @cached_property
    def _factor(self) -> Factor:
        factor = self.solver.factor(self.operator) if self.factor is None else self.factor
        return add_min_eigenvalue(self.operator, factor)

    @cached_property
    def row_leverage(self) -> Leverage | NoLeverage:
        """The leverage of the training examples, or why effects are to first order.

        Raises:
            InputError: "on" where there is no leverage to take.
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


def attribute(
    members: Sequence[Attributor],
    queries: ExamplesLike,
    ids: Ids | None = None,
    slices: Int[Tensor, " q"] | None = None,
    searcher: Attributor | None = None,
) -> Attribution:
    """The mean answer of one or several models; where to look is one model's choice.

    Sketches that are not rescored are the first model's own answer.

    Candidates are scored once all have been solved: each holds its s_test, [q p], until then. If
    memory does not hold that of all queries, they are answered half by half.

    Args:
        members: one for each model.
        queries: what is asked about.
        ids: positions of the queries, all by default.
        slices: number of the slice of each query; sums over slices are then taken in a full scan.
        searcher: whose candidates are scored; the first of the members if left out.

    Raises:
        InputError: a model, the queries or a training set are refused by a trial on a few rows.
    """
    first = members[0] if searcher is None else searcher
    count = len(as_examples(queries, "queries"))
    positions = torch.arange(count) if ids is None else as_ids(ids, count)

    def attribute_subset(places: Tensor) -> Attribution:
        subset_totals = (
            None
            if slices is None
            else SliceTotals.make_empty(slices[places], slice_count, len(members[0].train))
        )
        return _attribute(members, first, queries, positions[places], subset_totals)

    for member in members:
        try_table(member.objective, member.train, "training set")
        try_table(member.objective, queries, "queries", member.objective.query_measure)
    slice_count = 0 if slices is None or not len(slices) else int(slices.max()) + 1
    return concat_attributions(
        [answer for _, answer in split_on_oom(attribute_subset, torch.arange(len(positions)))]
    )


def _attribute(
    members: Sequence[Attributor],
    searcher: Attributor,
    queries: Examples,
    ids: Tensor,
    totals: SliceTotals | None,
) -> Attribution:
    search, sketch_search = searcher.search, searcher.search.without_rescoring
    if sketch_search is not None:
        return sketch_and_attribute(sketch_search, searcher.objective, queries, ids)
    solved = [member.solve_to_score(queries, ids) for member in members]
    controls = [result.control for result in solved]
    certificate = combine_members([result.certificate for result in solved], controls)
    candidates = search.find_candidates(searcher.gradients, queries, ids)
    scorers = [result.scorer for result in solved]
    if not search.is_exact:
        exact, scorers = scorers, [approximate_scorer(scorer, search) for scorer in scorers]
        del solved  # s_test is not needed in full any more
        if any(low is not full for low, full in zip(scorers, exact, strict=True)):
            del exact
            agreement = compute_precision_agreement(controls, scorers)
            certificate = replace(certificate, rounding=agreement)
    influences = mean_influence(scorers, candidates, keep=search.keep, totals=totals)
    certificate = finalize_certificate(
        certificate, influences, candidates, controls, len(searcher.train)
    )
    certificate = replace(certificate, route=describe_routes([m.gradients.route for m in members]))
    full_scan_totals = totals if candidates is None else None
    return Attribution(
        mask_quarantined(influences, certificate.quarantined), certificate, full_scan_totals
    )
