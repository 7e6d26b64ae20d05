"""Audits in separate processes, to be disturbed, and the invariants that hold afterwards."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from polars.testing import assert_frame_equal

from flows.local_service import RECORDER_SETTINGS
from storage import Store

ONE_BY_ONE = {"shard_size": 1, "batch_size": 30}
COMMAND = Path(sys.executable).with_name("fastif")
TABLES = ("scores", "solves", "queries", "train")
PATIENCE = 120


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Server:
    """A Prefect server with a persistent database, so that it can be killed and restarted."""

    def __init__(self, home: Path, port: int, host: str = "127.0.0.1", **settings: str) -> None:
        self.home, self.port, self.host, self.settings = home, port, host, settings
        self.url = f"http://{host}:{port}/api"
        self.environment = {"PREFECT_API_URL": self.url, "PREFECT_HOME": str(home)}

    def start(self) -> None:
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", self.host]
        self.log = (self.home / "server.log").open("ab")
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port)],
            env={**os.environ, **self.environment, **RECORDER_SETTINGS, **self.settings},
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )
        await_until(self.healthy, "the server did not start")

    def healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=2) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def kill(self) -> None:
        os.killpg(self.process.pid, 9)
        self.process.wait()
        self.log.close()


def start_audit(study: Path, environment: dict[str, str], *options: str) -> subprocess.Popen:
    """Start an audit with its output in a file."""
    log = log_path(study).open("ab")
    env = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "250", **environment}
    return subprocess.Popen(
        [COMMAND, "audit", study, *options], env=env, stdout=log, stderr=log, start_new_session=True
    )


def log_path(study: Path) -> Path:
    return study.parent.parent / f"{study.parent.name}.log"


def read_log(study: Path) -> str:
    return log_path(study).read_text()


def run_audit(study: Path, environment: dict[str, str], *options: str) -> None:
    """Run an audit that has to succeed."""
    assert start_audit(study, environment, *options).wait(PATIENCE) == 0, read_log(study)


def read_manifests(study: Path) -> dict[str, bytes]:
    """Return the existing commits."""
    paths = (study.parent / "store" / "runs").glob("*/manifest/[!.]*.json")
    return {path.stem: path.read_bytes() for path in paths}


def await_until(true, message: str, patience: float = PATIENCE) -> None:
    deadline = time.monotonic() + patience
    while not true():
        assert time.monotonic() < deadline, message
        time.sleep(0.005)


def await_commits(process: subprocess.Popen, study: Path, count: int) -> None:
    def there() -> bool:
        assert process.poll() is None, read_log(study)
        return len(read_manifests(study)) >= count

    await_until(there, read_log(study))


def assert_whole(study: Path, expected: Store, store: Store | None = None) -> None:
    """Check that the tables equal those of an undisturbed audit."""
    store = store or Store.open(study.parent / "store", "tiny", create=False)
    (status,), (wanted,) = store.list_runs(), expected.list_runs()
    assert status.finished
    run = status.record.run
    assert run == wanted.record.run
    assert store.verify(run) == []
    for name in TABLES:
        actual, rows = (source.scan(name, run).collect() for source in (store, expected))
        assert_frame_equal(actual, rows, rel_tol=1e-5, abs_tol=1e-6)
    assert store.scan("runs", run).collect().height == 1
