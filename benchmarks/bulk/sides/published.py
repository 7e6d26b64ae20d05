"""Published method: LiSSA for one query, then one candidate at a time."""

import torch

from benchmarks import reference
from benchmarks.bulk.sides.clock import Clock
from benchmarks.bulk.sides.problem import Problem
from benchmarks.bulk.sides.residuals import read_query_ids
from benchmarks.bulk.sides.result import SideResult
from benchmarks.bulk.sides.sizes import Sizes
from benchmarks.example import Singles
from benchmarks.stopwatch import faster_threads

WARM_UP = 10
"""Steps of the recursion before the timing starts."""


def published(problem: Problem, sizes: Sizes, turn: int, clock: Clock) -> SideResult:
    """Time some whole s_tests and some candidate scores; the total is extrapolated later."""
    names = problem.objective.space.names
    model = problem.objective.full_model
    params = reference.attribute(model, names)
    train, queries = (Singles(problem.workload.tokens(part)) for part in (0, 1))
    draws = reference.shuffled(train, seed=turn)
    setting = reference.Setting(depth=sizes.depth)
    ids = read_query_ids(sizes, turn)
    few = reference.Setting(depth=WARM_UP)
    threads = faster_threads(lambda: reference.s_test(model, params, queries[0], draws, few))
    solved = [
        clock.time(
            "s_test", lambda i=i: reference.s_test(model, params, queries[i], draws, setting)
        )
        for i in ids
    ]
    for candidate in (next(draws) for _ in range(sizes.scored)):
        clock.time(
            "score",
            lambda example=candidate: reference.removal_effect(
                model, params, solved[0], example, sizes.rows
            ),
        )
    rows = torch.stack([reference.row(estimate) for estimate in solved])
    return SideResult({"queries": ids, "threads": threads}, {"s_test": rows})
