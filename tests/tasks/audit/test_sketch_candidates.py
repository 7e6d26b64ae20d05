"""Candidates by sketches: an audit finds the rows of a full scan with equal scores."""

import polars as pl
import pytest
import tiny
import torch
from typer.testing import CliRunner

from flows.cli import app as cli
from tasks.audit import check_recall as recall_task
from tasks.planning.forecast import forecast_run
from tasks.planning.open_run import load_run
from tasks.results.summary import read_summary
from tasks.run.spec import plan_run

K = 12


@pytest.fixture
def world(made, tmp_path):
    return tiny.copy(made, tmp_path / "world")


@pytest.fixture(scope="module")
def full_scan(made, tmp_path_factory):
    """Store, run and study of an audit that scores every row; only read."""
    folder = tiny.copy(made, tmp_path_factory.mktemp("full") / "made")
    study = tiny.write_study(folder, candidates={"kind": "full", "keep": 60})
    return *tiny.run_directly(study), study


def _sketch(**changes):
    return {"kind": "sketch", "k": K, "dimensions": 60, "width": 4096, "energy": 1} | changes


def _top_bottom(scores: pl.DataFrame) -> pl.DataFrame:
    """Return the K / 2 most harmful and the K / 2 most helpful rows of each query."""
    ordered = scores.sort("query", "removal_effect")
    each = ordered.group_by("query", maintain_order=True)
    return pl.concat([each.head(K // 2), each.tail(K // 2)])


@pytest.mark.long
def test_sketches_of_full_rank_find_the_rows_of_a_full_scan(world, full_scan):
    store, run, _ = full_scan
    other, same = tiny.run_directly(tiny.write_study(world, candidates=_sketch(check=0)))
    expected = _top_bottom(store.scan("scores", run).collect())
    actual = other.scan("scores", same).collect()
    assert actual.height == tiny.QUERIES * K
    both = actual.join(expected, on=["query", "train"], suffix="_full")
    assert both.height > 0.97 * actual.height
    assert (both["removal_effect"] - both["removal_effect_full"]).abs().max() < 1e-5
    assert actual["distance"].null_count() == actual.height


@pytest.mark.long
def test_sketches_are_computed_once_for_each_damping(world):
    def parts():
        return len(list((world / "store" / "parts" / "index").iterdir()))

    study = tiny.write_study(world, candidates=_sketch(check=0))
    before = load_run(plan_run(study))
    assert forecast_run(before, before.plan.record.list_shards()).stages["index"] > 0
    tiny.run_directly(study)
    tiny.run_directly(tiny.write_study(world, candidates=_sketch(k=5, check=0)))
    assert parts() == 1
    context = load_run(plan_run(study))
    assert forecast_run(context, context.plan.record.list_shards()).stages["index"] == 0
    other = tiny.write_study(world, candidates=_sketch(check=0), curvature={"damping": 0.7})
    tiny.run_directly(other)
    assert parts() == 2


@pytest.mark.long
@pytest.mark.parametrize(
    "candidates", [_sketch(k=24, check=4), {"kind": "knn", "k": 12, "check": 4}]
)
def test_recall_of_the_candidates_is_measured(world, full_scan, candidates):
    study = tiny.write_study(world, candidates=candidates, store={"path": "a"})
    store, run = tiny.run_directly(study)
    summary = read_summary(store, run, study)
    ten, sixty = summary.recall[:2]
    assert all(entry["label"] or entry["slice"] for entry in summary.recall[2:])
    assert (ten["at"], sixty["at"], ten["queries"]) == (10, 60, 4)
    other, same, full = full_scan
    assert read_summary(other, same, full).recall == []
    effects = other.scan("scores", same).collect()
    top = effects.sort(pl.col("removal_effect").abs(), descending=True)
    top = top.group_by("query", maintain_order=True).head(10)
    hits = top.join(store.scan("scores", run).collect(), on=["query", "train"], how="semi")
    shares = hits.group_by("query").len()["len"] / 10
    assert shares.min() <= ten["share"] <= shares.max()
    assert sixty["share"] == pytest.approx(candidates["k"] / 60, abs=0.02)
    assert dict(summary.evidence)["recall"].endswith("4 queries scanned in full")
    assert ten["low"] < ten["share"] <= ten["high"]


def test_a_factory_and_a_k_that_do_not_fit_are_refused(world):
    for changes, words in (({"k": 61}, "[candidates] k"), ({"factory": "Flatt"}, "factory")):
        study = tiny.write_study(world, candidates=_sketch(**changes))
        done = CliRunner().invoke(cli.app, ["audit", str(study)])
        assert done.exit_code == 2
        assert words in done.output


@pytest.mark.long
def test_a_label_with_low_recall_is_reported(world, monkeypatch):
    """The most influential rows are removed from the scores of all queries of one label."""
    study = tiny.write_study(world, candidates=_sketch(k=50, check=12))
    original = recall_task._read_candidates

    def find_none_of_label(context, run, ids):
        texts = context.query_examples.labels[ids].tolist()
        rows, effects = original(context, run, ids)
        pairs, none = zip(rows, texts, strict=True), torch.empty(0, dtype=torch.long)
        return [none if label else row_ids for row_ids, label in pairs], effects

    monkeypatch.setattr(recall_task, "_read_candidates", find_none_of_label)
    store, run = tiny.run_directly(study)
    summary = read_summary(store, run, study)
    (alarm,) = [alarm for alarm in summary.warnings if "Recall is lower" in alarm]
    assert alarm.startswith("Recall is lower for label pos: 0.00 of the top 10")
    groups = [(entry["label"], entry["slice"]) for entry in summary.recall if entry["at"] == 10]
    kinds = ("[bold]odd[/bold]", "plain")
    assert groups == [(None, None), ("neg", None), ("pos", None), *((None, k) for k in kinds)]
    by_label = {entry["label"]: entry for entry in summary.recall if entry["at"] == 10}
    assert by_label["neg"]["queries"] + by_label["pos"]["queries"] == 12
    rows = tiny.rows_of(world / "queries.csv")
    share = sum(row["label"] == "neg" for row in rows) / len(rows)
    assert summary.recall[0]["share"] == pytest.approx(share * by_label["neg"]["share"], abs=1e-6)


KNN = {"kind": "knn", "k": 8}


def _by_query(store, run) -> dict[int, set[int]]:
    scores = store.scan("scores", run).collect()
    return {q: set(rows) for q, rows in scores.group_by("query").agg("train").iter_rows()}


@pytest.mark.long
def test_a_union_scores_the_candidates_of_both_and_reports_the_recall_of_each(world):
    members = [_sketch(), KNN | {"quota": 0.5}]
    union = {"kind": "union", "of": members, "check": 6}
    study = tiny.write_study(world, candidates=union, store={"path": "a"})
    before = load_run(plan_run(study))
    estimate = forecast_run(before, before.plan.record.list_shards())
    assert estimate.stages["index"] > 0
    assert estimate.pairs == tiny.QUERIES * (K + 8)
    store, run = tiny.run_directly(study)
    summary = read_summary(store, run, study)
    alone = []
    for place, member in enumerate(members):
        name = f"{place}.toml"
        member_study = tiny.write_study(
            world, name, candidates=member | {"check": 6}, store={"path": f"of{place}"}
        )
        alone.append((*tiny.run_directly(member_study), member_study))
    both = _by_query(store, run)
    sketch, knn = (_by_query(other, same) for other, same, _ in alone)
    assert both == {query: sketch[query] | knn[query] for query in both}
    distances = store.scan("scores", run).collect()["distance"]
    assert distances.null_count() == len(distances)
    for (other, same, member_study), name in zip(alone, ("sketch", "knn"), strict=True):
        entries = [row | {"method": name} for row in read_summary(other, same, member_study).recall]
        assert [row for row in summary.recall if row["method"] == name] == entries
        shares = " and ".join(f"{row['share']:.2f}" for row in entries[:2])
        assert f"; {name} alone {shares}" in dict(summary.evidence)["recall"]
    assert len(list((world / "a" / "parts" / "index").iterdir())) == 2


@pytest.mark.long
@pytest.mark.parametrize("kind", ["knn", "sketch"])
def test_a_quota_gives_every_query_rows_of_both_labels(world, kind):
    candidates = (KNN if kind == "knn" else _sketch(k=8)) | {"quota": 0.5, "check": 0}
    store, run = tiny.run_directly(tiny.write_study(world, candidates=candidates))
    scores = store.scan("scores", run).collect()
    train = store.scan("train", run).select("train", "label").collect()
    counts = scores.join(train, on="train").group_by("query", "label").len()
    assert counts["len"].to_list() == [4] * 2 * tiny.QUERIES


def test_default_settings_do_not_change_the_names_of_runs(world):
    for candidates in (_sketch(), KNN, {"kind": "full"}):
        plan = plan_run(tiny.write_study(world, candidates=candidates))
        assert not {"quota", "target_recall"} & set(plan.record.parts["candidates"])


def test_scores_by_sketches_are_stored_with_their_measured_agreement(world):
    exact = tiny.write_study(world, candidates=_sketch(check=4), store={"path": "a"})
    study = tiny.write_study(
        world, "tier.toml", candidates=_sketch(check=4, rescore=False), store={"path": "b"}
    )
    (store, run), (other, same) = (tiny.run_directly(path) for path in (exact, study))
    scored, actual = (s.scan("scores", r).collect() for s, r in ((store, run), (other, same)))
    assert (
        actual.select("query", "train")
        .sort("query", "train")
        .equals(scored.select("query", "train").sort("query", "train"))
    )
    both = scored.join(actual, on=["query", "train"], suffix="_sketch")
    effects = both.select(pl.corr("removal_effect", "removal_effect_sketch")).item()
    assert effects > 0.999
    gap = (both["removal_effect"] - both["removal_effect_sketch"]).abs().max()
    assert gap < 0.01 * both["removal_effect"].abs().max()
    solves = other.scan("solves", same).collect()
    assert set(solves["solver"]) == {"sketch"}
    assert solves["residual"].null_count() == len(solves)
    summary = read_summary(other, same, study)
    assert summary.recall[0]["agreement"] > 0.999
    assert "scores correlate 1.000 with exact ones" in dict(summary.evidence)["recall"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"candidates": _sketch(rescore=False, factory="HNSW16")}, "no such key with rescore"),
        ({"candidates": _sketch(rescore=False, quota=0.25)}, "no such key with rescore"),
        (
            {"top": {"models": ["model2"]}, "candidates": _sketch(rescore=False)},
            "sketch scores are of a single",
        ),
        (
            {
                "candidates": {
                    "kind": "union",
                    "of": [_sketch(rescore=False), {"kind": "knn", "k": 3}],
                }
            },
            "with rescored candidates",
        ),
    ],
)
def test_studies_without_scores_by_sketches_are_refused_before_computing(world, changes, message):
    study = tiny.write_study(world, **changes)
    result = CliRunner().invoke(cli.app, ["audit", "--dry-run", str(study)])
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
