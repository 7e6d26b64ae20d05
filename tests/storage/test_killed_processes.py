"""Processes that are killed during commits, or that commit the same shards concurrently."""

import random
import time

import polars as pl
import pytest
from disturbed_stores import assert_whole, read_tables, reopen, resume_commits, start_child
from polars.testing import assert_frame_equal
from store_samples import RUN, SHARDS, STUDY, tables

from storage import Store

FIRST = SHARDS[0]


@pytest.mark.long
def test_a_run_killed_at_random_and_resumed_equals_an_undisturbed_run(tmp_path, whole):
    root, chance = tmp_path / "killed", random.Random(7)
    interrupted = 0
    for _ in range(12):
        process = start_child("fill", root)
        assert process.stdout.readline() == "ready\n"
        time.sleep(chance.uniform(0.0, 0.06))
        process.kill()
        output, _ = process.communicate()
        assert_whole(Store.open(root, STUDY))
        if "done" in output:
            break
        interrupted += 1
    assert interrupted >= 1
    store = reopen(root)
    missing = store.find_missing(RUN, SHARDS)
    assert resume_commits(store) == missing
    assert_whole(store)
    expected = read_tables(whole)
    for table, actual in read_tables(store).items():
        assert_frame_equal(actual, expected[table])


@pytest.mark.long
def test_a_commit_killed_before_each_of_its_system_calls(tmp_path):
    """Every crash point: killed before system call 1, 2, ... until a commit completes."""
    output, _ = start_child("die", tmp_path).communicate(timeout=200)
    outcomes = dict(line.split(maxsplit=1) for line in output.splitlines())
    *killed, survived = outcomes.values()
    assert set(killed) == {"killed"}
    assert survived == "status 0"
    assert len(killed) > 12  # three files and a manifest: fsync, rename, fsync of the folder
    done = []
    for call in outcomes:
        store = Store.open(tmp_path / call, STUDY)
        assert_whole(store)
        done.append(store.is_committed(RUN, FIRST.key))
        store.commit(RUN, FIRST.key, tables(FIRST))
        for table, rows in read_tables(store).items():
            assert_frame_equal(rows, tables(FIRST)[table])
    assert done == sorted(done)  # the rename of the manifest makes all files visible
    assert set(done) == {False, True}


def test_two_processes_commit_the_same_shards_concurrently(tmp_path):
    root = tmp_path / "raced"
    store = reopen(root)
    racers = [start_child("race", root, writer) for writer in (1, 2)]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    while any(racer.poll() is None for racer in racers):
        # A concurrent reader gets whole shards of one of the two, never an error.
        solvers = store.scan("solves", RUN).collect()
        for shard in SHARDS:
            shard_rows = solvers.filter(pl.col("query").is_between(shard.start, shard.stop - 1))
            assert shard_rows.height in (0, len(shard))
            assert shard_rows["solver"].n_unique() <= 1
    for racer in racers:
        assert "done" in racer.communicate()[0]
        assert racer.returncode == 0
    assert store.verify(RUN) == []
    assert store.find_missing(RUN, SHARDS) == []
    both = read_tables(store)
    for shard in SHARDS:
        solver = both["solves"].filter(pl.col("query") == shard.start)["solver"][0]
        for table, rows in both.items():
            shard_rows = rows.filter(pl.col("query").is_between(shard.start, shard.stop - 1))
            assert_frame_equal(shard_rows, tables(shard, int(solver[-1]))[table])
