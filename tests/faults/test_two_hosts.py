"""Two hosts: a network namespace is the second, with a link that can be taken down."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack

import pytest
from audits import (
    Server,
    assert_whole,
    await_commits,
    await_until,
    free_port,
    read_log,
    run_audit,
    start_audit,
)

pytest.importorskip("distributed", reason="the extra dask")
HERE, THERE = "10.213.77.1", "10.213.77.2"
NAME, CABLE, END = "fastif-two", "fastif-a", "fastif-b"
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def two_hosts():
    """A second host at THERE, linked to this one."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("network namespaces need root and the program ip (Debian: iproute2)")
    try:
        ip("netns", "add", NAME)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this kernel gives no network namespaces: {error.stderr.decode().strip()}")
    try:
        ip("link", "add", CABLE, "type", "veth", "peer", "name", END)
        ip("link", "set", END, "netns", NAME)
        ip("addr", "add", f"{HERE}/24", "dev", CABLE)
        ip("link", "set", CABLE, "up")
        for words in (("addr", "add", f"{THERE}/24", "dev", END), ("link", "set", END, "up"),
                      ("link", "set", "lo", "up")):  # fmt: skip
            ip("-n", NAME, *words)
        yield
    finally:
        subprocess.run(["ip", "netns", "del", NAME], capture_output=True)
        subprocess.run(["ip", "link", "del", CABLE], capture_output=True)


@pytest.fixture
def prefect_and_scheduler(two_hosts, tmp_path):
    """A server and a scheduler reachable from both hosts: environment and address."""
    with ExitStack() as stack:
        home = tmp_path / "prefect"
        home.mkdir()
        server = Server(home, free_port(), HERE)
        server.start()
        stack.callback(server.kill)
        file = tmp_path / "scheduler.json"
        command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", HERE]
        command += ["--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
        ttl = {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "8s"}
        scheduler = subprocess.Popen(command, env={**os.environ, **ttl}, **QUIET)
        stack.callback(scheduler.wait)
        stack.callback(scheduler.kill)
        await_until(file.exists, "no scheduler")
        yield server.environment, json.loads(file.read_text())["address"]


@pytest.fixture
def worker(prefect_and_scheduler):
    """Function that starts a worker on one of the hosts."""
    environment, address = prefect_and_scheduler
    begun = []

    def start(host):
        command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1"]
        command += ["--host", host, "--no-dashboard", "--resources", "CPU=1"]
        where = ["ip", "netns", "exec", NAME] if host == THERE else []
        env = {**os.environ, **environment, "OMP_NUM_THREADS": "1"}
        begun.append(subprocess.Popen([*where, *command], env=env, **QUIET))
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.wait()


def hosts(address):
    """Return the addresses of the workers registered with the scheduler."""
    from distributed import Client

    with Client(address, timeout=30) as client:
        return {w["host"] for w in client.scheduler_info(n_workers=-1)["workers"].values()}


def test_shards_computed_on_another_host_are_the_same(
    prefect_and_scheduler, worker, study, expected
):
    environment, address = prefect_and_scheduler
    worker(THERE)
    await_until(lambda: hosts(address) == {THERE}, "the worker did not come")
    run_audit(study, environment, "--engine", address)
    assert_whole(study, expected)


def test_a_disconnected_host_loses_no_shard(prefect_and_scheduler, worker, study, expected):
    environment, address = prefect_and_scheduler
    for host in (HERE, THERE):
        worker(host)
    await_until(lambda: hosts(address) == {HERE, THERE}, "the workers did not come")
    process = start_audit(study, environment, "--engine", address)
    await_commits(process, study, 5)
    ip("link", "set", CABLE, "down")
    assert process.wait(240) == 0, read_log(study)
    assert_whole(study, expected)
