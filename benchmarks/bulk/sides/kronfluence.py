"""kronfluence: EK-FAC over the linear layers and the scores of all pairs, single precision."""

from tempfile import TemporaryDirectory

import torch
from kronfluence.arguments import ScoreArguments

from benchmarks.bulk.sides.clock import Clock
from benchmarks.bulk.sides.problem import Problem
from benchmarks.bulk.sides.result import SideResult
from benchmarks.bulk.sides.sizes import Sizes
from benchmarks.peers.kronfluence import fit_factors, load_scores, make_analyzer, score_pairs
from benchmarks.peers.rows import by_length, restore_order


def kronfluence(problem: Problem, sizes: Sizes, turn: int, clock: Clock) -> SideResult:
    """Time factors, then scores; all queries share one pass over the training rows."""
    plain, query, train = by_length(problem.plain)
    settings = ScoreArguments(
        damping_factor=sizes.ekfac_damping,
        query_gradient_accumulation_steps=-(-len(plain.query_labels) // sizes.query_batch),
    )
    batches = sizes.query_batch, sizes.train_batch
    torch.manual_seed(turn)
    with TemporaryDirectory() as folder:
        analyzer = make_analyzer(plain, folder)
        clock.time("factor", lambda: fit_factors(analyzer, plain, sizes.fit_batch))
        clock.time("answer", lambda: score_pairs(analyzer, plain, settings, *batches))
        scores = load_scores(analyzer)
    return SideResult({}, {"scores": restore_order(scores.float(), query, train)})
