"""Scores do not depend on shards, caches, batches or the order of rows."""

import random

import polars as pl
import pytest
import tiny
import torch
from truth import Truth, table

from fastif import Attributor
from fastif.attribution.scorers import PrecomputedScorer
from storage import sum_totals

SOLVERS = {
    "dual": ({"kind": "dual"}, {}),
    "cg": ({"kind": "cg", "tolerance": 1e-6}, {}),
    "hessian": (
        {"kind": "cg", "tolerance": 1e-6},
        {"curvature": {"kind": "hessian", "damping": 0.3, "rows": 30}},
    ),
    "lissa": ({"kind": "lissa", "depth": 20, "repeats": 2, "batch": 4, "scale": 20.0}, {}),
}


def assert_same(actual: pl.DataFrame, expected: pl.DataFrame, tolerance: float = 1e-4) -> None:
    """Check equal pairs with equal effects, and equal ranks up to near ties."""
    keys = ["query_id", "train_id"]
    assert actual.select(keys).equals(expected.select(keys))
    effects, wanted = (torch.from_numpy(t["removal_effect"].to_numpy()) for t in (actual, expected))
    assert torch.isfinite(effects).all()
    # Effects are sums that may cancel, so the error is bounded relative to the largest one.
    assert (effects - wanted).abs().max() <= tolerance * wanted.abs().max()
    typical = wanted.abs() > 0.05 * wanted.abs().max()
    assert ((effects / wanted - 1).abs()[typical] <= 10 * tolerance).all()
    assert effects.std() > 1e-4, "all rows are equal, so nothing was compared"


@pytest.fixture(scope="module")
def plain(finished):
    from tasks.run.spec import open_existing_store
    from tasks.study.study import load_study

    store = open_existing_store(load_study(finished / "study.toml"))
    status = store.find_latest()
    assert status is not None
    return store, status.record.run


@pytest.mark.default_cases(
    "{'shard_size': 1, 'batch_size': 30}",
    "{'shard_size': 4, 'batch_size': 64, 'prefix_cache_mb': 1}",
)
@pytest.mark.parametrize(
    "sizes",
    [
        {"shard_size": 1, "batch_size": 30},
        pytest.param({"shard_size": 17, "batch_size": 1}, marks=pytest.mark.long),
        {"shard_size": 64, "batch_size": 5, "prefix_cache_mb": 0},
        {"shard_size": 4, "batch_size": 64, "prefix_cache_mb": 1},
        {"shard_size": 9, "batch_size": 40, "batch_tokens": 25},
    ],
    ids=str,
)
def test_shards_batches_and_cache_change_nothing(world, plain, sizes):
    study = tiny.write_study(world, run=sizes)
    store, run = tiny.run_directly(study)
    assert run == plain[1], "sizes are not part of the fingerprint"
    assert len(store.read_record(run).list_shards()) == -(-tiny.QUERIES // sizes["shard_size"])
    assert_same(tiny.scores_by_id(store, run), tiny.scores_by_id(*plain))
    for name in ("queries", "train", "solves"):
        actual, expected = (s.scan(name, run).collect() for s in (store, plain[0]))
        exact = [c for c, kind in actual.schema.items() if not kind.is_float()]
        assert actual.select(exact).equals(expected.select(exact))
    losses, wanted = (s.scan("queries", run).collect()["loss"] for s in (store, plain[0]))
    assert (losses - wanted).abs().max() < 1e-5


@pytest.mark.parametrize("precision", ["full", pytest.param("bfloat16", marks=pytest.mark.long)])
def test_running_out_of_memory_does_not_change_the_store(world, monkeypatch, precision):
    candidates = {"kind": "full", "keep": 9, "precision": precision}
    study = tiny.write_study(world, candidates=candidates, store={"path": "enough"})
    expected, run = tiny.run_directly(study)
    effects, solve, short = PrecomputedScorer.compute_effects, Attributor.solve_to_score, []

    def few_rows(scorer, ids):
        if len(ids) > 3:
            short.append("rows")
            raise torch.OutOfMemoryError("injected")
        return effects(scorer, ids)

    def few_queries(attributor, queries, ids):
        if len(ids) > 2:
            short.append("queries")
            raise torch.OutOfMemoryError("injected")
        return solve(attributor, queries, ids)

    monkeypatch.setattr(PrecomputedScorer, "compute_effects", few_rows)
    monkeypatch.setattr(Attributor, "solve_to_score", few_queries)
    study = tiny.write_study(world, candidates=candidates, store={"path": "scarce"})
    scarce, same = tiny.run_directly(study)
    assert (same, {*short}) == (run, {"rows", "queries"})
    assert len(scarce.read_record(run).list_shards()) == len(
        expected.read_record(run).list_shards()
    )
    assert_same(tiny.scores_by_id(scarce, run), tiny.scores_by_id(expected, run))
    keys = ["train", "correct", "group"]
    sums, wanted = (s.scan("totals", run).collect().sort(keys) for s in (scarce, expected))
    assert sums.select(*keys, "queries").equals(wanted.select(*keys, "queries"))
    gap = (sums["removal_effect"] - wanted["removal_effect"]).abs().max()
    assert gap < 1e-5 * wanted["removal_effect"].abs().max()


@pytest.mark.long
def test_totals_over_slices_are_sums_of_all_scores(world):
    """A scan that keeps all 60 rows has the scores that the totals sum."""
    candidates = {"kind": "full", "keep": tiny.TRAIN}
    store, run = tiny.run_directly(tiny.write_study(world, candidates=candidates))
    scores = store.scan("scores", run).collect()
    assert len(scores) == tiny.TRAIN * tiny.QUERIES
    queries = store.scan("queries", run).select("query", "correct", group="group_kind").collect()
    keys = ["train", "correct", "group"]
    sliced = scores.join(queries, on="query").group_by(keys)
    expected = sliced.agg(pl.len().alias("queries"), pl.col("removal_effect").sum()).sort(keys)
    actual = store.scan("totals", run).collect().group_by(keys)
    actual = actual.agg(pl.col("queries").sum(), pl.col("removal_effect").sum()).sort(keys)
    assert actual.select(keys).equals(expected.select(keys))
    assert actual["queries"].to_list() == expected["queries"].to_list()
    gap = (actual["removal_effect"] - expected["removal_effect"]).abs().max()
    assert gap < 1e-5 * expected["removal_effect"].abs().max()
    whole = sum_totals(store.scan("totals", run)).collect()
    order = scores.group_by("train").agg(pl.col("removal_effect").cast(pl.Float64).sum())
    assert whole["train"][0] == order.sort("removal_effect")["train"][0]
    assert whole["queries"].to_list() == [tiny.QUERIES] * tiny.TRAIN


@pytest.mark.default_cases("dual-sketch")
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("dual", "full"),
        ("dual", "sketch"),
        ("lissa", "knn"),
        pytest.param("cg", "knn", marks=pytest.mark.long),
        pytest.param("hessian", "full", marks=pytest.mark.long),
    ],
)
def test_scores_of_every_solver_do_not_depend_on_shards(world, name, kind):
    solver, others = SOLVERS[name]
    candidates = {
        "knn": {"kind": "knn", "k": 7, "check": 0},
        "sketch": {"kind": "sketch", "k": 7, "dimensions": 20, "width": 256, "check": 0},
        "full": {"kind": "full", "keep": 9},
    }[kind]
    tables = []
    others = {"curvature": {"rows": 30}, **others}
    for size, batch, cache in ((17, 30, 512), (6, 12, 0)):
        study = tiny.write_study(
            world,
            solver=solver,
            candidates=candidates,
            run={"shard_size": size, "batch_size": batch, "prefix_cache_mb": cache},
            store={"path": f"store-{size}"},
            parameters={"attributed": ["^classifier", "pooler"]},
            **others,
        )
        store, run = tiny.run_directly(study)
        tables.append(tiny.scores_by_id(store, run))
    assert_same(*tables)
    assert tables[0].height == tiny.QUERIES * (18 if kind == "full" else 7)


def test_the_order_of_rows_changes_nothing(world, plain):
    for name, shuffle in (("train", random.Random(5).shuffle), ("queries", list.reverse)):
        rows = tiny.rows_of(world / f"{name}.csv")
        before = list(rows)
        shuffle(rows)
        assert rows != before
        tiny.write_rows(world / f"{name}.csv", rows)
    store, run = tiny.run_directly(world / "study.toml")
    assert run != plain[1], "other tables give another run"
    assert_same(tiny.scores_by_id(store, run), tiny.scores_by_id(*plain))


def test_a_repeated_run_is_the_same_to_the_last_bit(world, plain):
    store, run = tiny.run_directly(world / "study.toml")
    for name in ("scores", "solves", "queries", "train"):
        assert store.scan(name, run).collect().equals(plain[0].scan(name, run).collect())


def test_scores_equal_the_dense_reference(world, plain):
    rows = [tiny.rows_of(world / f"{name}.csv") for name in ("train", "queries")]
    truth = Truth(world / "model", *rows, tiny.LAST)
    scores = tiny.scores_by_id(*plain)
    expected = table(truth.effects(0.01), scores)
    actual = torch.from_numpy(scores["removal_effect"].to_numpy()).double()
    assert (actual - expected).abs().max() < 1e-4 * expected.abs().max()
    assert (actual > 0.01 * actual.abs().max()).any()
    assert (actual < -0.01 * actual.abs().max()).any()
    distances = truth.distances()
    for query, pairs in scores.group_by("query"):
        nearest = set(distances[int(query[0])].topk(12, largest=False).indices.tolist())
        assert set(pairs["train"].to_list()) == nearest
    gap = torch.from_numpy(scores["distance"].to_numpy()) - table(distances, scores)
    assert gap.abs().max() < 1e-4


@pytest.mark.long
def test_the_hessian_by_conjugate_gradients_equals_the_dense_reference(world):
    head = ("bert.pooler.", "classifier.")
    few = tiny.rows_of(world / "train.csv")[
        :20
    ]  # the reference computes every entry of the Hessians
    tiny.write_rows(world / "train.csv", few)
    study = tiny.write_study(
        world,
        parameters={"attributed": ["pooler", "^classifier"]},
        curvature={"kind": "hessian", "damping": 0.3},
        solver={"kind": "cg", "tolerance": 1e-5},
        candidates={"kind": "full", "keep": 60},
        run={"shard_size": 17, "batch_size": 60},
    )
    store, run = tiny.run_directly(study)
    rows = [tiny.rows_of(world / f"{name}.csv") for name in ("train", "queries")]
    scores = tiny.scores_by_id(store, run)
    truth = Truth(world / "model", *rows, head)
    expected = table(truth.effects(0.3, "hessian"), scores)
    actual = torch.from_numpy(scores["removal_effect"].to_numpy()).double()
    assert (actual - expected).abs().max() < 1e-3 * expected.abs().max()
    other = table(truth.effects(0.3), scores)
    assert (other - expected).abs().max() > 1e-2 * expected.abs().max(), (
        "the two matrices must differ"
    )
    assert store.scan("solves", run).collect()["converged"].all()


@pytest.mark.long
def test_lissa_approximates_the_dense_reference_within_its_spread(world):
    study = tiny.write_study(
        world,
        parameters={"attributed": ["^classifier"]},
        curvature={"damping": 0.1},
        solver={"kind": "lissa", "depth": 300, "repeats": 4, "batch": 8, "scale": 10.0},
        run={"shard_size": 17, "batch_size": 60},
    )
    store, run = tiny.run_directly(study)
    rows = [tiny.rows_of(world / f"{name}.csv") for name in ("train", "queries")]
    scores = tiny.scores_by_id(store, run)
    expected = table(Truth(world / "model", *rows, ("classifier.",)).effects(0.1), scores)
    actual = torch.from_numpy(scores["removal_effect"].to_numpy()).double()
    error = (actual - expected).norm() / expected.norm()
    assert 1e-6 < error < 0.1
    solves = store.scan("solves", run).collect()
    assert (solves["spread"] > 0).all()
    assert 0 < solves["residual"].max() < 0.5


@pytest.mark.long
def test_low_rank_scores_are_stored_with_their_rank_correlation(world):
    def audited(name, **keys):
        study = tiny.write_study(
            world,
            candidates={"kind": "full", "keep": 60, "totals": False} | keys,
            store={"path": name},
            curvature={"rows": 30},
        )
        store, run = tiny.run_directly(study)
        rounding = store.scan("solves", run).collect()["rounding"]
        return tiny.scores_by_id(store, run)["removal_effect"].to_numpy(), rounding

    exact, nothing = audited("exact")
    assert nothing.null_count() == tiny.QUERIES
    coarse, agreement = audited("coarse", rank=1)
    finer, better = audited("finer", rank=4)
    whole, all_ = audited("whole", rank=12)  # the full rank of every layer
    size = abs(exact).max()
    assert abs(coarse - exact).max() > abs(finer - exact).max() > 1e-4 * size
    assert abs(whole - exact).max() < 1e-4 * size
    assert 0.3 < agreement.min() < better.min() < 1
    assert all_.min() > 0.9999
