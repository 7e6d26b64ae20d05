"""The commands diff, verify and gc on stores of real audits."""

import os
import time

import polars as pl
import pytest
import tiny
from typer.testing import CliRunner

from flows.cli import app as cli
from flows.cli import common as console
from storage import RunRecord, Store
from storage import garbage_collection as sweep
from tasks.results.comparability import check_comparability
from tasks.run.spec import plan_run


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    for terminal in (console.out, console.err):
        monkeypatch.setattr(terminal, "_width", 220)


def run(*args: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.app, [str(arg) for arg in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def files(store):
    return {p: p.read_bytes() for p in store.layout.root.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def two_audits(made, tmp_path_factory):
    """A folder audited before and after a training row was relabelled and one was added; copied."""
    world = tiny.copy(made, tmp_path_factory.mktemp("audits") / "world")
    full = {"kind": "full", "totals": True}
    study = tiny.write_study(world, candidates=full)
    _, first = tiny.run_directly(study)
    rows = tiny.rows_of(world / "train.csv")
    rows[5]["label"] = "neg" if rows[5]["label"] == "pos" else "pos"
    rows.append({**rows[7], "id": "new-row"})
    tiny.write_rows(world / "train.csv", rows)
    _, second = tiny.run_directly(study)
    assert first != second
    return world, first, second


@pytest.fixture
def two_runs(two_audits, tmp_path):
    """A copy of the audited folder: its study, store and two runs."""
    folder, first, second = two_audits
    world = tiny.copy(folder, tmp_path / "audited")
    return world / "study.toml", Store.open(world / "store", "tiny", create=False), first, second


def test_diff_lists_rows_that_entered_the_most_harmful(two_runs):
    study, _, first, second = two_runs
    code, out, _ = run("diff", first, second, "--study", study, "-k", 10)
    assert code == 0
    assert "Effects can be compared number by number" in out
    assert "60 training rows became 61" in out
    assert "17 queries are in both runs" in out
    entered, _, left = out.partition("training rows left the 10 most harmful")
    assert "relabelled" in next(line for line in entered.splitlines() if " train-5 " in line)
    assert "train-5 " not in left
    assert "plain" in out
    assert "odd" in out, "the slices"
    _, same, _ = run("diff", first, first, "--study", study)
    assert "0 training rows entered the 100 most harmful" in same
    code, _, message = run("diff", first, "no-such-run", "--study", study)
    assert code == 2
    assert "no-such-run" in message


@pytest.mark.long
def test_without_ids_an_inserted_row_changes_no_other_row(world):
    """A real second run: row numbers shift, but rows are matched by content."""
    sections = {name: {"id": None} for name in ("train", "queries")}
    study = tiny.write_study(world, candidates={"kind": "full"}, **sections)
    _, first = tiny.run_directly(study)
    for name in ("train.csv", "queries.csv"):
        rows = tiny.rows_of(world / name)
        tiny.write_rows(world / name, [{**rows[7], "text": "a new row in front"}, *rows])
    store, second = tiny.run_directly(study)
    _, out, _ = run("diff", first, second, "--study", study, "-k", 10)
    assert "Training rows are matched by content: 60 the same, 1 new." in out
    assert "Queries are matched by content: 17 the same, 1 new." in out
    assert "relabelled" not in out
    assert "edited" not in out
    # Truth: the sums of both runs by text, which this table's rows all have different.
    sums = []
    for name in (first, second):
        train = store.scan("train", name).select("train", "text")
        queries = store.scan("queries", name).filter(pl.col("text") != "a new row in front")
        scores = store.scan("scores", name).join(queries.select("query"), on="query")
        harm = scores.filter(pl.col("removal_effect") < 0).join(train, on="train")
        summed = harm.group_by("text").agg(pl.col("removal_effect").sum())
        sums.append(dict(summed.sort("removal_effect", "text").collect().iter_rows()))
    old, new = sums
    entered = set(list(new)[:10]) - set(list(old)[:10])
    # Those whose own harm doubled, where effects are by 61 rows and not by 60.
    doubled = [text for text in entered if 61 * new[text] <= 2 * 60 * old.get(text, 0.0)]
    words = f"{len(entered)} training rows entered the 10 most harmful ({len(doubled)} with twice"
    assert words in out


def test_totals_of_one_group_are_not_continued_with_another(world):
    """Totals are by the first group, so that another order of the groups is another run."""

    def mark(groups, kind):
        study = tiny.write_study(world, candidates=kind, queries={"groups": groups})
        return plan_run(study).record.fingerprint

    full, knn = {"kind": "full"}, {"kind": "knn", "k": 12}
    assert mark(["kind", "second"], full) != mark(["second", "kind"], full)
    assert mark(["kind", "second"], knn) == mark(["second", "kind"], knn)


def record(**parts) -> RunRecord:
    known = {"model": "m", "train": "t", "queries": "q", "curvature": {"damping": 0.1}}
    return RunRecord("r", "s", "f", "", known | parts, 9, 20, 3)


@pytest.mark.parametrize(
    ("parts", "level"),
    [
        ({}, "numbers"),
        ({"train": "other", "queries": "other"}, "numbers"),
        ({"model": "other"}, "order"),
        ({"candidates": {"kind": "full"}}, "order"),
        ({"curvature": {"damping": 0.2}}, "nothing"),
        ({"attributed": "all"}, "nothing"),
        ({"mathematics": 6}, "nothing"),
    ],
)
def test_comparability_of_runs(parts, level):
    verdict = check_comparability(record(), record(**parts))
    assert verdict.level == level
    if "curvature" in parts:
        assert verdict.reasons == ("curvature.damping: 0.1 -> 0.2",)


def test_verify_reads_every_byte(two_runs):
    study, store, first, second = two_runs
    code, out, _ = run("verify", "--study", study)
    assert code == 0
    assert out.count("intact") == 3
    path = next(store.layout.table("scores", second).rglob("*.parquet"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    code, out, errors = run("verify", "--study", study)
    assert code == 1
    assert f"{first}: intact" in out
    assert f"{second}: 1 problem" in out
    assert f"{path}: the bytes changed" in errors
    assert run("verify", "--study", study, "--run", first)[0] == 0


def test_gc_removes_what_it_says_and_nothing_by_default(two_runs, monkeypatch):
    study, store, first, second = two_runs
    before = files(store)
    assert "Nothing was removed" in run("gc", "--study", study)[1]
    assert files(store) == before
    options = ("--keep-runs", 1, "--compact")
    code, out, _ = run("gc", "--study", study, *options, "--dry-run")
    assert code == 0
    assert f"Expired runs: {first}" in out
    assert "would be removed" in out
    assert files(store) == before
    monkeypatch.setattr(sweep, "GRACE_SECONDS", -60)
    scores = tiny.scores_by_id(store, second)
    code, out, _ = run("gc", "--study", study, *options)
    assert f"Compacted: {second}, {first}." in out
    assert [status.record.run for status in store.list_runs()] == [second]
    assert tiny.scores_by_id(store, second).equals(scores)
    assert run("verify", "--study", study)[0] == 0
    assert not list(store.layout.tables.rglob(f"run={first}"))
    assert "Nothing was removed" in run("gc", "--study", study)[1]


def test_gc_keeps_the_newest_finished_run_and_parts_in_use(two_runs):
    study, store, _, second = two_runs
    then = time.time() - 40 * 24 * 3600
    for path in store.layout.all_artifacts.rglob("*"):
        os.utime(path, (then, then))
    for factor in store.find_artifacts("factor"):
        store.find_artifact("factor", factor)
    code, out, _ = run("gc", "--study", study, "--older-than", 0, "--parts-unused", 30)
    assert code == 0
    assert [status.record.run for status in store.list_runs()] == [second], "the newest stays"
    assert store.find_artifacts("factor")
    assert "not used for 30 days" not in out or not store.find_artifacts("index")
    plan = plan_run(study)
    assert plan.record.run == second
