"""Lookups in a study of features: rows of numbers and categories, read as the training table."""

import model_kinds
import pytest
import tiny

from fastif import InputError
from tasks.run.existing_store import open_existing_store
from tasks.service.engine import Wish
from tasks.service.open_engine import open_engine
from tasks.study.errors import StudyError


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        kind = model_kinds.make_own(tmp_path_factory.mktemp("features") / "own", patch)
        sketches = tiny.SKETCH | {"k": 10, "rescore": False}
        study = kind.write(candidates=sketches)
        store, run = tiny.run_directly(study)
        yield open_engine(study), store.scan("scores", run).collect(), kind.folder


def _list_queries(folder):
    import polars as pl

    rows = pl.read_parquet(folder / "queries.parquet").to_dicts()
    return [{name: row[name] for name in ("age", "income", "job", "label")} for row in rows]


def test_rows_have_the_effects_of_the_run_one_by_one(opened):
    engine, scores, folder = opened
    assert open_existing_store(engine.study).find_latest().finished
    for query, row in enumerate(_list_queries(folder)[:8]):
        (answer,) = engine.explain(engine.read_rows([row]), Wish(5))
        stored = dict(scores.filter(query=query).select("train", "removal_effect").iter_rows())
        actual = {r.position: r.effect for r in (*answer.helpful, *answer.harmful)}
        assert actual == pytest.approx({r: stored[r] for r in actual}, rel=1e-3, abs=1e-7)
        assert answer.label == row["label"]


def test_a_missing_category_is_read_as_in_the_training_table(opened):
    engine, *_ = opened
    (answer,) = engine.explain(engine.read_rows([{"age": 40, "income": 0.5, "job": None}]))
    assert answer.prediction in engine.study.labels
    both = engine.explain(
        engine.read_rows([{"age": 40, "income": 0.5, "job": job} for job in (None, "cook")])
    )
    assert both[0].probability == pytest.approx(answer.probability, rel=1e-5)
    assert both[1].probability != both[0].probability


def test_whole_numbers_and_fractions_of_a_column_are_not_mixed_up(opened):
    engine, *_ = opened
    rows = [{"age": age, "income": 0.5, "job": "cook"} for age in (40, 41.5, None)]
    together = engine.explain(engine.read_rows(rows))
    for row, answer in zip(rows, together, strict=True):
        (alone,) = engine.explain(engine.read_rows([row]))
        assert alone.prediction == answer.prediction
        if row["age"] is None:  # not a number for this model
            assert alone.reason == answer.reason == "the model's outputs are not finite"
        else:
            assert alone.probability == pytest.approx(answer.probability, rel=1e-5)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"age": "old", "income": 0.5, "job": "cook"}, "numbers, as in .train.; got categories"),
        ({"age": 40, "income": 0.5, "job": 3}, "categories, as in .train.; got numbers"),
        ({"age": 40, "income": 0.5}, "job"),
        ({"age": 40, "income": [1.0, 2.0], "job": "cook"}, "column income"),
        ({"age": 40, "income": {"a": 1}, "job": "cook"}, "column income"),
        ({"age": 40, "income": 0.5, "job": "cook", "more": 1}, "the columns age, income, job"),
        ({"age": 10**400, "income": 0.5, "job": "cook"}, "age: expected a finite number"),
        ({"age": 2**60 + 1, "income": 0.5, "job": "cook"}, "column age"),
        ({"age": 40, "income": float("inf"), "job": "cook"}, "income: expected a finite number"),
        ({"age": 40, "income": float("nan"), "job": "cook"}, "income: expected a finite number"),
    ],
)
def test_features_of_other_kinds_are_refused(opened, row, words):
    with pytest.raises((InputError, StudyError), match=words):
        opened[0].explain(opened[0].read_rows([row]))
