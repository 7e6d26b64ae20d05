"""Every executor writes the same store; configurations that would hang are refused."""

import json
import subprocess
import sys
import time

import pytest
import tiny
from prefect.settings import PREFECT_API_URL, temporary_settings

from fastif import InputError
from flows.executor_config import (
    LocalDaskConfig,
    RemoteDaskConfig,
    ThreadsConfig,
    parse_executor,
)
from flows.row_parts import scan_parts
from tasks.run.spec import open_existing_store
from tasks.study.study import load_study

pytest.importorskip("prefect_dask", reason="the extra dask")


@pytest.fixture
def server(prefect, monkeypatch):
    for name, value in prefect.items():
        monkeypatch.setenv(name, value)


def audited(study, engine):
    from flows.audit import audit

    run = audit(str(study), engine=engine)
    return open_existing_store(load_study(study)), run


@pytest.fixture
def expected(world):
    keys = {"candidates": tiny.WITH_RECALL, "store": {"path": "expected"}}
    store, run = tiny.run_directly(tiny.write_study(world, **keys))
    return tiny.scores_by_id(store, run)


def assert_same(store, run, expected):
    actual = tiny.scores_by_id(store, run)
    keys = ["query_id", "train_id"]
    assert actual.select(keys).equals(expected.select(keys))
    gap = (actual["removal_effect"] - expected["removal_effect"]).abs().max()
    assert gap <= 1e-5 * expected["removal_effect"].abs().max()
    assert store.verify(run) == []


@pytest.mark.flow
@pytest.mark.parametrize(
    "engine",
    [
        ThreadsConfig(),
        pytest.param(LocalDaskConfig(workers=1), marks=pytest.mark.long),
        pytest.param(LocalDaskConfig(workers=2), marks=pytest.mark.long),
    ],
    ids=str,
)
def test_every_engine_gives_the_same_store(world, server, expected, engine):
    study = tiny.write_study(world, candidates=tiny.WITH_RECALL)
    assert_same(*audited(study, engine), expected)


@pytest.mark.flow
@pytest.mark.long
def test_workers_without_a_shard_scan_parts_of_the_rows(world, server, monkeypatch):
    counts = []

    def count_parts(*arguments):
        counts.append(scan_parts(*arguments))
        return counts[-1]

    monkeypatch.setattr("flows.audit.scan_parts", count_parts)
    keys = {
        "solver": {"kind": "direct"},
        "candidates": {"kind": "full", "keep": 9},
        "run": {"shard_size": 50, "batch_size": 4},
        "parameters": {"attributed": ["^classifier", "pooler"]},
    }
    store, run = tiny.run_directly(tiny.write_study(world, store={"path": "expected"}, **keys))
    expected = tiny.scores_by_id(store, run)
    study = tiny.write_study(world, **keys)
    assert_same(*audited(study, LocalDaskConfig(workers=2)), expected)
    assert counts == [2]


def scheduler_of(tmp_path):
    """Start a scheduler and return its address."""
    file = tmp_path / "scheduler.json"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1"]
    command += ["--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    return process, json.loads(file.read_text())["address"]


def worker_of(address, *options):
    command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1"]
    command += ["--no-dashboard", "--host", "127.0.0.1", *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.flow
@pytest.mark.long
def test_an_existing_cluster_and_a_resource_that_no_worker_has(
    world, server, expected, tmp_path, monkeypatch
):
    from distributed import Client

    scheduler, address = scheduler_of(tmp_path)
    worker = worker_of(address, "--resources", "CPU=1")
    try:
        with Client(address) as client:
            client.wait_for_workers(1, timeout=60)
        assert_same(*audited(world / "study.toml", RemoteDaskConfig(address=address)), expected)
        other = tiny.write_study(world, "other.toml", store={"path": "other"})
        with pytest.raises(
            InputError, match=r"a worker with the resource GPU.*with the resources CPU"
        ):
            audited(other, RemoteDaskConfig(address=address, resource="GPU"))
    finally:
        for process in (worker, scheduler):
            process.terminate()
            process.wait(timeout=30)


def test_dask_without_a_server_or_a_scheduler_is_refused(monkeypatch):
    from flows import executors as workers
    from tasks.runtime.devices import resolve_devices

    devices = resolve_devices(["cpu"])
    monkeypatch.setattr(workers, "CONNECT_TIMEOUT", 1)
    with (
        temporary_settings(restore_defaults={PREFECT_API_URL}),
        pytest.raises(InputError, match="PREFECT_API_URL"),
        workers.start_executor(LocalDaskConfig(), devices, 1),
    ):
        pass
    monkeypatch.setattr(workers, "_check_server", lambda: None)
    with pytest.raises(InputError, match="a Dask scheduler that responds"):  # noqa: SIM117
        with workers.start_executor(RemoteDaskConfig(address="tcp://127.0.0.1:9"), devices, 1):
            pass


@pytest.mark.parametrize("text", ["dsk", "dask:0", "dask:x", "tcp://host", "http://h:1", ""])
def test_other_executor_names_are_refused(text):
    with pytest.raises(InputError, match="--engine"):
        parse_executor(text)


def test_engines_by_name():
    assert parse_executor("threads") == ThreadsConfig()
    assert parse_executor("dask") == LocalDaskConfig()
    assert parse_executor("tls://10.0.0.5:8786") == RemoteDaskConfig(address="tls://10.0.0.5:8786")
