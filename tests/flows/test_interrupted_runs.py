"""An audit that is killed and restarted ends with the tables of an uninterrupted one."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny
from polars.testing import assert_frame_equal
from typer.testing import CliRunner

from flows.cli import app as cli
from storage import Store
from tasks.planning.forecast import forecast_run
from tasks.planning.open_run import validate_run
from tasks.run.spec import list_planned_shards, plan_run

pytestmark = pytest.mark.flow

COMMAND = Path(sys.executable).with_name("fastif")
ONE_BY_ONE = {"shard_size": 1, "batch_size": 30}
TABLES = ("scores", "solves", "queries", "train")
MEASURED = """
import resource, subprocess, sys
print(subprocess.run(sys.argv[1:], stdout=sys.stderr).returncode)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""Start a command from a small process, since a child's peak memory starts at its parent's."""


@pytest.fixture(scope="module")
def expected(made, tmp_path_factory) -> Store:
    """Store of an uninterrupted audit in shards of one query."""
    folder = tiny.copy(made, tmp_path_factory.mktemp("calm") / "world")
    return tiny.run_directly(write_study(folder))[0]


@pytest.fixture
def study(world) -> Path:
    return write_study(world)


def write_study(folder: Path) -> Path:
    return tiny.write_study(folder, candidates=tiny.WITH_RECALL, run=ONE_BY_ONE)


def read_manifests(study: Path) -> dict[str, bytes]:
    """List the existing commits."""
    paths = (study.parent / "store" / "runs").glob("*/manifest/[!.]*.json")
    return {path.stem: path.read_bytes() for path in paths}


def start_audit(study: Path, env: dict[str, str]) -> subprocess.Popen:
    log = (study.parent.parent / "log").open("wb")
    env = {**os.environ, **env, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([COMMAND, "audit", study], env=env, stdout=log, stderr=log)


def measure_audit(study: Path, env: dict[str, str]) -> tuple[int, int]:
    """Exit status and peak memory of an audit in bytes."""
    command = [sys.executable, "-c", MEASURED, COMMAND, "audit", study]
    env = {**os.environ, **env, "OMP_NUM_THREADS": "1"}
    with (study.parent.parent / "log").open("wb") as log:
        completed = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=log, check=True)
    status, kibibytes = map(int, completed.stdout.split())
    return status, kibibytes * 1024


def read_log(study: Path) -> str:
    return (study.parent.parent / "log").read_text()


def wait_for(process: subprocess.Popen, study: Path, count: int) -> None:
    """Wait until there are this many commits."""
    deadline = time.monotonic() + 60
    while len(read_manifests(study)) < count:
        assert process.poll() is None, read_log(study)
        assert time.monotonic() < deadline, read_log(study)
        time.sleep(0.002)


def assert_whole(study: Path, expected: Store) -> None:
    store = Store.open(study.parent / "store", "tiny", create=False)
    (status,), (wanted,) = store.list_runs(), expected.list_runs()
    assert status.finished
    run = status.record.run
    assert run == wanted.record.run
    assert store.verify(run) == []
    for name in TABLES:
        actual, wanted_rows = (s.scan(name, run).collect() for s in (store, expected))
        assert_frame_equal(actual, wanted_rows, rel_tol=1e-5, abs_tol=1e-6)
    assert store.scan("runs", run).collect().height == 1


@pytest.mark.long
def test_tables_are_the_same_after_repeated_kills(prefect, study, expected):
    draw = random.Random()  # another moment each time; the outcome must not depend on it
    for target in (1, 8):
        process = start_audit(study, prefect)
        wait_for(process, study, target)
        time.sleep(draw.uniform(0, 0.08))
        process.kill()
        assert process.wait() == -signal.SIGKILL, "it ended before it could be killed"
        kept = read_manifests(study)
        assert len(kept) >= target
    plan = plan_run(study)
    said_to_need = forecast_run(validate_run(plan), list_planned_shards(plan)).memory
    status, peak = measure_audit(study, prefect)
    assert status == 0, read_log(study)
    assert said_to_need / 2 < peak < 2 * said_to_need
    assert kept.items() <= read_manifests(study).items(), "what was committed was computed again"
    assert_whole(study, expected)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)]
)
def test_a_stopped_audit_reports_it_and_keeps_committed_shards(prefect, study, expected, number):
    process = start_audit(study, prefect)
    wait_for(process, study, 3)
    process.send_signal(number)
    assert process.wait(30) != 0
    kept = read_manifests(study)
    assert 3 <= len(kept) < tiny.QUERIES + 2, "it was not stopped"
    assert "Traceback" not in read_log(study)
    tiny.run_directly(study)
    assert kept.items() <= read_manifests(study).items()
    assert_whole(study, expected)


@pytest.mark.long
def test_lost_and_shortened_files_are_computed_again(prefect, study, expected):
    shutil.copytree(expected.layout.root, study.parent / "store")
    store = Store.open(study.parent / "store", "tiny")
    run = store.list_runs()[0].record.run
    before = read_manifests(study)
    tables = study.parent / "store" / "tables"
    (lost,) = tables.glob(f"scores/run={run}/shard=00002/*.parquet")
    lost.unlink()
    (short,) = tables.glob(f"queries/run={run}/shard=00011/*.parquet")
    short.write_bytes(short.read_bytes()[:-7])
    assert [
        shard.index for shard in store.find_missing(run, store.read_record(run).list_shards())
    ] == [2, 11]
    result = CliRunner().invoke(cli.app, ["audit", str(study)])
    assert result.exit_code == 0, result.stderr
    after = read_manifests(study)
    changed = {key for key in after if after[key] != before[key]}
    assert changed == {"00002", "00011", "finish"}
    assert_whole(study, expected)


def audit_within(study: Path, env: dict[str, str], limit: int | None = None):
    """Run the command with a limit on file sizes of `limit` bytes."""

    def restrict() -> None:
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.run(
        [COMMAND, "audit", study],
        env={**os.environ, **env, "COLUMNS": "250"},
        capture_output=True,
        text=True,
        preexec_fn=restrict,
    )


@pytest.mark.long
def test_a_limit_on_files_is_an_error_message_and_the_audit_can_be_resumed(
    prefect, study, expected
):
    sizes = {
        table: max(p.stat().st_size for p in expected.layout.tables.glob(f"{table}/**/*.parquet"))
        for table in ("train", "queries")
    }
    done = audit_within(study, prefect, limit=sizes["train"] - 1)
    assert done.returncode == 2, done.stderr
    assert "Refused. " in done.stderr
    assert "limit on the size" in done.stderr
    assert "ulimit" in done.stderr
    assert "Traceback" not in done.stderr
    tiny.run_directly(study)
    assert_whole(study, expected)


@pytest.mark.long
def test_a_full_disk_is_an_error_message_and_the_audit_can_be_resumed(prefect, study, expected):
    store = study.parent / "store"
    store.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=192k", "tmpfs", str(store)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk needs root and the right to mount")
    try:
        done = audit_within(study, prefect)
        kept = read_manifests(study)
        assert done.returncode == 2, done.stderr
        assert "a full disk" in done.stderr
        assert "everything committed is kept" in done.stderr
        assert "Traceback" not in done.stderr
        assert kept
        subprocess.run(["mount", "-o", "remount,size=8m", str(store)], check=True)
        tiny.run_directly(study)
        assert kept.items() <= read_manifests(study).items()
        assert_whole(study, expected)
    finally:
        subprocess.run(["umount", "-l", str(store)], check=True)
