"""Where in a study file each method that searches for candidates stands."""

from tasks.study.candidates import AnyCandidates, AnyMethod, SketchSection, UnionSection


def locate_methods(candidates: AnyCandidates) -> list[tuple[str, AnyMethod]]:
    """The methods that search, and where each stands in the file."""
    if not isinstance(candidates, UnionSection):
        return [("[candidates]", method) for method in candidates.methods]
    return [(f"[candidates] of[{i + 1}]", method) for i, method in enumerate(candidates.of)]


def has_sketch_scores(candidates: AnyCandidates) -> bool:
    """Whether scores are left as sketches give them, and nothing is solved."""
    return any(
        isinstance(method, SketchSection) and not method.rescore for method in candidates.methods
    )
