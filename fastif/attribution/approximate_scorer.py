"""The scorer that a scan takes in place of the exact one."""

from fastif.attribution.low_rank_scorer import make_low_rank_scorer
from fastif.attribution.scorers import Scorer
from fastif.candidates.retrieval import Search


def approximate_scorer(scorer: Scorer, search: Search) -> Scorer:
    """In bfloat16, or of low rank, as a search says that is not exact."""
    return (
        scorer.to_bfloat16() if search.rank is None else make_low_rank_scorer(scorer, search.rank)
    )
