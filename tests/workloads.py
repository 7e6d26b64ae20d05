"""A run of made-up sizes, for what plans by sizes alone: no model, no table, no store."""

from pydantic import TypeAdapter

from fastif.solvers.build import build_solver
from fastif.solvers.cost import SolverProblem
from tasks.planning.calibration import Rates
from tasks.planning.model_size import ModelSize
from tasks.planning.workload import (
    Prepared,
    Remaining,
    Sizes,
    TableSize,
    Workload,
)
from tasks.study.any_candidates import AnyCandidates
from tasks.study.any_solver import AnySolver
from tasks.study.index_cost import PendingIndex

TRAIN, QUERIES, SHARDS = 60, 17, 4
PARAMETERS = 350
LAYERS = ((12, 12), (2, 12))
TOKENS, TOKEN_BYTES = 8, 48
RATES = Rates(1.0, 1.0, 1.0, 1.0)
"""One second for each unit of work."""


def make(
    candidates: dict | None = None,
    solver: dict | None = None,
    *,
    queries: int = QUERIES,
    curvature_rows: int = TRAIN,
    certificate_rows: int = 512,
    models: int = 1,
    shard_size: int = 5,
    batch_size: int = 16,
    prefix_cache_mb: int = 512,
) -> Workload:
    """The workload before anything is done.

    Args:
        candidates: the section of a study file.
        solver: likewise.
    """
    section = TypeAdapter(AnyCandidates).validate_python(candidates or {"kind": "knn", "k": 12})
    problem = SolverProblem(TRAIN, curvature_rows, 1, PARAMETERS, batch_size)
    shards = -(-queries // shard_size)
    pending = PendingIndex(TRAIN, has_sketcher=False)
    return Workload(
        solver=build_solver(TypeAdapter(AnySolver).validate_python(solver or {"kind": "dual"})),
        candidates=section,
        methods=section.methods,
        certificate_rows=certificate_rows,
        training_epochs=0,
        problem=problem,
        train=TableSize(TRAIN, TRAIN * TOKENS, 20 * TRAIN, TOKENS),
        queries=TableSize(queries, queries * TOKENS, 20 * queries, TOKENS),
        model=ModelSize(models, 100_000, TOKEN_BYTES, LAYERS, 12),
        sizes=Sizes(shard_size, batch_size, prefix_cache_mb),
        remaining=Remaining(shards, shards, queries, shards, queries, TRAIN),
        prepared=Prepared(indices=(pending,) * len(section.methods), missing_factors=models),
    )
