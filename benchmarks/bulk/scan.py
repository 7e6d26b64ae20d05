"""Full scan: exact effects and scores without curvature, in one pass over the training rows."""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

import fastif
from benchmarks.bulk.study import BATCH, Study
from fastif.curvature import DampedOperator
from fastif.gradients.gradient_tile import GradientTile
from fastif.gradients.per_example import compute_measure_gradients
from fastif.models.parameter_subset import ParameterSubset
from fastif.solvers import Solver

LARGE = 7_000
"""Number of factor rows above which a sampled kernel preconditions conjugate gradients."""

DRAWN = 2_000

Take = Callable[[GradientTile], Tensor]
"""Function from the gradients of b training rows to b rows of scores."""


def read_scan(study: Study) -> dict[str, Tensor]:
    """Return the scores of all training rows by each method that is not a sketch, [q n] or [n].

    "exact" are removal effects, "residual" is the residual of each solve.
    """
    return study.cached_tensors("scan", lambda: _run_scan(study))


def _run_scan(study: Study) -> dict[str, Tensor]:
    corpus, gradients = study.corpus, study.matrix.gradients
    solver = solver_for(study.matrix)
    factor = study.cached_tensors("factor", lambda: dict(solver.factor(study.operator)))
    query_gradients = compute_measure_gradients(
        gradients, corpus.query_examples.with_batch_size(BATCH)
    )
    solution = solver.solve(study.operator, query_gradients, factor)
    head, head_solution = solve_head(study, query_gradients)
    reducers: dict[str, Take] = {
        "exact": lambda tile: tile.dot(solution.value).T / corpus.rows,
        "product": lambda tile: tile.dot(query_gradients).T,
        "head": lambda tile: tile.gradients[:, head] @ head_solution.T / corpus.rows,
        "norm": lambda tile: tile.gradients.norm(dim=1, keepdim=True),
    }
    scores = {name: rows.T for name, rows in one_pass(gradients, corpus.train, reducers).items()}
    return {**scores, "distance": distances(study), "residual": solution.residual}


def solver_for(matrix: fastif.GaussNewton) -> Solver:
    """Return the exact dual solver, or for a large kernel conjugate gradients to 1e-3."""
    if matrix.count * matrix.rows_per_example <= LARGE:
        return fastif.Dual(block_rows=384 // matrix.rows_per_example, memory_mb=4_000)
    return fastif.ConjugateGradient(1e-3, preconditioner="drawn", rank=DRAWN)


def one_pass(
    gradients: fastif.Gradients, train: fastif.Examples, reducers: Mapping[str, Take]
) -> dict[str, Float[Tensor, "n _"]]:
    """Apply several functions to all training gradients; each gradient is computed once."""
    results: dict[str, Tensor] = {}
    for places, batch in train.batches(size=BATCH):
        tile = gradients.compute_loss_tile(batch)
        for name, reducer in reducers.items():
            rows = reducer(tile)
            if name not in results:
                results[name] = rows.new_empty(len(train), rows.shape[1])
            results[name][places] = rows
    return results


def solve_head(study: Study, query_gradients: Float[Tensor, "q p"]) -> tuple[Tensor, Tensor]:
    """Return the slice of the classifier parameters, and s_test for these parameters alone.

    The curvature is over these parameters, with equal rows and λ.
    """
    whole = study.objective
    names = [name for name in whole.space.names if name.startswith("classifier.")]
    head = torch.cat([torch.arange(at.start, at.stop) for at in whole.space.select_slices(names)])
    part = ParameterSubset(whole, names)
    matrix = fastif.GaussNewton(part, study.corpus.train.with_batch_size(BATCH), study.matrix.ids)
    operator = DampedOperator(matrix, study.choice.effective_damping)
    return head, fastif.Direct().solve(operator, query_gradients[:, head]).value


def distances(study: Study) -> Float[Tensor, "q n"]:
    """Return the distances between final representations, as in the kNN search of the paper."""
    query_embeddings, rows = (
        fastif.compute_embeddings(study.objective, examples, fastif.all_ids(examples))
        for examples in (study.corpus.query_examples, study.corpus.train)
    )
    return torch.cdist(query_embeddings, rows)
