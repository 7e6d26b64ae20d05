"""An audit with a configured Prefect server."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import tiny

pytestmark = pytest.mark.flow

SHARDS, STAGES = 4, 7
"""Tasks of a tiny audit: one a shard, and one a stage around them."""


@pytest.mark.long
def test_an_audit_with_a_configured_server(made, tmp_path):
    """A real server is configured: the run is recorded there in full."""
    world = tiny.copy(made, tmp_path / "world")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    api = f"http://127.0.0.1:{port}/api"
    env = {**os.environ, "PREFECT_HOME": str(tmp_path / "home"), "DO_NOT_TRACK": "1"}
    env |= {"PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    bin_folder = Path(sys.executable).parent
    log = (tmp_path / "server.log").open("wb")
    server = subprocess.Popen(
        [bin_folder / "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
        env=env,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        await_health(api)
        done = subprocess.run(
            [bin_folder / "fastif", "audit", world / "study.toml"],
            env={**env, "PREFECT_API_URL": api},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert "temporary" not in done.stderr
        (flow_run,) = httpx.post(f"{api}/flow_runs/filter", json={}).json()
        assert flow_run["state"]["type"] == "COMPLETED"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:  # the server records tasks a little later
            tasks = httpx.post(f"{api}/task_runs/filter", json={}).json()
            ended = [task for task in tasks if task["state"]["type"] == "COMPLETED"]
            if len(ended) == SHARDS + STAGES:
                break
            time.sleep(0.5)
        names = sorted(task["name"] for task in ended)
        assert [name for name in names if name.startswith("shard-")] == [
            f"shard-{index}" for index in range(SHARDS)
        ]
        assert len(names) == SHARDS + STAGES, names
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)
        log.close()


def await_health(api: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{api}/health").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.5)
    raise TimeoutError(api)
