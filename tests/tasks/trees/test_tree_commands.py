"""Commands on audited boosted trees: page, queries of results, two nights, doctor and labels."""

import html
import re

import polars as pl
import pytest
from tree_worlds import make_audit_world, train_model
from typer.testing import CliRunner

from flows.cli.app import app
from storage import Store
from tasks.audit.in_process import audit_in_process
from tasks.audit.single_query import make_request
from tasks.audit.tree_query import attribute_tree_query
from tasks.run.spec import plan_run

NONSENSE = ("damping", "curvature", "residual of", "gradient product", "NaN", "nan ", "token")


def run(*words):
    answer = CliRunner().invoke(app, [str(word) for word in words])
    return answer, " ".join(answer.output.replace("│", " ").split())


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """A study that was audited, and again with four rows less and the model trained anew."""
    folder = tmp_path_factory.mktemp("nights")
    study = make_audit_world(folder)
    runs = [audit_in_process(plan_run(study))[1]]
    train = pl.read_parquet(folder / "train.parquet").head(116)
    train.write_parquet(folder / "train.parquet")
    train_model(train, "class", "lightgbm", folder, weights=train["weight"])
    runs.append(audit_in_process(plan_run(study))[1])
    assert runs[0] != runs[1]
    return study, runs


def read_page(path):
    text = re.sub(r"<(script|style).*?</\1>", "", path.read_text(), flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def test_the_page_says_what_was_checked_and_nothing_of_a_curvature(night, tmp_path):
    study, _ = night
    page = tmp_path / "page.html"
    answer, output = run("report", "--out", page, study)
    assert answer.exit_code == 0, output
    text = read_page(page)
    assert "leaf values of all trees were fitted again without that row" in text
    assert "leaf values repeated" in text
    assert "no linear system is solved" in text
    for word in NONSENSE:
        assert word not in text, text[max(0, text.find(word) - 80) :][:200]
    answer, output = run("report", "--format", "json", study)
    assert answer.exit_code == 0, output


def test_two_nights_with_two_models_are_compared(night):
    study, runs = night
    answer, output = run("diff", *runs, study)
    assert answer.exit_code == 0, output
    assert "another model" in output
    assert "116 the same, 4 removed" in output
    answer, output = run("bisect", *runs, study)
    assert answer.exit_code == 2
    assert "boosted trees" in output


def test_results_are_read_and_exported(night, tmp_path):
    study, runs = night
    answer, output = run("top", "queries-1", study)
    assert answer.exit_code == 0, output
    assert "harmful" in output
    answer, output = run("top", "queries-1", "--layers", study)
    assert answer.exit_code == 2
    assert "boosted trees" in output
    answer, output = run("show", "train-5", study)
    assert answer.exit_code == 0, output
    answer, output = run("runs", study)
    assert answer.exit_code == 0, output
    assert all(name in output for name in runs)
    out = tmp_path / "scores.parquet"
    answer, output = run("export", "scores", "--out", out, study)
    assert answer.exit_code == 0, output
    assert len(pl.read_parquet(out)) == 8 * 116


def test_doctor_repeats_the_training(night):
    study, _ = night
    answer, output = run("doctor", study)
    assert answer.exit_code == 0, output
    assert "training repeated" in output
    assert "predictions of the library: raw scores differ" in output
    assert "fail" not in output


def test_a_forecast_writes_nothing(night):
    study, _ = night
    answer, output = run("audit", "--dry-run", study)
    assert answer.exit_code == 0, output
    assert "Nothing was written" in output


def test_labels_are_searched_without_the_model(night, tmp_path):
    study, _ = night
    answer, output = run("mislabels", study)
    assert answer.exit_code == 0, output
    assert "harm to all queries" in output  # of the audit
    out = tmp_path / "review.csv"
    answer, output = run("review", "export", "--out", out, study)
    assert answer.exit_code == 0, output
    assert len(pl.read_csv(out)) > 10
    page = tmp_path / "page.html"
    answer, output = run("report", "--out", page, study)
    assert answer.exit_code == 0, output
    assert "suggested" in read_page(page)


def test_one_query_is_explained_by_one_scan(night):
    study, runs = night
    plan = plan_run(study)
    request = make_request(plan.inputs, "queries-2", None, 3)
    explained = attribute_tree_query.fn(request, plan.ref)
    store = Store.open(study.parent / "store", "tiny")
    scores = store.scan("scores", runs[1]).filter(pl.col("query") == request.query).collect()
    stored = dict(scores.select("train", "removal_effect").rows())
    shown = [*explained.harmful, *explained.helpful]
    assert len(shown) == 6
    assert all(row["removal_effect"] == stored[row["train"]] for row in shown)
    assert [row["removal_effect"] for row in explained.harmful] == sorted(stored.values())[:3]
