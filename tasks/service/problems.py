"""Problems of an error in the four parts that the command line prints."""

from fastif import InputError
from tasks.study.errors import StudyError


def list_problems(error: InputError | StudyError) -> list[dict[str, str]]:
    """Return the problems of an error, each with place, expectation, finding and change."""
    if isinstance(error, StudyError):
        return [
            {"where": p.where, "expected": p.expected, "got": p.got, "change": p.remedy}
            for p in error.problems
        ]
    parts = (error.where, error.expected, error.got, error.remedy)
    return [dict(zip(("where", "expected", "got", "change"), parts, strict=True))]
