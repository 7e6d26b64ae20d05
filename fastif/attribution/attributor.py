"""From queries to scored training examples: the steps in one call."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.attribution.certificate import (
    HOOKS,
    Certificate,
    joined,
    worst_of,
)
from fastif.attribution.control_sample import agreement, held, rounding
from fastif.attribution.influence import (
    UNSEEN,
    Influences,
    join_influences,
    mean_influence,
)
from fastif.attribution.leverage import (
    ON,
    Leverage,
    Mode,
    Off,
    leverage_of,
    mixing,
)
from fastif.attribution.low_rank_scorer import low_rank
from fastif.attribution.scorers import Scorer
from fastif.attribution.sketch_scores import answer_by_sketches
from fastif.attribution.slice_totals import Totals
from fastif.attribution.solve_queries import (
    RowsSolved,
    Solved,
    solve_rows,
    solve_scores,
)
from fastif.candidates.retrieval import (
    Everything,
    Search,
    Sketched,
    candidates_of,
)
from fastif.candidates.sketch import query_sketches
from fastif.curvature.operator import Damped, Rooted
from fastif.data.arrays import Ids, as_ids
from fastif.data.examples import Examples
from fastif.data.torch_forms import Given, as_examples
from fastif.gradients.per_example import Gradients, measure_rows
from fastif.models.objective import Objective
from fastif.models.trial import try_table
from fastif.numerics.out_of_memory import in_parts
from fastif.solvers.definiteness import positive_definite, with_least
from fastif.solvers.dual_scores import KernelScores
from fastif.solvers.solver import Factor, ScoreAll, Solution, Solve, Solver

AnySolved = TypeVar("AnySolved", bound=Solved)


@dataclass(frozen=True, eq=False)
class Attribution:
    """What q queries owe to the training set, and how far to trust it.

    Attributes:
        influences: scored training examples, the most harmful first; none for a query that was
            quarantined.
        certificate: the evidence, one entry a query.
        totals: what each training example does to all queries of a slice; None unless it was asked
            for in a full scan.
    """

    influences: Influences
    certificate: Certificate
    totals: Totals | None = None


@dataclass(frozen=True, eq=False)
class Attributor:
    """A trained model, its training set, and how to solve and where to look.

    Everything that does not depend on the queries is factored once and kept. A query whose
    gradient, solve or scores are not finite is quarantined: it has no scores, its certificate says
    why, and the other queries are answered as if it were not there.

    Args:
        objective: the trained model.
        train: its training set.
        operator: the damped curvature.
        solver: inverts it.
        search: where to look.
        factor: what the solver keeps of the operator; made on first use if left out.
        batch_size: examples whose gradients, or representations for a search, are taken at once.
        certify_rows: training examples that `full_residual` is estimated on; None for all of them,
            0 for none. Not used where the curvature already is that of all.
        leverage: whether an effect is that of one Newton step once the training example is gone,
            see `Leverage`: "auto" where that is cheap, "on" at any price, "off" for effects to
            first order; or what was found before, the `row_leverage` of another attributor. The
            certificate says which it was.
    """

    objective: Objective
    train: Given
    operator: Damped
    solver: Solver
    search: Search = field(default_factory=Everything)
    factor: Factor | None = None
    batch_size: int = 32
    certify_rows: int | None = 512
    leverage: Mode | Leverage | Off = "auto"

    def __call__(
        self,
        queries: Given,
        ids: Ids,
        slices: Int[Tensor, " q"] | None = None,
    ) -> Attribution:
        """Attribute the queries at these positions; with `slices`, also their `Totals`."""
        return attribute([self], queries, ids, slices)

    def solve(self, queries: Examples, ids: Int[Tensor, " q"]) -> RowsSolved:
        """S_test of the queries and its certificate; two matrices of q x p are held, then one.

        Raises:
            InputError: the damped curvature is not positive definite.
        """
        least, leverage = self._least, self.row_leverage  # before any query is looked at
        found = solve_rows(
            self.gradients,
            self.train,
            self.operator,
            self._solve,
            self._asked(queries, ids),
            batch_size=self.batch_size,
            certify_rows=self.certify_rows,
            remedy=self.solver.remedy,
            mixed=self._mixed if isinstance(leverage, Leverage) else None,
            weights=leverage.weights if isinstance(leverage, Leverage) else None,
        )
        return self._certified(found, least)

    def solve_to_score(self, queries: Examples, ids: Int[Tensor, " q"]) -> Solved:
        """The same where only scores are wanted; a solver may have them without s_test."""
        operator, score = self.operator.operator, self._score_all
        if score is None or not isinstance(operator, Rooted):
            return self.solve(queries, ids)
        leverage = self.row_leverage
        if isinstance(leverage, Leverage):
            if not isinstance(score, KernelScores):
                return self.solve(queries, ids)
            score = replace(score, scored=leverage.in_rows(score.at))
        asked = self._asked(queries, ids)
        found = solve_scores(self.train, operator, score, asked, self.solver.remedy)
        return self._certified(found, self._least)

    def _certified(self, found: AnySolved, least: float) -> AnySolved:
        taken = self.row_leverage
        leverage = ON if isinstance(taken, Leverage) else f"off: {taken.reason}"
        known = replace(found.certificate, least_eigenvalue=least, leverage=leverage)
        return replace(found, certificate=known)

    def solved(self, rhs: Float[Tensor, "q p"]) -> Solution:
        """(H + λI)⁻¹ of any rows.

        Raises:
            InputError: the damped curvature is not positive definite.
        """
        assert self._least is not None
        return self._solve(rhs)

    def _asked(self, queries: Examples, ids: Tensor) -> Float[Tensor, "q p"]:
        return measure_rows(self.gradients, queries, ids, self.batch_size)

    @cached_property
    def gradients(self) -> Gradients:
        """The curvature's own, if it has some: they lend their workspace."""
        return getattr(self.operator.operator, "gradients", None) or Gradients(self.objective)

    @cached_property
    def _mixed(self) -> Gradients:
        return mixing(self.gradients)

    @cached_property
    def _factor(self) -> Factor:
        made = self.solver.factor(self.operator) if self.factor is None else self.factor
        return with_least(self.operator, made)

    @cached_property
    def row_leverage(self) -> Leverage | Off:
        """The leverage of the training examples, or why effects are to first order.

        Raises:
            InputError: "on" where there is no leverage to take.
        """
        if isinstance(self.leverage, Leverage | Off):
            return self.leverage
        score = None if self.leverage == "off" else self._score_all
        return leverage_of(
            self.operator,
            self.solver,
            self._factor,
            self.train,
            self.leverage,
            score.inverse if isinstance(score, KernelScores) else None,
        )

    @cached_property
    def _least(self) -> float:
        return positive_definite(self.operator, self._factor)

    @cached_property
    def _solve(self) -> Solve:
        return self.solver.prepare(self.operator, self._factor)

    @cached_property
    def _score_all(self) -> ScoreAll | None:
        return self.solver.prepare_scores(self.operator, self.train, self._factor)


def attribute(
    members: Sequence[Attributor],
    queries: Given,
    ids: Ids,
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
        ids: positions of the queries.
        slices: number of the slice of each query; sums over slices are then taken in a full scan.
        searcher: whose candidates are scored; the first of the members if left out.

    Raises:
        InputError: a model, the queries or a training set are refused by a trial on a few rows.
    """
    first = members[0] if searcher is None else searcher

    def some(places: Tensor) -> Attribution:
        mine = None if slices is None else Totals.of(slices[places], number, len(members[0].train))
        return _attribute(members, first, queries, ids[places], mine)

    ids = as_ids(ids, len(as_examples(queries, "queries")))
    for member in members:
        try_table(member.objective, member.train, "training set")
        try_table(member.objective, queries, "queries", member.objective.asked)
    number = 0 if slices is None or not len(slices) else int(slices.max()) + 1
    return _joined([found for _, found in in_parts(some, torch.arange(len(ids)))])


def _attribute(
    members: Sequence[Attributor],
    first: Attributor,
    queries: Examples,
    ids: Tensor,
    totals: Totals | None,
) -> Attribution:
    if isinstance(first.search, Sketched) and not first.search.rescore:
        return _by_sketches(first, first.search, queries, ids)
    solved = [member.solve_to_score(queries, ids) for member in members]
    certificate = worst_of([one.certificate for one in solved])
    controls = [one.control for one in solved]
    if len(solved) > 1:
        certificate = replace(certificate, agreement=agreement(controls))
    candidates = candidates_of(first.search, first.gradients, queries, ids, first.batch_size)
    scorers = [one.scorer for one in solved]
    if isinstance(first.search, Everything) and not first.search.exact:
        exact, scorers = scorers, [_cheaper(scorer, first.search) for scorer in scorers]
        del solved  # s_test is not needed in full any more
        if any(low is not full for low, full in zip(scorers, exact, strict=True)):
            del exact
            alike = rounding(controls, scorers, first.batch_size)
            certificate = replace(certificate, rounding=alike)
    found = mean_influence(
        scorers,
        candidates,
        keep=first.search.keep if isinstance(first.search, Everything) else None,
        batch_size=first.batch_size,
        totals=totals,
    )
    if candidates is None:
        dropped = torch.full((len(ids),), len(found.broken))
    else:
        dropped = torch.isin(candidates.ids, found.broken).sum(1)
        share = held(controls, len(first.train), found.ids, found.removal_effect)
        certificate = replace(certificate, held=share)
    overflown = ((found.ids != UNSEEN) & ~torch.isfinite(found.removal_effect)).any(1)
    certificate = replace(certificate.settled(overflown, dropped), route=_route(members))
    asked = totals if candidates is None else None
    return Attribution(_without(found, certificate.quarantined), certificate, asked)


def _route(members: Sequence[Attributor]) -> str:
    """How the gradients were taken; of several models the first that was not by hooks."""
    found = [str(member.gradients.route) for member in members]
    return next((route for route in found if route != HOOKS), HOOKS)


def _cheaper(scorer: Scorer, search: Everything) -> Scorer:
    return scorer.rounded() if search.rank is None else low_rank(scorer, search.rank)


def _by_sketches(
    member: Attributor, search: Sketched, queries: Examples, ids: Tensor
) -> Attribution:
    gradients, size = Gradients(member.objective), member.batch_size
    return attribute_by_sketches(
        search, query_sketches(search.sketcher, gradients, queries, ids, size)
    )


def attribute_by_sketches(search: Sketched, rows: Float[Tensor, "q d"]) -> Attribution:
    """What `answer_by_sketches` says of queries with these sketches."""
    found, certificate = answer_by_sketches(search, rows)
    return Attribution(_without(found, certificate.quarantined), certificate)


def _joined(parts: Sequence[Attribution]) -> Attribution:
    """One answer from those of some queries each."""
    if len(parts) == 1:
        return parts[0]
    totals = [part.totals for part in parts if part.totals is not None]
    return Attribution(
        join_influences([part.influences for part in parts]),
        joined([part.certificate for part in parts]),
        Totals.joined(totals) if totals else None,
    )


def _without(found: Influences, quarantined: Tensor) -> Influences:
    """The same without the scores of some queries."""
    out = quarantined[:, None]
    return replace(
        found,
        ids=found.ids.masked_fill(out, UNSEEN),
        removal_effect=found.removal_effect.masked_fill(out, torch.inf),
        spread=None if found.spread is None else found.spread.masked_fill(out, torch.inf),
    )
