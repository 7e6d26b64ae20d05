"""From queries to scored training examples: the four steps in one call."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fastif.candidates.index import CandidateIndex
from fastif.curvature.operator import Damped
from fastif.errors import InputError
from fastif.examples import Examples, batches
from fastif.gradients import Gradients, gradient_rows
from fastif.influence import Influences, influence
from fastif.objective import Objective
from fastif.solvers.solver import Factor, Solution, Solver, relative


@dataclass(frozen=True)
class Nearest:
    """Score the k training examples whose representation is nearest to the query's."""

    index: CandidateIndex
    k: int


@dataclass(frozen=True)
class Everything:
    """Score the full training set and keep the `keep` rows at each end; None keeps all."""

    keep: int | None = None


@dataclass(frozen=True, eq=False)
class Attribution:
    """What q queries owe to the training set, and how well it was solved.

    Attributes:
        influences: scored training examples, the most harmful first.
        residual, converged, steps, damping, spread: of the solve, see `Solution`.
        gradient_norm: ‖∇L(query)‖.
        solution_norm: ‖s_test‖.
        gradient_cosine: of s_test with ∇L(query); 1 = the solve changed nothing but the length.
    """

    influences: Influences
    solution: Solution = field(repr=False)
    gradient_norm: Float[Tensor, " q"]
    solution_norm: Float[Tensor, " q"]
    gradient_cosine: Float[Tensor, " q"]


@dataclass(frozen=True, eq=False)
class Attributor:
    """A trained model, its training set, and how to solve and where to look.

    Everything that does not depend on the queries is factored once and kept.
    """

    objective: Objective
    train: Examples
    operator: Damped
    solver: Solver
    search: Nearest | Everything = Everything()
    factor: Factor | None = None
    batch_size: int = 32

    def __call__(self, queries: Examples, ids: Int[Tensor, " q"]) -> Attribution:
        """Attribute the queries at these positions.

        Raises:
            InputError: the solver diverged; nothing finite can be said.
        """
        # The curvature's own gradients, if it has some: they lend their workspace.
        gradients = getattr(self.operator.operator, "gradients", None) or Gradients(self.objective)
        rhs = gradient_rows(gradients, queries, ids, self.batch_size)
        solution = self.solver.solve(self.operator, rhs, self.factor)
        self._check_finite(solution)
        norms = rhs.norm(dim=1), solution.value.norm(dim=1)
        product = torch.einsum("qp,qp->q", rhs, solution.value)  # no third matrix of this size
        evidence = (*norms, relative(product, norms[0] * norms[1]))
        del rhs  # as large as the solution; not needed while candidates are scored
        found = self._score(gradients, queries, ids, solution)
        return Attribution(found, solution, *evidence)

    def _score(
        self, gradients: Gradients, queries: Examples, ids: Tensor, solution: Solution
    ) -> Influences:
        search = self.search
        if isinstance(search, Everything):
            keep = search.keep
            return influence(
                gradients, self.train, solution.value, keep=keep, batch_size=self.batch_size
            )
        found = search.index.search(embeddings(self.objective, queries, ids), search.k)
        return influence(gradients, self.train, solution.value, found, batch_size=self.batch_size)

    def _check_finite(self, solution: Solution) -> None:
        bad = ~torch.isfinite(solution.value.norm(dim=1))
        if bad.any():
            raise InputError(
                f"solver {type(self.solver).__name__}",
                "a finite s_test for every query",
                f"{int(bad.sum())} of {len(bad)} diverged at {self.solver}",
                "Raise its scale tenfold (lissa), raise the damping, or use the dual solver.",
            )


def embeddings(
    objective: Objective, examples: Examples, ids: Int[Tensor, " m"], batch_size: int = 64
) -> Float[Tensor, "m d"]:
    """The final representation of the examples, in the order of `ids`."""
    places, rows = zip(
        *((places, objective.embed(batch)) for places, batch in batches(examples, ids, batch_size)),
        strict=True,
    )
    return torch.cat(rows)[torch.cat(places).argsort()]
