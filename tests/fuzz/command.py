"""Running `fastif` on a study: in a long-lived worker, or as a separate process."""

import json
import os
import select
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE = 900
"""Seconds after which a command hangs."""
HANGS = 124
COMMANDS = 40
"""That a worker runs before another takes its place."""

QUIET = {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def traceback(self) -> bool:
        """Whether it ended in one; `typer` draws it in a box."""
        text = self.out + self.err
        return "Traceback (most recent call last)" in text

    @property
    def words(self) -> str:
        """The last lines of what it says."""
        lines = [line.strip() for line in (self.err or self.out).splitlines() if line.strip()]
        return " ".join(lines[-4:])[-400:]


def environment() -> dict[str, str]:
    """Of a command; the project's own folder comes first on its path."""
    return {**os.environ, **QUIET, "PYTHONPATH": str(ROOT)}


def run_alone(arguments: list[str], folder: Path) -> Ended:
    """Run in a separate process."""
    command = [sys.executable, "-m", "flows.cli", *arguments]
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        return Ended(HANGS, "", f"no end within {PATIENCE} s")
    return Ended(done.returncode, done.stdout, done.stderr)


class Worker:
    """A process that serves one command after the other; a new one where it has died."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None
        self.served = 0

    def run(self, arguments: list[str], folder: Path) -> Ended:
        """As `run_alone`."""
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"arguments": arguments, "folder": str(folder)}) + "\n")
        process.stdin.flush()
        self.served += 1
        if not select.select([process.stdout], [], [], PATIENCE)[0]:
            self.close()
            return Ended(HANGS, "", f"no end within {PATIENCE} s")
        line = process.stdout.readline()
        if not line:
            self.close()
            return Ended(process.wait(), "", f"the process died with {process.returncode}")
        return Ended(**json.loads(line))

    def _started(self) -> "subprocess.Popen[str]":
        if self.served >= COMMANDS:
            self.close()
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.fuzz.worker"],
                cwd=ROOT,
                env=environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            self.served = 0
        return self.process

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextmanager
def prefect_server() -> Iterator[None]:
    """One server for all commands: that of PREFECT_API_URL, or one of our own until the end."""
    if os.environ.get("PREFECT_API_URL"):
        yield
        return
    import socket

    with socket.socket() as free, tempfile.TemporaryDirectory(prefix="fuzz-prefect-") as home:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        os.environ |= {"PREFECT_HOME": home, "PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
        command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)]
        with (Path(home) / "server.log").open("wb") as log:
            server = subprocess.Popen(command, env=environment(), stdout=log, stderr=log)
        try:
            _wait(f"http://127.0.0.1:{port}/api/health")
            yield
        finally:
            server.terminate()
            server.wait()
            del os.environ["PREFECT_API_URL"], os.environ["PREFECT_HOME"]


def _wait(address: str, seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            if time.monotonic() > end:
                raise
            time.sleep(0.5)
