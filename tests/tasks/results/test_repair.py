"""Damage is reported with the command that repairs it, and before any work."""

import pytest

from tests.tasks.results.damaged_stores import first_run_name, flip, lose, run, store_of


@pytest.fixture
def annotated(searched):
    """A store with an audit, a search for wrong labels and annotations."""
    review = searched / "review.csv"
    review.write_text("id,right_label,reviewer\ntrain-1,pos,ann\n")
    assert run("review", "import", review, "--study", searched / "study.toml")[0] == 0
    return searched


def test_verify_names_what_repairs_the_damage(annotated):
    study, store = annotated / "study.toml", store_of(annotated)
    assert "--repair" not in run("verify", "--study", study)[1]
    (search,), (verdicts,) = (store.find_artifacts(kind) for kind in ("mislabels", "verdicts"))
    flip(store.layout.artifact("mislabels", search) / "mislabels.parquet")
    text = run("verify", "--study", study)[1]
    assert "1 problem " in text
    assert "`fastif verify --repair` removes them" in text
    assert "backup" not in text
    flip(store.layout.artifact("verdicts", verdicts) / "verdicts.parquet")
    text = run("verify", "--study", study)[1]
    assert "2 problems " in text
    assert "Not repairable (verdicts)" in text
    path = sorted(store.layout.table("scores", first_run_name(annotated)).rglob("*.parquet"))[0]
    lose(path)
    text = run("verify", "--study", study)[1]
    assert "`fastif verify --repair`, then `fastif audit`" in text
    assert "verify --repair" in run("top", "query-1", "--study", study)[1]


def test_a_damaged_search_is_reported_before_the_work(annotated, monkeypatch):
    store = store_of(annotated)
    (digest,) = store.find_artifacts("mislabels")
    flip(store.layout.artifact("mislabels", digest) / "facts.json")
    monkeypatch.setattr("tasks.mislabels.detect._run_detector", None)  # any call would fail
    code, text = run("mislabels", "--study", annotated / "study.toml")
    assert code == 2
    assert "verify --repair" in text
