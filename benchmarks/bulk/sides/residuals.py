"""Relative residual ‖b - (A + λI) x‖ / ‖b‖ of the s_test of each side."""

from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor

import fastif
from benchmarks import reference
from benchmarks.bulk.sides.problem import Problem
from benchmarks.bulk.sides.sizes import Sizes
from benchmarks.example import Singles
from fastif.gradients.per_example import compute_measure_gradients
from fastif.solvers.solver import measure_residual

SCALE = 1e3
"""Scale of the published recursion at the damping of fastif: its own fails."""


def residuals(problem: Problem, sizes: Sizes, folder: Path) -> dict:
    """Return residuals at both dampings, on the Hessian and on the Gauss-Newton matrix.

    The published recursion solves for the Hessian, fastif for the Gauss-Newton matrix. Both
    matrices are over all training rows.

    Args:
        problem: Problem of all sides.
        sizes: Sizes of the measurement.
        folder: Folder with the s_tests of the published method.
    """
    s_tests = [load_file(path)["s_test"] for path in sorted(folder.glob("published-*.safetensors"))]
    ids = torch.tensor([i for turn in range(len(s_tests)) for i in read_query_ids(sizes, turn)])
    setting = reference.Setting(depth=sizes.depth)
    at_ours = replace(setting, damp=sizes.damping / SCALE, scale=SCALE)
    first = recursion(problem, int(ids[0]), at_ours)
    matrix = fastif.GaussNewton(problem.objective, problem.train.with_batch_size(sizes.batch))
    solver = fastif.Dual(block_rows=sizes.block_rows)
    factor = solver.factor(matrix.with_damping(setting.damping))  # for all dampings

    def table(
        query_ids: Tensor, published: Tensor, damping: float
    ) -> dict[str, dict[str, list[float]]]:
        query_examples = problem.query_examples
        rhs = compute_measure_gradients(
            matrix.gradients, query_examples.with_batch_size(sizes.batch), query_ids
        )
        exact = solver.solve(matrix.with_damping(damping), rhs, factor).value
        sides = {"the paper's way": published, "fastif, exact": exact}
        return {
            side: _measure_residuals(problem, matrix, rows, rhs, damping)
            for side, rows in sides.items()
        }

    return {
        "paper": table(ids, torch.cat(s_tests), setting.damping),
        "ours": table(ids[:1], first[None], sizes.damping),
        "scale_at_ours": SCALE,
    }


def read_query_ids(sizes: Sizes, turn: int) -> list[int]:
    """Return the queries that the published method solves in a round, evenly spaced."""
    count = sizes.rounds * sizes.solved
    places = range(turn * sizes.solved, (turn + 1) * sizes.solved)
    return [place * sizes.queries // count for place in places]


def recursion(problem: Problem, query: int, setting: reference.Setting) -> Float[Tensor, " p"]:
    """Return the published s_test of one query."""
    names, model = problem.objective.space.names, problem.objective.full_model
    params = reference.attribute(model, names)
    train, queries = (Singles(problem.workload.tokens(part)) for part in (0, 1))
    draws = reference.shuffled(train, seed=0)
    return reference.row(reference.s_test(model, params, queries[query], draws, setting))


def _measure_residuals(
    problem: Problem, matrix: fastif.GaussNewton, rows: Tensor, rhs: Tensor, damping: float
) -> dict[str, list[float]]:
    hessian = fastif.Hessian(problem.objective, problem.train)
    operators = {
        "Gauss-Newton": matrix.with_damping(damping),
        "Hessian": hessian.with_damping(damping),
    }
    return {
        name: measure_residual(operator, rows, rhs).tolist() for name, operator in operators.items()
    }
