"""Precision of scores before it is selected: whether it is worth a trial, and for forecasts."""

from collections.abc import Iterator

from fastif.numerics.precision import SINGLE, TF32, Precision, list_precisions
from tasks.run.context import RunContext

MIN_PRODUCTS = 1e13
"""Multiplications of scores above which another precision may save time: minutes on two cores.

The trial solves a few queries, which takes as many passes over the rows of the curvature as a
shard. Below the limit scores stay in single precision.
"""


def list_offered_precisions(context: RunContext) -> tuple[Precision, ...]:
    """Return the precisions to try, the fastest first; none if the choice is made or not needed.

    It is left at single precision where the scores are few, the device has no faster one, or the
    run continues a parent run that had none.
    """
    is_open = (
        context.study.score_precision == "auto"
        and context.precision_selection is None
        and context.plan.lineage is None
        and context.candidates.score_rank is None
        and not context.has_sketch_scores
        and not context.is_unrolled
        and count_score_products(context) >= MIN_PRODUCTS
    )
    return list_precisions(context.objective.like.device) if is_open else ()


def count_score_products(context: RunContext) -> float:
    """Count the multiplications of all training gradients with the solutions of the queries."""
    queries, rows = len(context.query_examples), len(context.train_examples)
    shard = min(queries, context.study.run.shard_size)
    scored = context.candidates.estimate_distinct_candidates(rows, shard)
    return float(scored) * queries * context.objective.space.size * len(context.averaged_members)


def expect_precision(context: RunContext) -> Precision:
    """Return the precision of scores, or the one that is likely to be selected."""
    offered = list_offered_precisions(context)
    return offered[0] if offered and context.precision == SINGLE else context.precision


def describe_unused_precision(context: RunContext) -> Iterator[str]:
    """Yield a note if the study sets TF32 for a device without it, which is single precision."""
    device = context.objective.like.device
    if context.study.score_precision == TF32 and TF32 not in list_precisions(device):
        yield (
            f'[run] precision = "tf32" computes scores in single precision on {device.type}, which '
            "has no TF32"
        )
