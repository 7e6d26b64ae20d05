"""The second night of studies of other targets: rows relabelled, reweighted, added and gone."""

import math

import polars as pl
import pytest
import tiny
from target_worlds import TAGS, WORLDS, make_world

from tasks.audit.in_process import audit_in_process
from tasks.run.spec import plan_run

FULL = {"kind": "full", "keep": 40}
CARRY = {"least": 0.5}


def _audit(folder, world, store="store", **changes):
    settings = {"candidates": FULL, "solver": {"kind": "direct"}, **world.study, **changes}
    study = tiny.write_study(folder, **{**settings, "store": {"path": store}})
    return audit_in_process(plan_run(study))


def _effects(result):
    return tiny.scores_by_id(*result).select("query_id", "train_id", "removal_effect")


def _carried(result):
    store, run = result
    return store.read_record(run).parts.get("carried")


@pytest.mark.default_cases("multi-label", "weights")
@pytest.mark.parametrize("name", ["multi-label", "number", "weights", "soft-label"])
def test_a_changed_row_is_new_on_the_second_night(tmp_path, name):
    """An incremental night sees a changed target or weight as another row, an unchanged one not."""
    folder, world = tmp_path / "made", WORLDS[name]
    make_world(folder, world)
    sketch = {**tiny.SKETCH, "rescore": False}
    nights = {"candidates": sketch, "carry": CARRY, "solver": {"kind": "dual"}}
    first = _audit(folder, world, **nights)
    rows = pl.read_csv(folder / "train.csv")
    changed = {
        "multi-label": pl.lit("long"),
        "number": pl.col("label") + 1,
        "weights": pl.col("weight") * 3,
        "soft-label": 1 - pl.col("yes"),
    }[name]
    column = {"weights": "weight", "soft-label": "yes"}.get(name, "label")
    is_first = pl.int_range(pl.len()) == 0
    rows = rows.with_columns(pl.when(is_first).then(changed).otherwise(column).alias(column))
    if name == "soft-label":
        rows = rows.with_columns(no=1 - pl.col("yes"))
    rows.write_csv(folder / "train.csv")
    second = _audit(folder, world, **nights)
    assert _carried(first) is None
    assert _carried(second) is not None
    store, run = second
    (candidates,) = store.scan("runs", run).select("candidates").collect()["candidates"]
    assert '"train": 39' in candidates
    stored = store.scan("train", run).sort("train").collect()
    assert stored["label"][0] != store.scan("train", first[1]).sort("train").collect()["label"][
        0
    ] or (name == "weights" and stored["weight"][0] == rows["weight"][0])


@pytest.mark.default_cases("ordinal")
@pytest.mark.parametrize("name", ["multi-label columns", "ordinal", "number"])
def test_candidates_by_sketches_find_the_strongest_rows(tmp_path, name):
    folder, world = tmp_path / "made", WORLDS[name]
    make_world(folder, world)
    full = _audit(folder, world, "full")
    by_sketches = _audit(folder, world, "sketch", candidates=tiny.SKETCH, solver={"kind": "dual"})
    exact = _effects(full).rename({"removal_effect": "exact"})
    both = _effects(by_sketches).join(exact, on=["query_id", "train_id"])
    scale = float(exact["exact"].abs().max())
    assert len(both) == len(_effects(by_sketches)) > 0
    assert float((both["removal_effect"] - both["exact"]).abs().max()) < 2e-3 * scale
    top = exact.sort("exact").group_by("query_id").agg(pl.col("train_id").first())
    listed = both.group_by("query_id").agg(pl.col("train_id").alias("listed"))
    hits = top.join(listed, on="query_id").select(pl.col("train_id").is_in(pl.col("listed")))
    assert hits.to_series().mean() > 0.7


def test_effects_by_label_add_up_to_those_of_the_row(tmp_path):
    folder, world = tmp_path / "made", WORLDS["multi-label"]
    make_world(folder, world)
    rows = _effects(_audit(folder, world, "rows"))
    by_label = _audit(folder, world, "labels", queries={"by_label": True})
    effects = _effects(by_label).with_columns(
        query_id=pl.col("query_id").str.split(":").list.first()
    )
    sums = effects.group_by("query_id", "train_id").agg(sum=pl.col("removal_effect").sum())
    both = rows.join(sums, on=["query_id", "train_id"])
    assert len(both) == len(rows)
    scale = float(both["removal_effect"].abs().max())
    assert float((both["removal_effect"] - both["sum"]).abs().max()) < 1e-4 * scale
    store, run = by_label
    queries = store.scan("queries", run).sort("query").collect()
    assert queries["group_label"].to_list()[:3] == TAGS
    given = dict(pl.read_csv(folder / "queries.csv").select("id", "label").iter_rows())
    for query in queries.to_dicts():
        name, label = query["id"].split(":")
        has = label in (given[name] or "").split("|")
        assert query["label"] == (label if has else f"not {label}")
        assert query["correct"] == (query["label"] == query["prediction"])
        assert query["probability"] == pytest.approx(math.exp(-3 * query["loss"]), rel=1e-4)


def test_queries_without_labels_are_explained_at_their_predicted_labels(tmp_path):
    folder, world = tmp_path / "made", WORLDS["multi-label"]
    make_world(folder, world)
    study = {**world.study, "queries": {"label": None}}
    unlabelled = _audit(folder, world, "unlabelled", **study)
    queries = unlabelled[0].scan("queries", unlabelled[1]).sort("query").collect()
    assert set(queries["measure"]) == {"log-probability"}
    assert queries["label"].null_count() == len(queries)
    predicted = [text if text != "(none)" else "[]" for text in queries["prediction"]]
    rows = pl.read_csv(folder / "queries.csv")
    rows.with_columns(label=pl.Series(predicted)).write_csv(folder / "predicted.csv")
    given = _audit(folder, world, "given", queries={"table": "predicted.csv"})
    assert _effects(unlabelled).equals(_effects(given))


def test_soft_labels_are_explained_at_the_most_probable_class(tmp_path):
    """At the predicted probabilities themselves every effect would be zero."""
    folder, world = tmp_path / "made", WORLDS["soft-label"]
    make_world(folder, world)
    unlabelled = _audit(folder, world, "unlabelled", queries={"label": None})
    queries = unlabelled[0].scan("queries", unlabelled[1]).sort("query").collect()
    assert set(queries["measure"]) == {"log-probability"}
    is_yes = [text.startswith("yes") for text in queries["prediction"]]
    rows = pl.read_csv(folder / "queries.csv")
    sure = rows.with_columns(yes=pl.Series(is_yes).cast(int)).with_columns(no=1 - pl.col("yes"))
    sure.write_csv(folder / "sure.csv")
    names = ["no", "yes"]
    given = _audit(
        folder, world, "given", queries={"label": None, "table": "sure.csv", "labels": names}
    )
    assert _effects(unlabelled).equals(_effects(given))
    assert float(_effects(given)["removal_effect"].abs().max()) > 1e-6
