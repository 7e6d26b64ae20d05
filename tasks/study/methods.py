"""Where in a study file each method that searches for candidates stands."""

from tasks.study.sections import (
    AnyCandidates,
    AnyMethod,
    Sketches,
    UnionOf,
)


def placed(candidates: AnyCandidates) -> list[tuple[str, AnyMethod]]:
    """The methods that search, and where each stands in the file."""
    if not isinstance(candidates, UnionOf):
        return [("[candidates]", method) for method in candidates.methods]
    return [(f"[candidates] of[{i + 1}]", method) for i, method in enumerate(candidates.of)]


def by_sketches(candidates: AnyCandidates) -> bool:
    """Whether scores are left as sketches give them, and nothing is solved."""
    return any(isinstance(one, Sketches) and not one.rescore for one in candidates.methods)
