"""Solves of the GPU benchmark: all queries in as few groups as memory allows."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

import fastif
from benchmarks.bulk.gpu_workload import Work
from fastif.attribution.full_residual import compute_full_residual
from fastif.curvature import DampedOperator
from fastif.gradients.gradient_tile import aligned_rows
from fastif.gradients.per_example import compute_measure_gradients
from fastif.solvers.solver import Solve

SINGLE_BYTES, HALF_BYTES = 4, 2
SPARE = 0.1
"""Share of a GPU's memory that is left for activations and temporary results."""


@dataclass(frozen=True, eq=False)
class Solved:
    """Solved queries.

    Attributes:
        s_test: s_test of all queries in half precision, in rows of aligned memory.
        residual: Relative residual of each query on the matrix that was solved.
        converged: Whether it is within the solver's tolerance.
        groups: Number of groups that were solved after one another.
    """

    s_test: Float[Tensor, "q p"]
    residual: Float[Tensor, " q"]
    converged: Bool[Tensor, " q"]
    groups: int


def sample_curvature(work: Work, rows: int, batch: int) -> fastif.GaussNewton:
    """Return the Gauss-Newton matrix of a fixed random sample of the rows."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randperm(work.scale.rows, generator=generator)[:rows]
    return fastif.GaussNewton(work.objective, work.train.with_batch_size(batch), ids)


def solve_groups(work: Work, operator: DampedOperator, solve: Solve) -> Solved:
    """Solve all queries, whose gradients are overwritten, and keep s_test in half precision."""
    parts = []
    groups = split_queries(work, operator, SINGLE_BYTES + HALF_BYTES, HALF_BYTES)
    for ids in groups:
        rhs = compute_queries(work, operator, ids)
        solution = solve(rhs)
        residual, converged = solution.residual, solution.converged
        parts.append((_round(solution.value), residual, converged))
        del rhs, solution
    if len(parts) == 1:
        return Solved(*parts[0], groups=1)
    values, residuals, flags = zip(*parts, strict=True)
    s_test = aligned_rows(values[0], work.scale.queries, work.objective.space.size)
    for ids, value in zip(groups, values, strict=True):
        s_test[int(ids[0]) : int(ids[-1]) + 1] = value
    return Solved(s_test, torch.cat(residuals), torch.cat(flags), len(groups))


def estimate_full_residuals(
    work: Work, operator: DampedOperator, s_test: Float[Tensor, "q p"]
) -> Float[Tensor, " q"]:
    """Estimate the residuals on the curvature of all rows from two independent samples of them."""
    residuals = []
    for ids in split_queries(work, operator, SINGLE_BYTES):
        rhs = compute_queries(work, operator, ids)
        value, size = s_test[int(ids[0]) : int(ids[-1]) + 1], work.scale.residual_rows
        residual = compute_full_residual(operator, value, rhs, sample_size=size)
        assert residual is not None  # the curvature has examples and a factor
        residuals.append(residual)
    return torch.cat(residuals)


def compute_queries(
    work: Work, operator: DampedOperator, ids: Int[Tensor, " q"]
) -> Float[Tensor, "q p"]:
    """Return the gradients of some queries."""
    curvature = operator.operator
    assert isinstance(curvature, fastif.GaussNewton)
    queries = work.queries.with_batch_size(work.scale.batch)
    return compute_measure_gradients(curvature.gradients, queries, ids)


def split_queries(
    work: Work, operator: DampedOperator, query_bytes: int, result_bytes: int = 0
) -> list[Int[Tensor, " q"]]:
    """Split the queries into the smallest number of equal groups that memory holds.

    Args:
        work: Workload.
        operator: Curvature, of which a batch of factor rows is in memory too.
        query_bytes: Bytes for each query and parameter while it is solved.
        result_bytes: Bytes for each query and parameter that earlier groups leave in memory.
    """
    count, size, groups = work.scale.queries, work.objective.space.size, 1
    if work.scale.together is not None:
        groups = -(-count // work.scale.together)
    elif work.device.type == "cuda":
        curvature = operator.operator
        assert isinstance(curvature, fastif.GaussNewton)
        available = find_free_bytes(work.device) - SINGLE_BYTES * curvature.batch_size * size
        while groups < count and available < size * (
            query_bytes * -(-count // groups) + (result_bytes * count if groups > 1 else 0)
        ):
            groups += 1
    return list(torch.arange(count).split(-(-count // groups)))


def find_free_bytes(device: torch.device) -> float:
    """Return the free memory of a GPU, without a share that is left for temporary results."""
    free, total = torch.cuda.mem_get_info(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return free + unused - SPARE * total


def _round(value: Float[Tensor, "q p"]) -> Float[Tensor, "q p"]:
    """Return solutions in half precision, in rows of aligned memory."""
    if value.dtype == torch.bfloat16:
        return value
    return aligned_rows(value, len(value), value.shape[1], torch.bfloat16).copy_(value)
