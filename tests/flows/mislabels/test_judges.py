"""Classifiers of a detection: the study's training, another classifier, trusted queries."""

import pytest
import tiny
from command_line import invoke as run
from noisy_study import BASE, run_search

from fastif import InputError
from tasks.mislabels.results import read_latest_result
from tasks.run.spec import open_existing_store
from tasks.study.study import load_study


@pytest.mark.long
def test_the_studys_training_is_cross_fitted(noisy, monkeypatch):
    changes = {"training": {**BASE, "epochs": 3}, "mislabels": {"budget": 20, "folds": 3}}
    tiny.write_study(noisy.parent, **changes)
    fitted_ids = []
    from tasks.mislabels import cross_fitted_classifier as module

    real = module.fastif.fit
    monkeypatch.setattr(
        module.fastif,
        "fit",
        lambda o, rows, *a: fitted_ids.append(set(rows.ids.tolist())) or real(o, rows, *a),
    )
    ranking = run_search(noisy).table
    assert ranking["judged_loss"].null_count() == 0
    assert len(fitted_ids) == 3
    left_out = [set(range(120)) - kept for kept in fitted_ids]
    assert sorted(row for fold in left_out for row in fold) == list(range(120))
    tiny.write_study(noisy.parent, **{**changes, "mislabels": {"budget": 21, "folds": 3}})
    run_search(noisy)
    assert len(fitted_ids) == 3  # cached


def test_another_classifier_is_a_judge(noisy):
    tiny.make_other(noisy.parent, "other", seed=1)
    tiny.write_study(noisy.parent, training=BASE, mislabels={"judge": "other"})
    assert run_search(noisy).table["judged_loss"].null_count() == 0
    tiny.write_study(noisy.parent, training=BASE, mislabels={"judge": "model"})
    with pytest.raises(InputError, match="never trained on these rows"):
        run_search(noisy)


def test_folds_without_training_are_refused(world):
    done = run("mislabels", tiny.write_study(world, mislabels={"folds": 3}))
    assert done.exit_code == 2
    assert "[mislabels] folds" in done.output


@pytest.mark.long
def test_trusted_queries_are_used_and_reported(noisy):
    tiny.write_study(noisy.parent, training=BASE, queries={"trusted": True})
    done = run("mislabels", noisy)
    assert done.exit_code == 0, done.output
    assert f"{tiny.QUERIES} queries with trusted labels" in done.output
    assert (
        read_latest_result(open_existing_store(load_study(noisy)))
        .table["trusted_loss"]
        .null_count()
        == 0
    )


@pytest.mark.long
def test_trusted_queries_among_the_training_rows_are_reported(world):
    """They are no independent evidence, and without a random sample there is no count."""
    rows = tiny.rows_of(world / "train.csv")[:30]
    tiny.write_rows(world / "queries.csv", rows)
    study = tiny.write_study(world, training=BASE, queries={"trusted": True})
    done = run("mislabels", study)
    assert "30 of these are verbatim training rows" in " ".join(done.output.split())
    facts = read_latest_result(open_existing_store(load_study(study))).facts
    assert facts["errors"] is None
    assert all(set(count) == {"rows"} for count in facts["by_label"].values())


def test_trusted_queries_of_one_class_are_refused(noisy):
    rows = tiny.rows_of(noisy.parent / "queries.csv")
    only = [{**row, "label": "pos"} for row in rows]
    tiny.write_rows(noisy.parent / "queries.csv", only)
    tiny.write_study(noisy.parent, training=BASE, queries={"trusted": True})
    done = run("mislabels", noisy)
    assert done.exit_code == 2
    assert "two or more of each class" in " ".join(done.output.split())
