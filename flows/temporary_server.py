"""Temporary Prefect server of one command, for users without a server of their own.

It starts in a separate process while the command loads its model, so that its start takes little
of the user's time, and this process need not import the server. It has a process group of its own:
Ctrl-C on a terminal stops an audit after its running shards, which still need the server.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx

from fastif import InputError

POLL_SECONDS = 0.1
STOP_SECONDS = 5.0
URL_VARIABLE = "PREFECT_API_URL"
PORT_TAKEN = 3
"""Exit code of uvicorn if another process has taken the port."""
EPHEMERAL = {
    "PREFECT_UI_ENABLED": "0",
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT__SERVER_FINAL": "1",
}
"""Settings that Prefect gives its own temporary servers."""
PROGRAM = """
import ctypes, os, signal, sys
parent = int(sys.argv.pop(1))
if sys.platform == "linux":  # the server must not outlive a killed command
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit()
from uvicorn.main import main
main()
"""
"""Python program of the server: uvicorn, which the kernel stops if its parent is killed."""


class TemporaryServer:
    """Prefect server in a child process.

    Attributes:
        url: URL of its API.
    """

    url = ""

    def __init__(self) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (it lives as long as the server)
        self._start()

    def wait(self) -> None:
        """Wait until the server responds.

        Raises:
            InputError: it does not start.
        """
        from prefect.settings import PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS as TIMEOUT

        deadline = time.monotonic() + TIMEOUT.value()
        while not _is_healthy(self.url):
            if self._process.poll() == PORT_TAKEN:
                self._start()
            elif self._process.poll() is not None or time.monotonic() > deadline:
                raise InputError(
                    "the temporary Prefect server",
                    f"a response within {TIMEOUT.value():.0f} s",
                    self._read_last_line(),
                    "Check the space and rights of PREFECT_HOME (~/.prefect), or set "
                    "PREFECT_API_URL to a server that is running.",
                )
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Stop the server and wait for its end."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _start(self) -> None:
        import prefect

        port = _find_free_port()
        self.url = f"http://127.0.0.1:{port}/api"
        folder = str(prefect.__module_path__.parent)
        arguments = ["--app-dir", folder, "--factory", "prefect.server.api.server:create_app"]
        arguments += ["--host", "127.0.0.1", "--port", f"{port}"]
        arguments += ["--log-level", "error", "--lifespan", "on"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, f"{os.getpid()}", *arguments],
            env={**os.environ, **EPHEMERAL},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            process_group=0,
        )

    def _read_last_line(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else "none"


_server: TemporaryServer | None = None


@contextmanager
def temporary_server() -> Iterator[TemporaryServer | None]:
    """Start a server for the block if none is configured and Prefect may start one."""
    global _server
    if not _is_needed():
        yield None
        return
    _server = TemporaryServer()
    try:
        yield _server
    finally:
        _server.stop()
        _server = None
        if os.environ.pop(URL_VARIABLE, None):
            _reload_settings()


def use_server(server: TemporaryServer) -> None:
    """Wait for a server, and let Prefect in this process use it.

    Raises:
        InputError: it does not start.
    """
    server.wait()
    os.environ[URL_VARIABLE] = server.url
    _reload_settings()


def is_temporary() -> bool:
    """Whether this process uses a temporary server, which other machines cannot reach."""
    return _server is not None


def _is_needed() -> bool:
    from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_EPHEMERAL_ENABLED

    return not PREFECT_API_URL.value() and bool(PREFECT_SERVER_EPHEMERAL_ENABLED.value())


def _reload_settings() -> None:
    from prefect.context import refresh_global_settings_context

    refresh_global_settings_context()


def _find_free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _is_healthy(url: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"{url}/health", timeout=2, trust_env=False).status_code == httpx.codes.OK
    return False
