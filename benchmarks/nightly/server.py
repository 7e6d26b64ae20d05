"""A separate Prefect server for a benchmark, with the settings of `fastif up`."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

from flows.local_service import NO_TELEMETRY, RECORDER_SETTINGS

PATIENCE = 120


class Server:
    """A server in a separate process, for the duration of a block."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.environment = {"PREFECT_API_URL": self.url, "PREFECT_HOME": str(home), **NO_TELEMETRY}

    def __enter__(self) -> "Server":
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1"]
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port)],
            env={**os.environ, **self.environment, **RECORDER_SETTINGS},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + PATIENCE
        while not self._healthy():
            if time.monotonic() > deadline:
                raise TimeoutError("the Prefect server did not start")
            time.sleep(0.2)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()

    def memory(self) -> int:
        """Return the resident bytes of the server and its child processes."""
        resident_sizes = subprocess.run(
            ["ps", "-o", "rss=", "-g", str(self.process.pid)], capture_output=True, text=True
        ).stdout.split()
        return 1024 * sum(map(int, resident_sizes))

    def task_runs(self, flow: str, expected: int) -> int:
        """Return the number of completed task runs of a flow; wait for the expected number."""
        wanted = {
            "flows": {"name": {"any_": [flow]}},
            "task_runs": {"state": {"type": {"any_": ["COMPLETED"]}}},
        }
        count, deadline = 0, time.monotonic() + 60
        while count < expected and time.monotonic() < deadline:
            time.sleep(1)
            count = httpx.post(f"{self.url}/task_runs/count", json=wanted, timeout=30).json()
        return count

    def _healthy(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=2).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False
