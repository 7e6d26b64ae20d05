"""Scorer of a full scan in reduced precision: bfloat16, or s_test of low rank."""

from fastif.attribution.low_rank_scorer import make_low_rank_scorer
from fastif.attribution.scorers import Scorer
from fastif.candidates.retrieval import Search


def approximate_scorer(scorer: Scorer, search: Search) -> Scorer:
    """Return the scorer in bfloat16 or of low rank, as a search's `rounded` and `rank` request."""
    return (
        scorer.to_bfloat16() if search.rank is None else make_low_rank_scorer(scorer, search.rank)
    )
