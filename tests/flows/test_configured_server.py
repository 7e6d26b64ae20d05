"""An audit with a configured Prefect server."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import tiny

pytestmark = pytest.mark.flow

BIN = Path(sys.executable).parent
SHARDS, STAGES = 4, 7
"""Tasks of a tiny audit: one a shard, and one a stage around them."""


@pytest.fixture
def server_environment(tmp_path):
    """Environment of commands with a real server of their own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {**os.environ, "PREFECT_HOME": str(tmp_path / "home"), "DO_NOT_TRACK": "1"}
    env |= {"PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    log = (tmp_path / "server.log").open("wb")
    server = subprocess.Popen(
        [BIN / "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
        env=env,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        api = f"http://127.0.0.1:{port}/api"
        await_health(api)
        yield {**env, "PREFECT_API_URL": api}
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)
        log.close()


@pytest.mark.long
def test_an_audit_with_a_configured_server(made, tmp_path, server_environment):
    """A real server is configured: the run is recorded there in full."""
    world, api = tiny.copy(made, tmp_path / "world"), server_environment["PREFECT_API_URL"]
    done = subprocess.run(
        [BIN / "fastif", "audit", world / "study.toml"],
        env=server_environment,
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


@pytest.mark.long
def test_a_signal_before_the_first_shard_crashes_the_run_on_the_server(
    made, tmp_path, server_environment
):
    """The webhook gets it too, like any crash of a run."""
    world, alerts = tiny.copy(made, tmp_path / "world"), []

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            alerts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    webhook = ThreadingHTTPServer(("127.0.0.1", 0), Webhook)
    threading.Thread(target=webhook.serve_forever, daemon=True).start()
    study = tiny.write_study(world, notify={"webhook_env": "HOOK"})
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "audit", study],
        env={**server_environment, "HOOK": f"http://127.0.0.1:{webhook.server_port}/"},
        stderr=subprocess.PIPE,
        text=True,
    )
    lines = iter(process.stderr.readline, "")
    assert any("training rows: predictions" in line for line in lines)
    process.send_signal(signal.SIGTERM)
    (last,) = [line for line in lines if line.startswith("Stopped by SIGTERM.")]
    assert process.wait(30) == 128 + signal.SIGTERM
    webhook.shutdown()
    api = server_environment["PREFECT_API_URL"]
    (run,) = httpx.post(f"{api}/flow_runs/filter", json={}).json()
    assert (run["state"]["type"], run["state"]["message"]) == ("CRASHED", last.strip())
    (alert,) = alerts
    assert alert["study"] == "tiny"
    assert alert["text"] == f"{run['name']}: Crashed. {last.strip()}"


def await_health(api: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{api}/health").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.5)
    raise TimeoutError(api)
