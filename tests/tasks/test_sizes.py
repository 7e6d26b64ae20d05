"""The sizes that are chosen are the largest that the memory has room for."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
from rich.console import Console
from typer.testing import CliRunner

from fastif import InputError
from flows.cli import app as cli
from storage import free_bytes
from tasks.planning import batch_sizing as sizes
from tasks.planning.forecast import draw, forecast
from tasks.planning.open_run import checked_job, make_job, open_job
from tasks.run.spec import (
    existing_store,
    missing_shards,
    open_store,
    plan_run,
    planned_shards,
)

GIGABYTE = 2**30
CG = {"kind": "cg"}


@pytest.fixture
def asked(world) -> Path:
    """The tiny study with 120 queries."""
    rows = [
        {"id": f"{i}", "text": f"{word} {other} film", "label": "pos" if i % 2 else "neg"}
        for i, (word, other) in enumerate((w, o) for w in tiny.WORDS for o in tiny.WORDS)
    ]
    tiny.write_rows(world / "queries.csv", rows[:120])
    return world


def written(world: Path, name: str = "study.toml", *, solver=CG, store="store", **run) -> Path:
    keys = {"shard_size": None, "batch_size": None} | run
    return tiny.write_study(
        world, name, queries={"groups": None}, solver=solver, run=keys, store={"path": store}
    )


def need(world: Path, **run) -> float:
    """The memory_gb for which a study with these sizes is taken to fit, from a file of its own."""
    study = written(world, "one.toml", **{"prefix_cache_mb": 0, **run})
    plan = plan_run(study)
    return forecast(make_job(plan), plan.record.shards()).memory / GIGABYTE / sizes.ROOM


def chosen(world: Path, **run) -> tuple[int, int, int]:
    job = make_job(plan_run(written(world, **run)))
    sizes = job.study.run
    assert all(member.plan is job.plan for member in job.members)
    return job.plan.record.shard_size, sizes.batch_size, sizes.prefix_cache_mb


@pytest.mark.parametrize("shard", [64, 32, 16, 8])
def test_the_largest_shard_that_fits_is_taken(asked, shard):
    exactly = need(asked, shard_size=shard, batch_size=32)
    assert chosen(asked, memory_gb=exactly)[:2] == (shard, 32)
    less = chosen(asked, memory_gb=exactly - 1e-6)
    assert less[:2] == ((shard // 2, 32) if shard > 8 else (8, 16)), "a little less"


def test_shards_are_never_larger_than_the_queries(world):
    assert chosen(world, memory_gb=100)[0] == 16, "of 17"
    tiny.write_rows(world / "queries.csv", tiny.rows_of(world / "queries.csv")[:3])
    assert chosen(world, memory_gb=100)[0] == 3


def test_batches_shrink_once_the_smallest_shard_has_no_room(asked):
    for batch in (16, 4, 1):
        exactly = need(asked, shard_size=8, batch_size=batch)
        shard, found, _ = chosen(asked, memory_gb=exactly)
        assert found == batch
        assert need(asked, shard_size=shard, batch_size=batch) <= exactly
        assert need(asked, shard_size=8, batch_size=2 * batch) > exactly


def test_what_is_left_holds_hidden_states_and_no_more_than_there_are(asked):
    least = need(asked, shard_size=64, batch_size=32)
    assert chosen(asked, memory_gb=least)[2] == 0
    assert chosen(asked, memory_gb=100)[2] == 1, "a fraction of a megabyte is all there is"
    all_held = need(asked, shard_size=64, batch_size=32, prefix_cache_mb=512)
    assert all_held > least
    one = (all_held - least) * GIGABYTE * sizes.ROOM
    texts = [make_job(plan_run(asked / "one.toml")).train_texts]
    texts += [make_job(plan_run(asked / "one.toml")).query_texts]
    assert one == pytest.approx(sum(int(t.lengths.sum()) for t in texts) * 12 * 4, rel=1e-6)


def test_what_the_study_says_wins(asked):
    found = chosen(asked, memory_gb=100, shard_size=5, batch_size=3, prefix_cache_mb=7)
    assert found == (5, 3, 7)
    exactly = need(asked, shard_size=16, batch_size=3)
    assert chosen(asked, memory_gb=exactly, batch_size=3)[:2] == (16, 3)
    with pytest.raises(InputError, match=r"memory_gb: expected at least .*shard_size 64"):
        chosen(asked, memory_gb=exactly, shard_size=64, batch_size=3)


def test_without_a_bound_nothing_is_chosen(asked):
    plan = make_job(plan_run(written(asked))).plan
    assert (plan.record.shard_size, plan.inputs.study.run.batch_size, plan.sizes) == (64, 32, "")


def test_a_bound_that_nothing_fits_is_refused_before_anything_is_written(asked):
    study = written(asked, memory_gb=0.1)
    least = need(asked, shard_size=8, batch_size=1)
    for options in ([], ["--dry-run"]):
        done = CliRunner().invoke(cli.app, ["audit", str(study), *options])
        assert done.exit_code == 2
        text = " ".join(done.stderr.split())
        assert f"expected at least {least:.2f}" in text
        assert "got 0.1" in text
        assert "attribute fewer parameters" in text
    assert not (asked / "store").exists()


def test_a_run_is_named_alike_whatever_fits_and_keeps_its_shards(asked):
    roomy = plan_run(written(asked, memory_gb=100))
    tight = plan_run(written(asked, "tight.toml", memory_gb=1))
    assert roomy.record.fingerprint == tight.record.fingerprint
    job = checked_job(roomy)
    store = open_store(job.plan)
    assert store.record(job.plan.record.run).shard_size == 64
    bound = need(asked, shard_size=64, batch_size=16, store="other")
    study = written(asked, memory_gb=bound - 1e-9, prefix_cache_mb=0)
    resumed = make_job(plan_run(study))
    assert resumed.plan.record.shard_size == 64
    assert resumed.study.run.batch_size == 8, "shards stay, so batches give way"
    assert "64 (as the run began)" in resumed.plan.sizes
    assert len(planned_shards(resumed.plan)) == 2


def test_tasks_of_another_process_find_the_same_sizes(asked):
    bound = need(asked, shard_size=16, batch_size=32)
    plan = plan_run(written(asked, memory_gb=bound))
    mine = checked_job(plan)
    store = open_store(mine.plan)
    theirs = make_job(plan_run(Path(plan.ref.study)))
    for job in (mine, theirs, open_job(plan.ref)):
        assert job.plan.record.shard_size == 16
        assert job.study.run.batch_size == 32
    assert len(missing_shards(store, plan.record.run)) == 8
    assert existing_store(theirs.study).record(plan.record.run) == replace(
        mine.plan.record, created=store.record(plan.record.run).created
    )


def test_a_dry_run_says_what_was_chosen_and_why(asked):
    study = written(asked, memory_gb=100, batch_size=16)
    job = checked_job(plan_run(study))
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(draw(forecast(job, planned_shards(job.plan)), job.plan))
    text = console.export_text()
    assert "shard_size 64 (the largest that fits), batch_size 16 (given)" in text
    assert "within memory_gb 100" in text
    assert "2 of 2" in text
    shown = CliRunner().invoke(cli.app, ["audit", str(study), "--dry-run"])
    assert "the largest that fits" in " ".join(shown.output.split())


def long_texts(world: Path) -> int:
    """Training rows whose hidden states take some megabytes, and how many bytes these are."""
    pairs = [(w, o) for w in tiny.WORDS for o in tiny.WORDS * 14]
    rows = [
        {"id": f"{i}", "text": " ".join(["good", "film", "plot"] * 3 + [*pair]), "label": label}
        for i, pair in enumerate(pairs)
        for label in tiny.LABELS[i % 2 : i % 2 + 1]
    ]
    tiny.write_rows(world / "train.csv", rows)
    return len(rows) * tiny.MAX_LENGTH * 12 * 4  # each of 12 numbers of 4 bytes


def test_hidden_states_that_memory_has_no_room_for_go_to_the_disk_if_asked_for_again(asked):
    size = long_texts(asked)
    assert size > 2 * sizes.MEGABYTE
    tight = need(asked, shard_size=64, batch_size=32)
    study = written(asked, memory_gb=tight, shard_size=64, batch_size=32)
    job = make_job(plan_run(study))
    assert job.study.run.prefix_cache_mb == 0
    assert job.study.run.prefix_disk_mb * sizes.MEGABYTE >= size
    assert f"; prefix_disk_mb {job.study.run.prefix_disk_mb}" in job.plan.sizes
    roomy = make_job(plan_run(written(asked, memory_gb=tight + 1)))
    assert roomy.study.run.prefix_disk_mb == 0
    assert roomy.study.run.prefix_cache_mb * sizes.MEGABYTE >= size
    said = written(asked, memory_gb=tight, shard_size=64, batch_size=32, prefix_cache_mb=0)
    assert make_job(plan_run(said)).study.run.prefix_disk_mb == 0, "what the study says wins"


def test_a_disk_that_is_nearly_full_or_a_single_pass_gets_no_hidden_states(asked, monkeypatch):
    size = long_texts(asked)
    tight = need(asked, shard_size=64, batch_size=32)
    study = written(asked, memory_gb=tight, shard_size=64, batch_size=32)
    monkeypatch.setattr(sizes, "free_bytes", lambda path: 4 * size)
    assert make_job(plan_run(study)).study.run.prefix_disk_mb == 0
    monkeypatch.setattr(sizes, "free_bytes", free_bytes)
    assert make_job(plan_run(study)).study.run.prefix_disk_mb > 0
    monkeypatch.setattr(sizes, "passes", lambda job, work: 1.0)
    assert make_job(plan_run(study)).study.run.prefix_disk_mb == 0
