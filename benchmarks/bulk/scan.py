"""The full scan: exact effects, and what needs no curvature, in one pass over the training rows."""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

import fastif
from benchmarks.bulk.study import BATCH, Study
from fastif.models.parameter_subset import Subset

LARGE = 7_000
"""Root rows from which on the kernel of some of them stands before conjugate gradients."""

DRAWN = 2_000

Take = Callable[[fastif.Tile], Tensor]
"""From the gradients of b training rows to b rows of numbers."""


def scanned(study: Study) -> dict[str, Tensor]:
    """Scores of every training row by every method that is not a sketch, [q n] or [n].

    "exact" holds removal effects, "residual" that of each query's solve.
    """
    return study.kept("scan", lambda: _scanned(study))


def _scanned(study: Study) -> dict[str, Tensor]:
    corpus, gradients = study.corpus, study.matrix.gradients
    solver = solver_for(study.matrix)
    factor = study.kept("factor", lambda: dict(solver.factor(study.operator)))
    asked = fastif.measure_rows(gradients, corpus.asked, fastif.every(corpus.asked), BATCH)
    solution = solver.solve(study.operator, asked, factor)
    head, solved = head_solved(study, asked)
    takers: dict[str, Take] = {
        "exact": lambda tile: tile.times(solution.value).T / corpus.rows,
        "product": lambda tile: tile.times(asked).T,
        "head": lambda tile: tile.rows[:, head] @ solved.T / corpus.rows,
        "norm": lambda tile: tile.rows.norm(dim=1, keepdim=True),
    }
    found = {name: rows.T for name, rows in one_pass(gradients, corpus.train, takers).items()}
    return {**found, "distance": distances(study), "residual": solution.residual}


def solver_for(matrix: fastif.GaussNewton) -> fastif.Solver:
    """The exact dual; where its kernel is large, conjugate gradients to 1e-3."""
    if matrix.count * matrix.columns <= LARGE:
        return fastif.Dual(block_rows=384 // matrix.columns, memory_mb=4_000)
    return fastif.ConjugateGradient(1e-3, preconditioner="drawn", rank=DRAWN)


def one_pass(
    gradients: fastif.Gradients, train: fastif.Examples, takers: Mapping[str, Take]
) -> dict[str, Float[Tensor, "n _"]]:
    """What each of the takers makes of every training gradient; each gradient is taken once."""
    found: dict[str, Tensor] = {}
    for places, batch in fastif.batches(train, fastif.every(train), BATCH):
        tile = gradients.of_losses(batch)
        for name, take in takers.items():
            rows = take(tile)
            if name not in found:
                found[name] = rows.new_empty(len(train), rows.shape[1])
            found[name][places] = rows
    return found


def head_solved(study: Study, asked: Float[Tensor, "q p"]) -> tuple[Tensor, Tensor]:
    """Where the classifier's own parameters stand in a row, and the queries solved for them alone.

    The curvature is that of these parameters over the same rows, with the same λ.
    """
    whole = study.objective
    names = [name for name in whole.space.names if name.startswith("classifier.")]
    head = torch.cat([torch.arange(at.start, at.stop) for at in whole.space.places(names)])
    part = Subset(whole, names)
    matrix = fastif.GaussNewton(part, study.corpus.train, study.matrix.ids, BATCH)
    operator = fastif.Damped(matrix, study.choice.effective)
    return head, fastif.Direct().solve(operator, asked[:, head]).value


def distances(study: Study) -> Float[Tensor, "q n"]:
    """Between the last representations, as the paper's nearest neighbours have it."""
    asked, rows = (
        fastif.embeddings(study.objective, examples, fastif.every(examples))
        for examples in (study.corpus.asked, study.corpus.train)
    )
    return torch.cdist(asked, rows)
