"""Problems of several inputs are stated in one error."""

import pytest
import tiny

from fastif import InputError
from tasks.mislabels.detection_plan import read_detection_plan
from tasks.run.spec import plan_run
from tasks.study.errors import Problem, StudyError
from tasks.study.joined_errors import call_all

FIRST = Problem("a", "1", "2", "do this")


def _raise(error):
    raise error


def test_results_come_in_order_and_a_single_error_stays_as_it_is(tmp_path):
    assert call_all(tmp_path, lambda: 1, lambda: "two") == [1, "two"]
    error = InputError("a", "b", "c", "d")
    with pytest.raises(InputError) as raised:
        call_all(tmp_path, lambda: 1, lambda: _raise(error))
    assert raised.value is error


def test_problems_of_all_inputs_are_joined_once_each(tmp_path):
    file = tmp_path / "study.toml"
    with pytest.raises(StudyError) as raised:
        call_all(
            file,
            lambda: _raise(StudyError("t.csv", [FIRST])),
            lambda: _raise(StudyError(file, [FIRST])),
            lambda: _raise(InputError("model m", "x", "y", "Do that.")),
            lambda: _raise(StudyError("t.csv", [FIRST])),
        )
    problems = [problem.where for problem in raised.value.problems]
    assert problems == ["t.csv, a", "a", "model m"]
    assert raised.value.file == str(file)


def test_other_errors_pass(tmp_path):
    with pytest.raises(ZeroDivisionError):
        call_all(tmp_path, lambda: 1 / 0, lambda: _raise(InputError("a", "b", "c", "d")))


def test_missing_tables_and_a_missing_model_are_named_at_once(world):
    for name in ("train.csv", "queries.csv"):
        (world / name).unlink()
    (world / "model").rename(world / "modle")
    for read in (plan_run, read_detection_plan):
        with pytest.raises(StudyError) as raised:
            read(world / "study.toml")
        text = str(raised.value)
        assert "3 problems" in text
        assert all(name in text for name in ("train.csv", "queries.csv", "no folder"))


def test_every_table_is_read_even_if_the_first_has_a_problem(world):
    for name in ("train", "queries"):
        rows = tiny.rows_of(world / f"{name}.csv")
        rows[2]["label"] = "Pos"
        tiny.write_rows(world / f"{name}.csv", rows)
    with pytest.raises(StudyError) as raised:
        plan_run(world / "study.toml")
    assert [p.got for p in raised.value.problems] == ['row 3: "Pos"'] * 2
