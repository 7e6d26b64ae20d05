"""Errors of three packages that may not import each other: the same four parts, in one layout."""

import pickle
from dataclasses import astuple, fields

import pytest

from fastif import InputError
from storage import StoreError
from tasks.study.errors import Problem, StudyError

PARTS = {"where": "[solver] kind", "expected": "dual", "got": "duel", "remedy": "Correct it."}


@pytest.mark.parametrize("kind", [InputError, StoreError])
def test_an_error_says_its_four_parts_in_one_line(kind):
    error = kind(**PARTS)
    assert str(error) == "[solver] kind: expected dual; got duel. Correct it."
    copy = pickle.loads(pickle.dumps(error))
    for other in (error, copy):
        assert {name: getattr(other, name) for name in PARTS} == PARTS
        assert str(other) == str(error)


def test_a_study_lists_the_same_parts_below_each_other():
    problem = Problem(**PARTS)
    assert [field.name for field in fields(Problem)] == list(PARTS)
    assert str(StudyError("study.toml", [problem])).splitlines() == [
        "study.toml: 1 problem",
        "  [solver] kind",
        "    expected: dual",
        "    got:      duel",
        "    remedy:   Correct it.",
    ]
    assert astuple(pickle.loads(pickle.dumps(problem))) == tuple(PARTS.values())
