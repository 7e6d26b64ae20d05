"""The scheduler runs all shards, or as many as a deadline and signals allow."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from flows.shard_scheduler import (
    QUEUE_AHEAD,
    Deadline,
    ShardScheduler,
    UnfinishedError,
)
from storage import plan_shards

SHARDS = plan_shards(20, 1)
WORKERS = 2


@pytest.fixture
def pool():
    with ThreadPoolExecutor(WORKERS) as running:
        yield running


def test_each_shard_runs_once_and_few_are_queued(pool):
    out, most, lock = 0, 0, threading.Lock()

    def work(shard):
        nonlocal out
        time.sleep(0.001)
        with lock:
            out -= 1

    def submit(shard):
        nonlocal out, most
        with lock:
            out += 1
            most = max(most, out)
        return pool.submit(work, shard)

    dispatch = ShardScheduler(submit, lambda: WORKERS, Deadline())
    assert sorted(dispatch.run(SHARDS)) == sorted(SHARDS)
    assert most <= WORKERS + QUEUE_AHEAD
    assert not dispatch.failed
    assert not dispatch.remaining


def test_a_failed_shard_does_not_stop_the_others(pool):
    def work(shard):
        if shard == SHARDS[3]:
            raise ValueError("bad")

    dispatch = ShardScheduler(lambda shard: pool.submit(work, shard), lambda: WORKERS, Deadline())
    assert len(list(dispatch.run(SHARDS))) == len(SHARDS) - 1
    ((shard, error),) = dispatch.failed
    assert (shard, str(error)) == (SHARDS[3], "bad")


def test_shards_that_would_not_finish_in_time_are_not_started(pool):
    limit = Deadline(seconds=0.5)
    start = time.monotonic()
    dispatch = ShardScheduler(lambda shard: pool.submit(time.sleep, 0.1), lambda: WORKERS, limit)
    done = list(dispatch.run(SHARDS))
    assert time.monotonic() - start < 0.5 + 0.1 * (1 + QUEUE_AHEAD)
    assert 0 < len(done) < len(SHARDS)
    assert len(done) + len(dispatch.remaining) == len(SHARDS)
    assert "No further shard would finish within" in dispatch.stop_reason


def test_the_first_signal_finishes_running_shards_and_handlers_are_restored(pool):
    before = signal.getsignal(signal.SIGTERM)
    limit = Deadline()
    dispatch = ShardScheduler(lambda shard: pool.submit(time.sleep, 0.01), lambda: WORKERS, limit)
    done = []
    for shard in dispatch.run(SHARDS):
        done.append(shard)
        if len(done) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
    assert limit.stop_signal == signal.SIGTERM
    assert 3 <= len(done) <= 3 + WORKERS + QUEUE_AHEAD
    assert len(done) + len(dispatch.remaining) == len(SHARDS)
    assert signal.getsignal(signal.SIGTERM) is before
    assert "SIGTERM" in str(UnfinishedError(dispatch.stop_reason, 3, 20, limit.stop_signal))


def test_remaining_shards_are_kept_if_submission_fails(pool):
    def submit(shard):
        if shard == SHARDS[5]:
            raise ConnectionError("gone")
        return pool.submit(time.sleep, 0)

    dispatch = ShardScheduler(submit, lambda: WORKERS, Deadline())
    assert list(dispatch.run(SHARDS)) != []
    assert [shard for shard, _ in dispatch.failed] == [SHARDS[5]]
    assert list(dispatch.remaining) == list(SHARDS[6:])
