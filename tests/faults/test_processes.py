"""Processes that are killed, hang, finish late, or run twice."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
from audits import (
    COMMAND,
    assert_whole,
    await_commits,
    await_until,
    read_log,
    read_manifests,
    run_audit,
    start_audit,
)

from storage import Store


def find_descendants(pid: int) -> list[int]:
    """Return all descendants of a process."""
    listing = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True).stdout
    parents = {int(a): int(b) for a, b in (line.split() for line in listing.splitlines())}
    descendants, front = [], {pid}
    while front:
        front = {child for child, parent in parents.items() if parent in front}
        descendants += front
    return descendants


def read_command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def test_two_concurrent_runs_end_in_one_store(server, study, expected):
    both = [start_audit(study, server.environment) for _ in range(2)]
    for process in both:
        assert process.wait(180) == 0, read_log(study)
    assert "Traceback" not in read_log(study)
    assert_whole(study, expected)


def test_a_worker_that_finishes_after_its_timeout_changes_nothing(server, study, expected):
    late = start_audit(study, server.environment)
    await_commits(late, study, 4)
    os.killpg(late.pid, signal.SIGSTOP)
    run_audit(study, server.environment)
    kept = read_manifests(study)
    os.killpg(late.pid, signal.SIGCONT)
    assert late.wait(120) == 0, read_log(study)
    assert kept.keys() == read_manifests(study).keys()
    assert_whole(study, expected)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_a_commit_stops_the_run_after_the_shard(server, study, expected, number):
    draw = random.Random()
    stopped = 0
    for _ in range(4):
        process = start_audit(study, server.environment)
        begun = len(read_manifests(study))
        while process.poll() is None and len(read_manifests(study)) < begun + 1:
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.05))
        process.send_signal(number)
        status = process.wait(60)
        assert status in (0, 128 + number), read_log(study)
        stopped += status != 0
        assert not list((study.parent / "store").rglob(".*.tmp")), "a commit was interrupted"
        if status == 0:
            break
    assert stopped, "it was never stopped"
    assert "Traceback" not in read_log(study)
    run_audit(study, server.environment)
    assert_whole(study, expected)


def test_a_second_signal_stops_the_run_at_once_without_loss(server, study, expected):
    process = start_audit(study, server.environment)
    await_commits(process, study, 3)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) != 0
    kept = read_manifests(study)
    run_audit(study, server.environment)
    assert kept.items() <= read_manifests(study).items()
    assert_whole(study, expected)


def test_a_deadline_leaves_committed_shards_and_the_next_start_resumes(server, study, expected):
    process = start_audit(study, server.environment, "--within", "0.1")
    status = process.wait(120)
    assert status in (0, 3), read_log(study)
    if status == 0:
        pytest.skip("this machine audits the tiny study within six seconds")
    assert "are committed and can be read" in read_log(study)
    assert "Traceback" not in read_log(study)
    run_audit(study, server.environment)
    assert_whole(study, expected)


def test_the_prefect_server_is_killed_and_restarted_during_a_run(server, study, expected):
    process = start_audit(study, server.environment)
    await_commits(process, study, 4)
    server.kill()
    time.sleep(3)
    server.start()
    status = process.wait(300)
    kept = read_manifests(study)
    if status != 0:  # it may have failed; committed shards are kept
        run_audit(study, server.environment)
    assert kept.items() <= read_manifests(study).items()
    assert_whole(study, expected)


def test_a_killed_dask_worker_is_replaced_and_its_shard_computed_by_another(
    server, study, expected
):
    pytest.importorskip("prefect_dask", reason="the extra dask")
    process = start_audit(study, server.environment, "--engine", "dask:2")
    await_commits(process, study, 4)
    workers = [
        pid
        for pid in find_descendants(process.pid)
        if "multiprocessing.spawn" in read_command(pid) and "spawn_main" in read_command(pid)
    ]
    assert workers, "no worker was found"
    os.kill(random.choice(workers), signal.SIGKILL)
    assert process.wait(240) == 0, read_log(study)
    assert_whole(study, expected)


def test_a_killed_scheduler_is_reported_and_the_run_resumes(server, study, expected, tmp_path):
    pytest.importorskip("prefect_dask", reason="the extra dask")
    address_file = tmp_path / "scheduler.json"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1"]
    scheduler = subprocess.Popen(
        [*command, "--port", "0", "--no-dashboard", "--scheduler-file", str(address_file)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    await_until(address_file.exists, "no scheduler")
    address = json.loads(address_file.read_text())["address"]
    command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1"]
    worker = subprocess.Popen(
        [*command, "--no-dashboard", "--host", "127.0.0.1", "--resources", "CPU=1"],
        env={**os.environ, **server.environment, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        process = start_audit(study, server.environment, "--engine", address)
        await_commits(process, study, 4)
        scheduler.kill()
        assert process.wait(180) != 0
        kept = read_manifests(study)
        assert "shard 000" in read_log(study), "the message does not name the shard"
    finally:
        for child in (worker, scheduler):
            child.kill()
            child.wait()
    run_audit(study, server.environment)
    assert kept.items() <= read_manifests(study).items()
    assert_whole(study, expected)


def test_a_clock_that_jumped_back_changes_nothing(server, study, expected):
    faketime = shutil.which("faketime")
    if faketime is None:
        pytest.skip("the command faketime is not installed")
    process = start_audit(study, server.environment)
    await_commits(process, study, 5)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = read_manifests(study)
    command = [faketime, "-f", "-1d", COMMAND, "audit", study]
    env = {**os.environ, **server.environment, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert kept.items() <= read_manifests(study).items()
    assert_whole(study, expected)
    (status,) = Store.open(study.parent / "store", "tiny", create=False).list_runs()
    late = json.loads((study.parent / "store" / "runs" / status.record.run / "manifest" /
                       "finish.json").read_text())["committed"]  # fmt: skip
    assert late < status.record.created, "its clock did not jump back"
