"""From queries to scored training examples: the steps in one call."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fastif.candidates.search import Everything, Search, Sketched, candidates_of
from fastif.certificate import DIVERGED, GRADIENT, Certificate, joined, worst_of
from fastif.control import Control, agreement, control, held, rounding
from fastif.curvature.operator import Damped
from fastif.examples import Examples
from fastif.gradients import Gradients, measure_rows
from fastif.influence import UNSEEN, Influences, join_influences, mean_influence
from fastif.memory import in_parts
from fastif.objective import Objective
from fastif.residual import full_residual
from fastif.scorer import Scorer
from fastif.sketched import answer_by_sketches
from fastif.solvers.solver import Factor, Solution, Solve, Solver, relative
from fastif.totals import Totals


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
class Solved:
    """One model's part of an answer, before candidates are scored.

    Attributes:
        scorer: holds s_test, [q p].
        control: scores of the control sample.
        certificate: the evidence of the solve.
    """

    scorer: Scorer
    control: Control
    certificate: Certificate


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
    """

    objective: Objective
    train: Examples
    operator: Damped
    solver: Solver
    search: Search = field(default_factory=Everything)
    factor: Factor | None = None
    batch_size: int = 32
    certify_rows: int | None = 512

    def __call__(
        self, queries: Examples, ids: Int[Tensor, " q"], slices: Int[Tensor, " q"] | None = None
    ) -> Attribution:
        """Attribute the queries at these positions; with `slices`, also their `Totals`."""
        return attribute([self], queries, ids, slices)

    def solve(self, queries: Examples, ids: Int[Tensor, " q"]) -> Solved:
        """S_test of the queries and its certificate; two matrices of q x p are held, then one."""
        # The curvature's own gradients, if it has some: they lend their workspace.
        gradients = getattr(self.operator.operator, "gradients", None) or Gradients(self.objective)
        rhs = measure_rows(gradients, queries, ids, self.batch_size)
        size, broken = _cleared(rhs)
        solution = self._solve(rhs)
        value = solution.value
        length, diverged = _cleared(value)
        product = torch.einsum("qp,qp->q", rhs, value)  # no third matrix of this size
        checked = control(gradients, self.train, value, rhs, self.batch_size)
        certificate = Certificate(
            residual=solution.residual,
            full_residual=self._full_residual(solution, rhs),  # the last to need rhs
            converged=solution.converged & ~broken & ~diverged,
            steps=solution.steps,
            damping=solution.damping,
            spread=solution.spread,
            gradient_norm=size,
            solution_norm=length,
            gradient_cosine=relative(product, size * length),
            score_correlation=checked.correlation(),
            reasons=_reasons(broken, diverged, f"{DIVERGED} {self.solver.remedy}"),
            dropped=torch.zeros(len(ids), dtype=torch.long),
        )
        known = certificate.blank(broken | diverged)
        return Solved(Scorer(gradients, self.train, value), checked, known)

    @cached_property
    def _solve(self) -> Solve:
        return self.solver.prepare(self.operator, self.factor)

    def _full_residual(self, solution: Solution, rhs: Tensor) -> Tensor | None:
        if self.operator.operator.whole() is self.operator.operator:
            return solution.residual
        rows = self.certify_rows
        if rows is not None and rows >= len(self.train):
            rows = None
        return full_residual(self.operator, solution.value, rhs, rows=rows)


def attribute(
    members: Sequence[Attributor],
    queries: Examples,
    ids: Int[Tensor, " q"],
    slices: Int[Tensor, " q"] | None = None,
) -> Attribution:
    """The mean answer of one or several models; where to look is the first one's choice.

    Sketches that are not rescored are the first model's own answer.

    Candidates are scored once all have been solved: each holds its s_test, [q p], until then. If
    memory does not hold that of all queries, they are answered half by half.

    Args:
        members: one for each model.
        queries: what is asked about.
        ids: positions of the queries.
        slices: number of the slice of each query; sums over slices are then taken in a full scan.
    """

    def some(places: Tensor) -> Attribution:
        mine = None if slices is None else Totals.of(slices[places], number, len(members[0].train))
        return _attribute(members, queries, ids[places], mine)

    number = 0 if slices is None or not len(slices) else int(slices.max()) + 1
    return _joined([found for _, found in in_parts(some, torch.arange(len(ids)))])


def _attribute(
    members: Sequence[Attributor], queries: Examples, ids: Tensor, totals: Totals | None
) -> Attribution:
    first = members[0]
    if isinstance(first.search, Sketched) and not first.search.rescore:
        return _by_sketches(first, first.search, queries, ids)
    solved = [member.solve(queries, ids) for member in members]
    certificate = worst_of([one.certificate for one in solved])
    controls = [one.control for one in solved]
    if len(solved) > 1:
        certificate = replace(certificate, agreement=agreement(controls))
    gradients = solved[0].scorer.gradients
    candidates = candidates_of(first.search, gradients, queries, ids, first.batch_size)
    scorers = [one.scorer for one in solved]
    if isinstance(first.search, Everything) and first.search.rounded:
        scorers = [scorer.rounded() for scorer in scorers]
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
    certificate = certificate.settled(overflown, dropped)
    asked = totals if candidates is None else None
    return Attribution(_without(found, certificate.quarantined), certificate, asked)


def _by_sketches(
    member: Attributor, search: Sketched, queries: Examples, ids: Tensor
) -> Attribution:
    gradients = Gradients(member.objective)
    found, certificate = answer_by_sketches(search, gradients, queries, ids, member.batch_size)
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


def _cleared(rows: Float[Tensor, "q p"]) -> tuple[Float[Tensor, " q"], Bool[Tensor, " q"]]:
    """Norms, and which of them are not finite; such rows are set to zero, to harm no other."""
    norms = rows.norm(dim=1)
    broken = ~torch.isfinite(norms)
    rows[broken] = 0
    return norms, broken


def _reasons(broken: Tensor, diverged: Tensor, remedy: str) -> tuple[str | None, ...]:
    pairs = zip(broken.tolist(), diverged.tolist(), strict=True)
    return tuple(GRADIENT if first else remedy if second else None for first, second in pairs)


def _without(found: Influences, quarantined: Tensor) -> Influences:
    """The same without the scores of some queries."""
    out = quarantined[:, None]
    return replace(
        found,
        ids=found.ids.masked_fill(out, UNSEEN),
        removal_effect=found.removal_effect.masked_fill(out, torch.inf),
        spread=None if found.spread is None else found.spread.masked_fill(out, torch.inf),
    )
