"""Rules between the precision of scores and the method that selects candidates."""

from collections.abc import Iterator

from tasks.study.any_candidates import AnyCandidates
from tasks.study.errors import Problem, format_value


def check_precision(precision: str, candidates: AnyCandidates) -> Iterator[Problem]:
    """Yield a problem for each setting of `[candidates]` that the precision of `[run]` excludes."""
    got, is_reduced = format_value(precision), precision in ("tf32", "bf16")
    if candidates.has_half_precision and precision not in ("auto", "bf16"):
        expected = '"bf16", since [candidates] precision = "bfloat16"'
        yield Problem("[run] precision", expected, got, "remove precision from [candidates]")
    if candidates.score_rank is not None and is_reduced:
        expected = '"auto" or "single" together with [candidates] rank'
        yield Problem("[run] precision", expected, got, "remove one of the two")
    if candidates.has_sketch_scores and is_reduced:
        expected = '"auto" or "single": sketch scores are products of sketches alone'
        yield Problem("[run] precision", expected, got, "remove it")
