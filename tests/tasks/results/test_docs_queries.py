"""Every question of docs/guides/queries.md is put to a real store."""

import re
from pathlib import Path

import polars as pl
import pytest
import tiny

import storage
from tasks.mislabels.detect import detect_mislabels
from tasks.run.spec import open_existing_store
from tasks.study.study import load_study

PAGE = Path(__file__).parents[3] / "docs" / "guides" / "queries.md"
QUESTIONS = re.findall(
    r"^## \d+\..*?```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE
)


@pytest.fixture(scope="module")
def answers(made, tmp_path_factory):
    """All answers in their order: a store of two runs and a search for wrong labels."""
    folder = tiny.copy(made, tmp_path_factory.mktemp("questions") / "world")
    tiny.run_directly(folder / "study.toml")
    tiny.write_rows(folder / "queries.csv", tiny.rows_of(folder / "queries.csv")[:-1])
    tiny.run_directly(folder / "study.toml")
    detect_mislabels.fn(str(folder / "study.toml"))
    store = open_existing_store(load_study(folder / "study.toml"))
    names = {"store": store, "run": store.find_latest().record.run, "pl": pl, "storage": storage}
    results = []
    for question in QUESTIONS:
        exec(question, names)
        results.append(names.pop("answer"))
    return results


def test_there_are_ten():
    assert len(QUESTIONS) == 10


@pytest.mark.parametrize("number", range(10))
def test_each_is_answered(answers, number):
    answer = answers[number]
    assert isinstance(answer, pl.DataFrame)
    assert answer.width >= 3
    if number not in (6, 8):  # all answers may be sound, and two runs alike
        assert len(answer) > 0
