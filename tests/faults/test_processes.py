"""Processes that die, hang, come late, or come twice."""

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
    finished,
    manifests,
    said,
    started,
)

from storage import Store


def children_of(pid: int) -> list[int]:
    """Processes below one, however deep."""
    told = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True).stdout
    parents = {int(a): int(b) for a, b in (line.split() for line in told.splitlines())}
    found, front = [], {pid}
    while front:
        front = {child for child, parent in parents.items() if parent in front}
        found += front
    return found


def command_of(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def test_two_nights_started_at_once_end_in_one_store(server, study, expected):
    both = [started(study, server.environment) for _ in range(2)]
    for process in both:
        assert process.wait(180) == 0, said(study)
    assert "Traceback" not in said(study)
    assert_whole(study, expected)


def test_a_worker_that_finishes_late_after_being_given_up_changes_nothing(server, study, expected):
    late = started(study, server.environment)
    await_commits(late, study, 4)
    os.killpg(late.pid, signal.SIGSTOP)
    finished(study, server.environment)
    kept = manifests(study)
    os.killpg(late.pid, signal.SIGCONT)
    assert late.wait(120) == 0, said(study)
    assert kept.keys() == manifests(study).keys()
    assert_whole(study, expected)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_a_commit_ends_it_between_shards(server, study, expected, number):
    draw = random.Random()
    stopped = 0
    for _ in range(4):
        process = started(study, server.environment)
        begun = len(manifests(study))
        while process.poll() is None and len(manifests(study)) < begun + 1:
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.05))
        process.send_signal(number)
        status = process.wait(60)
        assert status in (0, 128 + number), said(study)
        stopped += status != 0
        assert not list((study.parent / "store").rglob(".*.tmp")), "a commit was cut off"
        if status == 0:
            break
    assert stopped, "it was never stopped"
    assert "Traceback" not in said(study)
    finished(study, server.environment)
    assert_whole(study, expected)


def test_a_second_signal_ends_it_at_once_and_nothing_is_lost(server, study, expected):
    process = started(study, server.environment)
    await_commits(process, study, 3)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) != 0
    kept = manifests(study)
    finished(study, server.environment)
    assert kept.items() <= manifests(study).items()
    assert_whole(study, expected)


def test_a_deadline_leaves_a_valid_part_and_the_next_start_goes_on(server, study, expected):
    process = started(study, server.environment, "--within", "0.1")
    status = process.wait(120)
    assert status in (0, 3), said(study)
    if status == 0:
        pytest.skip("this machine audits the tiny study within six seconds")
    assert "are committed and can be read" in said(study)
    assert "Traceback" not in said(study)
    finished(study, server.environment)
    assert_whole(study, expected)


def test_the_prefect_server_is_killed_and_started_again_in_mid_run(server, study, expected):
    process = started(study, server.environment)
    await_commits(process, study, 4)
    server.kill()
    time.sleep(3)
    server.start()
    status = process.wait(300)
    kept = manifests(study)
    if status != 0:  # it may have given up; nothing is lost
        finished(study, server.environment)
    assert kept.items() <= manifests(study).items()
    assert_whole(study, expected)


def test_a_killed_worker_of_dask_is_replaced_and_its_shard_done_by_another(server, study, expected):
    pytest.importorskip("prefect_dask", reason="the extra dask")
    process = started(study, server.environment, "--engine", "dask:2")
    await_commits(process, study, 4)
    workers = [
        pid
        for pid in children_of(process.pid)
        if "multiprocessing.spawn" in command_of(pid) and "spawn_main" in command_of(pid)
    ]
    assert workers, "no worker was found"
    os.kill(random.choice(workers), signal.SIGKILL)
    assert process.wait(240) == 0, said(study)
    assert_whole(study, expected)


def test_a_killed_scheduler_is_a_failure_that_says_so_and_is_resumed(
    server, study, expected, tmp_path
):
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
        process = started(study, server.environment, "--engine", address)
        await_commits(process, study, 4)
        scheduler.kill()
        assert process.wait(180) != 0
        kept = manifests(study)
        assert "shard 000" in said(study), "it does not say which shard"
    finally:
        for one in (worker, scheduler):
            one.kill()
            one.wait()
    finished(study, server.environment)
    assert kept.items() <= manifests(study).items()
    assert_whole(study, expected)


def test_a_clock_that_jumped_back_changes_nothing(server, study, expected):
    faketime = shutil.which("faketime")
    if faketime is None:
        pytest.skip("the command faketime is not installed")
    process = started(study, server.environment)
    await_commits(process, study, 5)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = manifests(study)
    command = [faketime, "-f", "-1d", COMMAND, "audit", study]
    env = {**os.environ, **server.environment, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert kept.items() <= manifests(study).items()
    assert_whole(study, expected)
    (status,) = Store.open(study.parent / "store", "tiny", create=False).runs()
    late = json.loads((study.parent / "store" / "runs" / status.record.run / "manifest" /
                       "finish.json").read_text())["committed"]  # fmt: skip
    assert late < status.record.created, "its clock did not jump back"
