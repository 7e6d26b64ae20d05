"""A study with invalid values is refused, with a remedy for every problem."""

import copy
import dataclasses
from typing import Literal

import pytest
from pydantic import ValidationError

from fastif.errors import InputError
from tasks.study.errors import Problem
from tasks.study.sections import Section
from tasks.study.study import load_study
from tasks.study.validation_errors import list_problems
from tests.tasks.study.bad_values import BAD_VALUES
from tests.tasks.study.study_files import insert_loss, refusal, write_changed


@pytest.mark.parametrize("case", BAD_VALUES.values(), ids=list(BAD_VALUES))
def test_a_bad_value_is_named_with_a_remedy(tmp_path, case):
    old, new, key, expected, got, change = case
    error = refusal(write_changed(tmp_path, (old, new)))
    problem = next(p for p in error.problems if p.where == key)
    assert expected in problem.expected
    assert got in problem.got
    assert change in problem.remedy
    assert problem.remedy
    for part in (key, problem.expected, problem.got, problem.remedy):
        assert part in str(error)


@pytest.mark.parametrize("kind", ["dual", "cg", "lissa"])
def test_only_direct_takes_no_damping(tmp_path, kind):
    changes = ("0.1", "0.0"), ('"cg"', f'"{kind}"')
    assert "[curvature] damping" in str(refusal(write_changed(tmp_path, *changes)))
    assert (
        load_study(write_changed(tmp_path, ("0.1", "0"), ('"cg"', '"direct"'))).curvature.damping
        == 0
    )


def test_sketches_take_no_damping_of_zero(tmp_path):
    none, sketch = ("0.1", "0.0"), ('"knn"', '"sketch"')
    direct = ('"cg"', '"direct"')
    coupled = insert_loss('weight_decay_kind = "coupled"', "weight_decay = 0.1")
    (problem,) = refusal(write_changed(tmp_path, none, sketch, direct)).problems
    assert (problem.where, problem.got) == ("[curvature] damping", "0.0")
    assert '"sketch"' in problem.expected
    assert load_study(write_changed(tmp_path, none, direct)).candidates.kind == "knn"
    assert load_study(write_changed(tmp_path, none, sketch, direct, coupled)).fixed_damping == 0.1


def test_scores_by_sketches_alone_count_no_leverage(tmp_path):
    sketch = ('"knn"', '"sketch"\nrescore = false')
    demanded = ("0.1", '0.1\nleverage = "on"')
    (problem,) = refusal(write_changed(tmp_path, sketch, demanded)).problems
    assert (problem.where, problem.got) == ("[curvature] leverage", '"on"')
    assert "rescore" in problem.remedy
    assert load_study(write_changed(tmp_path, demanded)).curvature.leverage == "on"
    assert load_study(write_changed(tmp_path, sketch, ("0.1", '0.1\nleverage = "auto"'))).loss


def test_all_problems_come_at_once(tmp_path):
    error = refusal(write_changed(tmp_path, ("k = 5", "k = 0"), ('"cg"', '"cgg"'), ("0.1", '"x"')))
    assert [p.where for p in error.problems] == [
        "[curvature] damping", "[solver] kind", "[candidates] k",
    ]  # fmt: skip
    assert "3 problems" in str(error)


def test_the_error_survives_a_process_border(tmp_path):
    error = refusal(write_changed(tmp_path, ("k = 5", "k = 0")))
    again = copy.copy(error)  # rebuilt from its arguments, as on the way between processes
    assert str(again) == str(error)
    assert again.problems == error.problems


@pytest.mark.parametrize(
    ("old", "new", "where", "message"),
    [
        ("[model]", 'models = ["a", "a"]\n[model]', "models", "each entry once"),
        ("[model]", 'models = "a"\n[model]', "models", "a list"),
        ("[model]", 'models = [""]\n[model]', "models[1]", "non-empty"),
        ("[model]", 'models = ["a", "out/model"]\n[model]', "models", "always included"),
        ("[run]", "[certificate]\nrows = -1\n[run]", "[certificate] rows", ">= 0"),
        ("[run]", "[certificate]\nrow = 1\n[run]", "[certificate] row", "rows"),
    ],
)
def test_wrong_models_and_certificates(tmp_path, old, new, where, message):
    (problem,) = refusal(write_changed(tmp_path, (old, new))).problems
    assert problem.where == where
    assert message in f"{problem.expected} {problem.remedy}"


def test_a_record_that_refuses_its_own_values():
    """A solver can validate itself; its error becomes a problem of its section."""

    @dataclasses.dataclass(frozen=True)
    class Careful:
        steps: int
        kind: Literal["careful"] = "careful"

        def __post_init__(self):
            if self.steps == 1:
                raise InputError("steps", "an even number", "1", "Take 2.")
            if self.steps == 3:
                raise ValueError("steps must be even")

    class Root(Section):
        solver: Careful

    def problem(steps: int) -> Problem:
        with pytest.raises(ValidationError) as caught:
            Root.model_validate({"solver": {"steps": steps}})
        (only_problem,) = list_problems(caught.value, Root)
        return only_problem

    assert problem(1) == Problem("[solver] (steps)", "an even number", "1", "Take 2.")
    assert (problem(3).where, problem(3).expected) == ("[solver]", "steps must be even")
