"""Incremental runs compute only new rows, with the results of a full run."""

import shutil
from pathlib import Path

import polars as pl
import pytest
import tiny
from polars.testing import assert_frame_equal

import fastif
from storage import Store
from tasks.audit.attribute import attribute_shard
from tasks.audit.prepare import build_index, describe_train
from tasks.results.retention import RetentionPolicy, find_expired_runs
from tasks.results.summary import read_summary
from tasks.run import sketches
from tasks.run.spec import list_missing_shards, open_store, plan_run

SKETCHES = {"kind": "sketch", "k": 12, "dimensions": 200, "rescore": False, "check": 4}
ON = {"least": 0.9}


def write(world, carry=True, **changes):
    changes = {"candidates": SKETCHES, "carry": ON if carry else None, **changes}
    return tiny.write_study(world, **changes)


def add_rows(world, train=3, queries=2, gone=0) -> None:
    """Add rows at the start and the end of the tables; remove the last old training rows."""
    for name, prefix, count, lost in (
        ("train.csv", "new", train, gone),
        ("queries.csv", "asked", queries, 0),
    ):
        rows = tiny.rows_of(world / name)
        more = [
            {
                **rows[i],
                "id": f"{prefix}-{i}",
                "text": f"{tiny.WORDS[-1 - i % 9]} {rows[i]['text']}",
            }
            for i in range(count)
        ]
        kept = rows[: len(rows) - lost]
        tiny.write_rows(world / name, [*more[:1], *kept, *more[1:]])


def audit_first_run(made, folder, change=None) -> tuple[Path, str]:
    """A folder after its first run, and the run; copied, never changed."""
    tiny.copy(made, folder)
    if change is not None:
        change(folder)
    return folder, tiny.run_directly(write(folder))[1]


@pytest.fixture(scope="module")
def first_run(made, tmp_path_factory):
    return audit_first_run(made, tmp_path_factory.mktemp("first") / "world")


@pytest.fixture(scope="module")
def run_of_another_query(made, tmp_path_factory):
    def change(folder):
        row = tiny.rows_of(folder / "queries.csv")[0]
        tiny.write_rows(folder / "queries.csv", [{**row, "text": f"{row['text']} again"}])

    return audit_first_run(made, tmp_path_factory.mktemp("another") / "world", change)


@pytest.fixture
def first(world, first_run) -> str:
    """The first run, with its store."""
    folder, run = first_run
    shutil.copytree(folder / "store", world / "store")
    write(world)
    return run


@pytest.fixture
def scratch(world, tmp_path, run_of_another_query):
    """Scores of the same tables in a full run with the sketcher of the first run.

    A sketcher is fitted to training rows only, so a first run of another query has the same one.
    """

    def audit() -> pl.DataFrame:
        folder = tmp_path / "scratch"
        shutil.copytree(world, folder, ignore=shutil.ignore_patterns("store"))
        shutil.copytree(run_of_another_query[0] / "store", folder / "store")
        store, run = tiny.run_directly(write(folder))
        rows = tiny.rows_of(folder / "queries.csv")
        assert store.scan("solves", run).collect()["origin"].null_count() == len(rows)
        return tiny.scores_by_id(store, run)

    return audit


def assert_same_scores(actual: pl.DataFrame, expected: pl.DataFrame) -> None:
    columns = ["query_id", "train_id", "rank", "removal_effect"]
    actual, expected = (frame.select(columns) for frame in (actual, expected))
    assert_frame_equal(actual, expected, rel_tol=1e-4, abs_tol=1e-7)


@pytest.fixture
def work_counts(monkeypatch):
    """Count the examples of each kind of work."""
    counts: dict[str, int] = {}

    def count(module, name, place):
        real = getattr(module, name)

        def counted(*args, **keys):
            ids = keys.get("ids", args[place] if len(args) > place else None)
            counts[name] = counts.get(name, 0) + (0 if ids is None else len(ids))
            return real(*args, **keys)

        monkeypatch.setattr(module, name, counted)

    count(fastif, "predict", 3)
    count(sketches, "compute_train_sketches", 3)
    count(sketches, "compute_query_sketches", 3)
    return counts


def test_only_new_rows_are_computed_and_all_queries_have_scores(world, first, scratch, work_counts):
    add_rows(world)
    expected = scratch()
    work_counts.clear()
    store, run = tiny.run_directly(write(world))
    assert work_counts == {
        "predict": 3 + 2,
        "compute_train_sketches": 3,
        "compute_query_sketches": 2,
    }
    assert_same_scores(tiny.scores_by_id(store, run), expected)
    solves = store.scan("solves", run).collect()
    assert solves["origin"].null_count() == 2
    assert set(solves["origin"].drop_nulls()) == {first}
    assert store.verify(run) == []


@pytest.mark.long
def test_predictions_follow_rows_to_their_new_positions(world, first, tmp_path):
    add_rows(world)
    shutil.copytree(world, tmp_path / "scratch")
    other, plain = tiny.run_directly(write(tmp_path / "scratch", carry=False))
    store, run = tiny.run_directly(write(world))
    for table in ("train", "queries"):
        actual, expected = store.scan(table, run).collect(), other.scan(table, plain).collect()
        assert_frame_equal(actual, expected, rel_tol=1e-5, abs_tol=1e-6)


@pytest.mark.long
def test_removed_rows_drop_out_and_the_other_scores_are_right(world, first, scratch):
    add_rows(world, train=2, queries=0, gone=2)
    expected = scratch()
    store, run = tiny.run_directly(write(world))
    actual = tiny.scores_by_id(store, run)
    names = set(store.scan("train", run).collect()["id"])
    assert set(actual["train_id"]) <= names
    pairs = ["query_id", "train_id"]
    both = actual.join(expected, on=pairs, suffix="_scratch")
    assert len(both) > 0.9 * len(expected)
    gap = (both["removal_effect"] - both["removal_effect_scratch"]).abs().max()
    assert gap <= 1e-4 * expected["removal_effect"].abs().max()


@pytest.mark.long
def test_a_third_run_continues_the_second_with_the_curvature_of_the_first(world, first, scratch):
    add_rows(world)
    store, second = tiny.run_directly(write(world))
    rows = tiny.rows_of(world / "queries.csv")
    tiny.write_rows(world / "queries.csv", list(reversed(rows)))
    plan = plan_run(write(world))
    assert plan.lineage is not None
    assert plan.lineage.parent is not None
    assert (plan.lineage.parent.run, plan.root.run) == (second, first)
    expected = scratch()
    store, third = tiny.run_directly(write(world))
    assert_same_scores(tiny.scores_by_id(store, third), expected)
    origins = store.scan("solves", third).collect()["origin"]
    assert set(origins) == {first, second}
    statuses = store.list_runs()
    assert find_expired_runs(statuses, RetentionPolicy(runs=1)) == [second], (
        "the root run is still needed"
    )


@pytest.mark.long
def test_an_incremental_run_that_was_killed_resumes_unchanged(world, first):
    add_rows(world)
    study = write(world, run={"shard_size": 3})
    plan = plan_run(study)
    store, ref = open_store(plan), plan.ref
    describe_train.fn(ref)
    build_index.fn(ref)
    for shard in list_missing_shards(store, ref.run)[:2]:
        attribute_shard.fn(shard, ref)
    again = plan_run(study)
    assert again.record.run == plan.record.run
    resumed, run = tiny.run_directly(study)
    assert run == plan.record.run
    assert plan_run(study).record.fingerprint == plan.record.fingerprint
    assert resumed.verify(run) == []


@pytest.mark.parametrize("change", ["model", "damping", "rows", "off"])
def test_other_settings_start_a_full_run(world, first, change):
    add_rows(world, train=20 if change == "rows" else 3)
    changes = {}
    if change == "model":
        tiny._train(world, steps=1)
    if change == "damping":
        changes = {"curvature": {"damping": 0.02}}
    plan = plan_run(write(world, carry=change != "off", **changes))
    assert plan.lineage is None
    assert "carried" not in plan.record.parts


@pytest.mark.long
def test_exact_scores_of_old_queries_are_reused_if_training_rows_are_unchanged(
    world, tmp_path, monkeypatch
):
    keys = {"candidates": {"kind": "knn", "k": 12, "check": 2}}
    tiny.run_directly(write(world, **keys))
    add_rows(world, train=0)
    shutil.copytree(world, tmp_path / "scratch")
    scratch_store, plain = tiny.run_directly(write(tmp_path / "scratch", carry=False, **keys))
    store, run = tiny.run_directly(write(world, **keys))
    assert_same_scores(tiny.scores_by_id(store, run), tiny.scores_by_id(scratch_store, plain))
    assert store.scan("solves", run).collect()["origin"].null_count() == 2
    add_rows(world, queries=0)
    assert plan_run(write(world, **keys)).lineage is None, "s_test of old queries is not stored"


def test_the_summary_states_what_is_reused_from_the_parent_run(world, first):
    add_rows(world)
    study = write(world)
    store, run = tiny.run_directly(study)
    evidence = dict(read_summary(store, run, study).evidence)
    assert evidence["reused"].startswith(f"17 of 19 queries from {first}, 60 of 63 training")
    earlier = dict(read_summary(store, first, study).evidence)
    assert "reused" not in earlier
    assert evidence["recall"] == f"{earlier['recall']}; measured in {first}, not measured again"


@pytest.mark.long
def test_a_run_with_a_removed_parent_is_readable(world, first):
    add_rows(world)
    study = write(world)
    store, run = tiny.run_directly(study)
    rows = tiny.rows_of(world / "queries.csv")
    tiny.write_rows(world / "queries.csv", rows[1:])
    store, third = tiny.run_directly(study)
    store.remove(store.list_run_files(run))
    assert plan_run(study).record.run == third
    assert Store.open(store.layout.root, "tiny", create=False).verify(third) == []


def test_the_forecast_counts_new_rows_only(world, first):
    from tasks.planning.cost_model import estimate_work
    from tasks.planning.open_run import validate_run
    from tasks.planning.workload import make_workload
    from tasks.run.spec import list_planned_shards

    add_rows(world)
    context = validate_run(plan_run(write(world)))
    workload = make_workload(context, list_planned_shards(context.plan))
    remaining = workload.remaining
    assert (remaining.new_shards, remaining.new_queries) == (2, 2), (
        "one new row at the start, one at the end"
    )
    work = estimate_work(workload)
    assert work["predictions"].forwards == 3
    assert work["index"].gradients == 3
    assert work["solve"].query_gradients == 2
    for stage in ("curvature", "score", "certificate", "recall"):
        assert work[stage].gradients == 0, stage


@pytest.mark.long
def test_groups_of_reused_rows_are_those_of_the_present_table(world, first):
    add_rows(world)
    store, run = tiny.run_directly(write(world, queries={"groups": ["second", "kind"]}))
    actual = store.scan("queries", run).sort("query").collect()
    rows = tiny.rows_of(world / "queries.csv")
    for name in ("second", "kind"):
        assert actual[f"group_{name}"].to_list() == [row[name] for row in rows]


@pytest.mark.long
def test_a_run_that_fell_back_to_a_full_scan_is_no_parent(world):
    hard = {"kind": "sketch", "dimensions": 1, "target_recall": 1.0, "rescore": False, "check": 4}
    store, before = tiny.run_directly(write(world, candidates=hard))
    candidates = store.scan("runs", before).collect()["candidates"].item()
    assert '"k": null' in candidates, "a k reached the target"
    add_rows(world)
    assert plan_run(write(world, candidates=hard)).lineage is None
