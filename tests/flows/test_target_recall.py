"""target_recall: the k of a brute-force search, chosen once, stored and reported; or all rows."""

import json

import polars as pl
import pytest
import tiny
from typer.testing import CliRunner

from fastif.evaluation import select_k as rule
from fastif.evaluation.select_k import make_k_grid
from flows.cli import app as cli
from tasks.audit import select_k as chooser
from tasks.audit.check_recall import sample_queries_for_k
from tasks.planning.forecast import forecast_run
from tasks.planning.open_run import load_run
from tasks.results.summary import read_summary
from tasks.run.spec import list_missing_shards, open_store, plan_run

TEN = 10
"""Size of the top that is used, since a top 100 would contain all 60 rows."""


@pytest.fixture
def world(made, tmp_path, monkeypatch):
    monkeypatch.setattr(rule, "TOP_SIZE", TEN)
    return tiny.copy(made, tmp_path / "world")


def _by_recall(target, **changes):
    return {"kind": "sketch", "dimensions": 6, "width": 4096, "target_recall": target} | changes


def _shares(world, candidates) -> dict[int, dict[int, float]]:
    """Recall of the top 10 by k and query, each from two separate audits."""
    full = tiny.write_study(world, "f.toml", candidates={"kind": "full"}, store={"path": "full"})
    store, run = tiny.run_directly(full)
    effects = store.scan("scores", run).collect()
    top = effects.sort(pl.col("removal_effect").abs(), descending=True)
    top = top.group_by("query", maintain_order=True).head(TEN)
    shares = {}
    for k in make_k_grid(tiny.TRAIN):
        given = {name: value for name, value in candidates.items() if name != "target_recall"}
        changes = {"candidates": given | {"k": k, "check": 0}, "store": {"path": f"k-{k}"}}
        result = tiny.run_directly(tiny.write_study(world, "k.toml", **changes))
        hits = top.join(
            result[0].scan("scores", result[1]).collect(), on=["query", "train"], how="semi"
        )
        counts = dict(hits.group_by("query").len().iter_rows())
        shares[k] = {query: counts.get(query, 0) / TEN for query in range(tiny.QUERIES)}
    return shares


@pytest.mark.long
def test_the_k_is_the_one_that_brute_force_chooses_and_is_kept(world, monkeypatch):
    candidates = _by_recall(0.75)
    study = tiny.write_study(world, candidates=candidates)
    before = load_run(plan_run(study))
    assert forecast_run(before, before.plan.record.list_shards()).guessed_k == 6
    store, run = tiny.run_directly(study)
    context = load_run(plan_run(study))
    choice, check_queries = context.k_selection, sample_queries_for_k(context)
    assert choice is not None
    shares = _shares(world, candidates)
    weights = dict(zip(check_queries.ids.tolist(), check_queries.weights.tolist(), strict=True))
    total = sum(weights.values())
    means = {k: sum(w * each[q] for q, w in weights.items()) / total for k, each in shares.items()}
    expected = next(k for k, mean in means.items() if mean >= 0.75)
    assert choice.k == expected
    assert make_k_grid(tiny.TRAIN)[0] < expected, "the first would be chosen by anything"
    for rung in choice.tried:
        assert rung.share == pytest.approx(means[rung.k])
    assert choice.queries == len(weights) == 16
    counts = store.scan("scores", run).group_by("query").len().collect()["len"]
    assert counts.unique().to_list() == [expected]
    facts = json.loads(store.scan("runs", run).collect()["candidates"].item())
    assert facts["chosen"]["k"] == expected
    assert (
        f"k = {expected}, the smallest"
        in dict(read_summary(store, run, study).evidence)["candidates chosen"]
    )
    assert forecast_run(context, []).guessed_k is None

    def again(*_):
        raise AssertionError("it was chosen a second time")

    monkeypatch.setattr(chooser, "_choose_k", again)
    tiny.run_directly(tiny.write_study(world, candidates=candidates, run={"batch_size": 3}), "more")
    assert _rows(store, "more").equals(_rows(store, run))


def _rows(store, run) -> pl.DataFrame:
    scores = store.scan("scores", run).select("query", "train").collect()
    return scores.sort("query", "train")


@pytest.mark.long
def test_a_resumed_run_keeps_its_k(world, monkeypatch):
    study = tiny.write_study(world, candidates=_by_recall(0.75))
    whole, run = tiny.run_directly(study)
    expected = _rows(whole, run)
    changed = tiny.write_study(world, candidates=_by_recall(0.75), store={"path": "b"})
    attribute, done = tiny.attribute_shard.fn, []

    def stops(shard, ref):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(attribute(shard, ref))

    with monkeypatch.context() as patched:
        patched.setattr(tiny.attribute_shard, "fn", stops)
        with pytest.raises(KeyboardInterrupt):
            tiny.run_directly(changed)
    store = open_store(plan_run(changed))
    assert len(list_missing_shards(store, run)) == 2
    monkeypatch.setattr(rule, "PERCENTS", (50,))  # what it would choose now is another k
    monkeypatch.setattr(chooser, "make_k_grid", lambda count: (count,))
    tiny.run_directly(changed)
    assert _rows(store, run).equals(expected)


@pytest.mark.long
def test_every_row_is_scored_if_no_k_reaches_the_target(world):
    candidates = {"kind": "knn", "target_recall": 1.0}
    study = tiny.write_study(world, candidates=candidates)
    store, run = tiny.run_directly(study)
    full = tiny.write_study(world, "f.toml", candidates={"kind": "full"}, store={"path": "b"})
    other, same = tiny.run_directly(full)
    assert _rows(store, run).equals(_rows(other, same))
    summary = read_summary(store, run, study)
    assert "all rows, since no k up to 30 has recall" in dict(summary.evidence)["candidates chosen"]
    (alarm,) = [alarm for alarm in summary.warnings if "target_recall" in alarm]
    assert "every row was scored" in alarm
    assert summary.recall == []
    facts = json.loads(store.scan("runs", run).collect()["candidates"].item())
    assert (facts["kind"], facts["chosen"]["k"]) == ("knn", None)


@pytest.mark.long
def test_the_final_recall_is_measured_on_other_queries(world):
    study = tiny.write_study(world, candidates=_by_recall(0.75, check=1))
    store, run = tiny.run_directly(study)
    (query,) = set(range(tiny.QUERIES)) - set(
        sample_queries_for_k(load_run(plan_run(study))).ids.tolist()
    )
    label = store.scan("queries", run).filter(pl.col("query") == query).collect()["label"].item()
    recall = read_summary(store, run, study).recall
    assert {entry["label"] for entry in recall if entry["label"]} == {label}


def test_a_dry_run_reports_that_k_is_not_chosen_yet(world):
    study = tiny.write_study(world, candidates=_by_recall(0.75))
    done = CliRunner().invoke(cli.app, ["audit", str(study), "--dry-run"])
    assert done.exit_code == 0
    assert "k is not chosen yet; forecast for k = 6" in done.output


@pytest.mark.long
@pytest.mark.flow
def test_the_flow_chooses_before_it_attributes(world, prefect, monkeypatch):
    for name, value in prefect.items():
        monkeypatch.setenv(name, value)
    from flows.audit import audit

    study = tiny.write_study(world, candidates=_by_recall(0.75))
    run = audit(str(study))
    context = load_run(plan_run(study))
    assert context.k_selection is not None
    counts = context.store.scan("scores", run).group_by("query").len().collect()["len"]
    assert counts.unique().to_list() == [context.k_selection.k]
