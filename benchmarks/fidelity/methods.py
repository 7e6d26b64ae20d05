"""Removal effects of fastif on a workload, by named settings."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

import fastif
from benchmarks.fidelity.workload import Workload
from fastif.curvature import DampedOperator, LinearOperator
from fastif.evaluation.select_damping import (
    HALVES,
    DampingSelection,
    sample_halves,
    select_damping_by_retraining,
)
from fastif.gradients.per_example import compute_measure_gradients
from fastif.solvers import Factor, Solver

BATCH = 64
LARGE = 10_000
"""Number of factor rows above which a sampled kernel preconditions conjugate gradients."""

DRAWN = 4_000
PUBLISHED = 50.0
"""Effective λ of the paper on MultiNLI: damping 0.005 times scale 10,000."""


@dataclass(frozen=True, eq=False)
class Answer:
    """Scores of a method with their cost and diagnostics.

    Attributes:
        effect: Removal effects, [q n].
        seconds: CPU seconds of the factor, and of solving and scoring all queries.
        damping: Effective λ.
        residual: Median relative residual; None if it was not measured.
        cosine: Median cosine of s_test with the plain gradient.
    """

    effect: Float[Tensor, "q n"]
    seconds: dict[str, float]
    damping: float
    residual: float | None = None
    cosine: float | None = None


def curvature(objective: fastif.Objective, train: fastif.Examples) -> fastif.GaussNewton:
    """Return the Gauss-Newton matrix over all training rows."""
    return fastif.GaussNewton(objective, train.with_batch_size(BATCH))


def exact(matrix: fastif.GaussNewton) -> Solver:
    """Return the dual solver, or for a large kernel conjugate gradients to 1e-2."""
    if matrix.count * matrix.rows_per_example <= LARGE:
        return fastif.Dual(block_rows=512 // matrix.rows_per_example, memory_mb=8_000)
    return fastif.ConjugateGradient(1e-2, preconditioner="drawn", rank=DRAWN)


def choose_workload_damping(
    workload: Workload,
    matrix: fastif.GaussNewton,
    outcomes: Tensor,
    approximate: fastif.Spectral | None,
    factor: Factor | None = None,
) -> DampingSelection:
    """Return λ of `damping = "auto"`, from other halves and queries than those of the LDS."""
    halves = sample_halves(workload.rows, HALVES, seed=7)
    return select_damping_by_retraining(
        matrix,
        workload.tuning_examples.with_batch_size(BATCH),
        halves,
        outcomes,
        approximate=approximate,
        factor=factor,
    )


def outcomes(workload: Workload) -> Float[Tensor, "m e"]:
    """Return the results of the few retrainings for `choose_workload_damping`."""
    halves = sample_halves(workload.rows, HALVES, seed=7)
    return workload.train_on_subsets(halves, [500], workload.tuning_examples)


def answer(
    workload: Workload,
    matrix: LinearOperator,
    objective: fastif.Objective,
    solver: Solver,
    damping: float,
    factor: Factor | None = None,
) -> Answer:
    """Solve every query and score the whole training set."""
    operator, start = DampedOperator(matrix, damping), time.process_time()
    factor = solver.factor(operator) if factor is None else factor
    factored = time.process_time()
    gradients = fastif.Gradients(objective)
    rows = compute_measure_gradients(gradients, workload.query_examples.with_batch_size(BATCH))
    solution = solver.solve(operator, rows, factor)
    effect = scores(gradients, workload.train, solution.value)
    cosine = torch.cosine_similarity(rows, solution.value).median()
    seconds = {"factor": factored - start, "solve and score": time.process_time() - factored}
    residual = float(solution.residual.median())
    return Answer(effect, seconds, damping, residual, float(cosine))


def scores(
    gradients: fastif.Gradients, train: fastif.Examples, s_test: Float[Tensor, "q p"]
) -> Float[Tensor, "q n"]:
    """Return 1/n s_testᵀ ∇L of all pairs, [q n]."""
    effect = s_test.new_empty(len(s_test), len(train))
    for places, batch in train.batches(size=BATCH):
        effect[:, places] = gradients.compute_loss_tile(batch).dot(s_test) / len(train)
    return effect


def average_answers(answers: Sequence[Answer]) -> Answer:
    """Return the mean effects over models."""
    effect = torch.stack([member.effect for member in answers]).mean(0)
    seconds = {key: sum(a.seconds[key] for a in answers) for key in answers[0].seconds}
    return Answer(effect, seconds, answers[0].damping)


def make_slug(name: str) -> str:
    """Return the name of a method as a file name.

    >>> make_slug("EK-FAC, mean of 5 models")
    'ek-fac-mean-of-5-models'
    """
    return "-".join(re.findall(r"[a-z0-9.]+", name.lower()))
