"""The selected sizes are the largest that fit into memory."""

import io
from dataclasses import astuple, replace
from pathlib import Path

import pytest
import tiny
import workloads
from rich.console import Console
from typer.testing import CliRunner

from fastif import InputError
from flows.cli import app as cli
from tasks.planning import batch_sizing as sizes
from tasks.planning.forecast import forecast_run, render_forecast
from tasks.planning.memory import estimate_peak_memory
from tasks.planning.open_run import load_run, open_run, validate_run
from tasks.planning.workload import Prepared, Sizes, Workload, make_workload
from tasks.run.spec import (
    list_missing_shards,
    list_planned_shards,
    open_existing_store,
    open_store,
    plan_run,
)
from tasks.study.sections import Run

GIGABYTE = 2**30
CG = {"kind": "cg"}


@pytest.fixture
def study_folder(world) -> Path:
    """The tiny study with 120 queries."""
    rows = [
        {"id": f"{i}", "text": f"{word} {other} film", "label": "pos" if i % 2 else "neg"}
        for i, (word, other) in enumerate((w, o) for w in tiny.WORDS for o in tiny.WORDS)
    ]
    tiny.write_rows(world / "queries.csv", rows[:120])
    return world


def write_study(world: Path, name: str = "study.toml", *, solver=CG, store="store", **run) -> Path:
    keys = {"shard_size": None, "batch_size": None} | run
    return tiny.write_study(
        world, name, queries={"groups": None}, solver=solver, run=keys, store={"path": store}
    )


def compute_memory_gb(world: Path, **run) -> float:
    """Return the memory_gb that these sizes need, from a separate study file."""
    study = write_study(world, "one.toml", **{"prefix_cache_mb": 0, **run})
    plan = plan_run(study)
    return (
        forecast_run(load_run(plan), plan.record.list_shards()).memory
        / GIGABYTE
        / sizes.MEMORY_FRACTION
    )


@pytest.fixture
def workload() -> Workload:
    """120 queries, and a solver with a large memory for each."""
    return workloads.make(solver=CG, queries=120)


def compute_bound(workload: Workload, shard_size: int, batch_size: int, prefix=0) -> float:
    """Return the memory_gb that a workload with these sizes needs."""
    sized = replace(workload, sizes=Sizes(shard_size, batch_size, prefix))
    return estimate_peak_memory(sized) / GIGABYTE / sizes.MEMORY_FRACTION


def choose(workload: Workload, **run) -> tuple[int, int, int]:
    return astuple(sizes.choose_sizes(workload, Run(**run)))


@pytest.mark.parametrize("shard", [64, 32, 16, 8])
def test_the_largest_shard_that_fits_is_selected(workload, shard):
    exactly = compute_bound(workload, shard, 32)
    assert choose(workload, memory_gb=exactly)[:2] == (shard, 32)
    less = choose(workload, memory_gb=exactly - 1e-6)
    assert less[:2] == ((shard // 2, 32) if shard > 8 else (8, 16)), "slightly less memory"


def test_shards_are_never_larger_than_the_queries():
    assert choose(workloads.make(queries=17), memory_gb=100)[0] == 16
    assert choose(workloads.make(queries=3), memory_gb=100)[0] == 3


def test_batches_shrink_if_the_smallest_shard_does_not_fit(workload):
    for batch in (16, 4, 1):
        exactly = compute_bound(workload, 8, batch)
        shard, actual, _ = choose(workload, memory_gb=exactly)
        assert actual == batch
        assert compute_bound(workload, shard, batch) <= exactly
        assert compute_bound(workload, 8, 2 * batch) > exactly


def test_the_remaining_memory_caches_hidden_states(workload):
    least = compute_bound(workload, 64, 32)
    assert choose(workload, memory_gb=least)[2] == 0
    assert choose(workload, memory_gb=100)[2] == 1, "less than a megabyte is needed"
    all_held = compute_bound(workload, 64, 32, prefix=512)
    size = (all_held - least) * GIGABYTE * sizes.MEMORY_FRACTION
    tokens = (workloads.TRAIN + 120) * workloads.TOKENS
    assert size == pytest.approx(tokens * workloads.TOKEN_BYTES, rel=1e-6)


def test_batches_grow_into_memory_that_neither_shards_nor_hidden_states_need(workload):
    train = replace(workload.train, rows=1000, tokens=8000)
    large = replace(workload, train=train, problem=replace(workload.problem, parameters=10**6))
    for batch in (64, 128):
        exactly = compute_bound(large, 64, batch, prefix=512)
        assert choose(large, memory_gb=exactly) == (64, batch, 1)
        assert choose(large, memory_gb=exactly - 1e-6)[1] == batch // 2
        assert choose(large, memory_gb=exactly, batch_size=8)[1] == 8


@pytest.mark.parametrize(
    ("rows", "longest", "batch"),
    [(1000, 64, 128), (1000, 65, 64), (1000, 129, 32), (127, 8, 64), (63, 8, 32)],
)
def test_large_batches_are_of_short_texts_and_no_larger_than_the_table(
    workload, rows, longest, batch
):
    for table in ("train", "queries"):
        sizes_of_tables = {"train": replace(workload.train, rows=rows)}
        sizes_of_tables[table] = replace(
            sizes_of_tables.get(table, workload.queries), longest=longest
        )
        assert choose(replace(workload, **sizes_of_tables), memory_gb=100)[1] == batch


def test_tables_of_texts_without_tokens_have_sizes(workload):
    tables = {
        name: replace(getattr(workload, name), longest=0, rows=200) for name in ("train", "queries")
    }
    assert choose(replace(workload, **tables), memory_gb=100)[1] == 128


def test_sizes_set_by_the_study_are_kept(workload):
    given = {"shard_size": 5, "batch_size": 3, "prefix_cache_mb": 7}
    assert choose(workload, memory_gb=100, **given) == (5, 3, 7)
    exactly = compute_bound(workload, 16, 3)
    assert choose(workload, memory_gb=exactly, batch_size=3)[:2] == (16, 3)
    with pytest.raises(InputError, match=r"memory_gb: expected at least .*shard_size 64"):
        choose(workload, memory_gb=exactly, shard_size=64, batch_size=3)


def test_a_run_is_opened_with_the_selected_sizes(study_folder):
    tiny.make_other(study_folder, "other", seed=1)
    bound = compute_memory_gb(study_folder, shard_size=16, batch_size=32)
    study = write_study(study_folder, memory_gb=2 * bound, batch_size=8)
    study.write_text('models = ["other"]\n' + study.read_text())
    context = load_run(plan_run(study))
    assert (context.plan.record.shard_size, context.study.run.batch_size) == (64, 8)
    assert make_workload(context, ()).model.count == len(context.members) == 2
    assert all(member.plan is context.plan for member in context.members)
    tables = [
        examples for m in context.members for examples in (m.train_examples, m.query_examples)
    ]
    assert {examples.batch_size for examples in tables} == {8}


def test_no_sizes_are_selected_without_a_memory_limit(study_folder):
    plan = load_run(plan_run(write_study(study_folder))).plan
    assert (plan.record.shard_size, plan.inputs.study.run.batch_size, plan.sizes) == (64, 32, "")


def test_a_memory_limit_that_is_too_low_is_refused_before_writing(study_folder):
    study = write_study(study_folder, memory_gb=0.1)
    least = compute_memory_gb(study_folder, shard_size=8, batch_size=1)
    for options in ([], ["--dry-run"]):
        done = CliRunner().invoke(cli.app, ["audit", str(study), *options])
        assert done.exit_code == 2
        text = " ".join(done.stderr.split())
        assert f"expected at least {least:.2f}" in text
        assert "got 0.1" in text
        assert "attribute fewer parameters" in text
    assert not (study_folder / "store").exists()


def test_the_name_of_a_run_does_not_depend_on_sizes_and_shards_are_kept(study_folder):
    roomy = plan_run(write_study(study_folder, memory_gb=100))
    tight = plan_run(write_study(study_folder, "tight.toml", memory_gb=1))
    assert roomy.record.fingerprint == tight.record.fingerprint
    context = validate_run(roomy)
    store = open_store(context.plan)
    assert store.read_record(context.plan.record.run).shard_size == 64
    bound = compute_memory_gb(study_folder, shard_size=64, batch_size=16, store="other")
    study = write_study(study_folder, memory_gb=bound - 1e-9, prefix_cache_mb=0)
    resumed = load_run(plan_run(study))
    assert resumed.plan.record.shard_size == 64
    assert resumed.study.run.batch_size == 8, "shards are kept, so batches shrink"
    assert "64 (as at the start of the run)" in resumed.plan.sizes
    assert len(list_planned_shards(resumed.plan)) == 2


@pytest.mark.long
def test_tasks_of_another_process_find_the_same_sizes(study_folder):
    bound = compute_memory_gb(study_folder, shard_size=16, batch_size=32)
    plan = plan_run(write_study(study_folder, memory_gb=bound))
    planned = validate_run(plan)
    store = open_store(planned.plan)
    reopened = load_run(plan_run(Path(plan.ref.study)))
    for context in (planned, reopened, open_run(plan.ref)):
        assert context.plan.record.shard_size == 16
        assert context.study.run.batch_size == 32
    assert len(list_missing_shards(store, plan.record.run)) == 8
    assert open_existing_store(reopened.study).read_record(plan.record.run) == replace(
        planned.plan.record, created=store.read_record(plan.record.run).created
    )


def test_a_dry_run_shows_the_selected_sizes_and_reasons(study_folder):
    study = write_study(study_folder, memory_gb=100, batch_size=16)
    context = validate_run(plan_run(study))
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(
        render_forecast(forecast_run(context, list_planned_shards(context.plan)), context.plan)
    )
    text = console.export_text()
    assert "shard_size 64 (the largest that fits), batch_size 16 (given)" in text
    assert "within memory_gb 100" in text
    assert "2 of 2" in text
    shown = CliRunner().invoke(cli.app, ["audit", str(study), "--dry-run"])
    assert "the largest that fits" in " ".join(shown.output.split())


def long_texts(world: Path) -> int:
    """Write training rows with some megabytes of hidden states, and return their bytes."""
    pairs = [(w, o) for w in tiny.WORDS for o in tiny.WORDS * 14]
    rows = [
        {"id": f"{i}", "text": " ".join(["good", "film", "plot"] * 3 + [*pair]), "label": label}
        for i, pair in enumerate(pairs)
        for label in tiny.LABELS[i % 2 : i % 2 + 1]
    ]
    tiny.write_rows(world / "train.csv", rows)
    return len(rows) * tiny.MAX_LENGTH * 12 * 4  # 12 float32 numbers each


@pytest.mark.long
def test_hidden_states_that_are_read_again_are_cached_on_disk(study_folder):
    size = long_texts(study_folder)
    assert size > 2 * sizes.MEGABYTE
    tight = compute_memory_gb(study_folder, shard_size=64, batch_size=32)
    study = write_study(study_folder, memory_gb=tight, shard_size=64, batch_size=32)
    context = load_run(plan_run(study))
    assert context.study.run.prefix_cache_mb == 0
    assert context.study.run.prefix_disk_mb * sizes.MEGABYTE >= size
    assert f"; prefix_disk_mb {context.study.run.prefix_disk_mb}" in context.plan.sizes
    roomy = load_run(plan_run(write_study(study_folder, memory_gb=tight + 1)))
    assert roomy.study.run.prefix_disk_mb == 0
    assert roomy.study.run.prefix_cache_mb * sizes.MEGABYTE >= size
    explicit = write_study(
        study_folder, memory_gb=tight, shard_size=64, batch_size=32, prefix_cache_mb=0
    )
    assert load_run(plan_run(explicit)).study.run.prefix_disk_mb == 0, (
        "the size set by the study is kept"
    )


def choose_disk(workload: Workload, free_bytes: int = 2**40, written=()) -> int:
    return sizes.choose_prefix_disk_mb(workload, free_bytes, lambda mb: mb in written)


def test_no_disk_cache_on_a_nearly_full_disk_or_for_a_single_pass():
    tokens = 2**20  # 48 bytes each
    fresh = workloads.make({"kind": "full"}, shard_size=workloads.QUERIES, prefix_cache_mb=0)
    fresh = replace(fresh, train=replace(fresh.train, tokens=tokens))
    needed = 48 * tokens + workloads.QUERIES * workloads.TOKENS * 48
    assert choose_disk(fresh) == 49
    assert choose_disk(fresh, free_bytes=4 * needed) == 0, "a megabyte more does not fit"
    assert choose_disk(fresh, free_bytes=4 * 49 * 2**20) == 49
    assert choose_disk(replace(fresh, sizes=Sizes(17, 16, 48))) == 0, "they fit into memory"
    prepared = Prepared(missing_factors=0, has_train_table=True)
    once = replace(fresh, prepared=prepared)  # one shard, and scores from the solve
    assert choose_disk(once) == 0
    assert choose_disk(once, written=(49,)) == 49
