"""Scorer in reduced precision, or with s_test of low rank."""

from fastif.attribution.low_rank_scorer import make_low_rank_scorer
from fastif.attribution.scorers import Scorer
from fastif.numerics.precision import Precision


def approximate_scorer(scorer: Scorer, rank: int | None, precision: Precision) -> Scorer:
    """Return the scorer with s_test of this rank; without one, in this precision."""
    if rank is not None:
        return make_low_rank_scorer(scorer, rank)
    return scorer.with_precision(precision)
